"""skorch: the weights of the net's modules, by the names of `state_dict`.

A net around one module adds nothing to the names. If several parts hold weights (a subclass with a
`module2_`, a criterion that is trained too), the attribute of each part is the prefix of its names:
`module_.0.weight`, `module2_.0.weight`, `criterion_.centers`. A criterion counts as a part if it has
parameters; class weights that are passed to a loss are a setting, and are not listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from skorch import NeuralNet

from steelyard.core.members import assign_members, derive_members, member_notes, member_weights, while_held, with_ties
from steelyard.core.plugins import framework_of
from steelyard.core.weight import Weight
from steelyard.errors import NotFittedError, ShapeError, UnknownModelError, printable

if TYPE_CHECKING:
    from torch import nn

    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Array


def weights(model: object) -> Iterator[Weight]:
    """List the weights of a fitted or initialised net; weights that two parts share are tied.

    Raises `NotFittedError` for a net that is neither. A net that is fitted again makes a new module: then
    its weights must be listed again, and reading or writing the old ones raises `ShapeError`.
    """
    parts = _parts(model)

    def check() -> None:
        if any(vars(model).get(attribute) is not part for attribute, part in parts):
            raise ShapeError(f"this {printable(type(model).__name__)} was fitted again and has another module now; list it again")

    return with_ties(while_held(weight, check) for weight in member_weights(_named(parts)))


def assign(model: NeuralNet, arrays: Mapping[str, Array]) -> NeuralNet:
    """Copy in place, so that the net's optimizer keeps its parameters."""
    assign_members(_named(_parts(model)), arrays)
    return model


def derive(model: object, pieces: Pieces) -> Iterator[Weight]:
    """Yield the effective weights that only the modules know."""
    yield from derive_members(_named(_parts(model)), pieces)


def meta(model: object) -> dict[str, Any]:
    """Return the notes of the modules."""
    return member_notes(_named(_parts(model)))


def _parts(net: object) -> list[tuple[str, nn.Module]]:
    """Return the modules and trained criteria that hold weights, by attribute."""
    if not isinstance(net, NeuralNet):
        raise UnknownModelError(f"a skorch {printable(type(net).__name__)} has no weights; pass the net itself")
    modules = _registered(net, net._modules)
    if not modules:
        raise NotFittedError(
            f"this {printable(type(net).__name__)} has no module yet; call .fit(), or .initialize() for untrained weights"
        )
    known = {id(parameter) for _, module in modules for parameter in module.parameters()}
    criteria = _registered(net, net._criteria)
    trained = [(name, part) for name, part in criteria if any(id(p) not in known for p in part.parameters())]
    return [(name, part) for name, part in (*modules, *trained) if any(True for _ in framework_of(part).weights(part))]


def _named(parts: list[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    return [("", parts[0][1])] if len(parts) == 1 else parts


def _registered(net: NeuralNet, names: list[str]) -> list[tuple[str, nn.Module]]:
    """Look up parts by the names that skorch registered them under, which lack the last underscore."""
    held = {f"{name}_": vars(net).get(f"{name}_") for name in names}
    return [(name, part) for name, part in held.items() if part is not None]
