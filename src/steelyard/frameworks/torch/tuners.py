"""Layers with adapters of kinds of PEFT that Steelyard does not compute: their own `merge`, on a copy, gives the weight."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.effective import Derivation, derived, refused
from steelyard.errors import SteelyardError
from steelyard.frameworks.torch.computed import Computed, computed

if TYPE_CHECKING:
    import torch
    from torch import nn

    from steelyard.core.weight import Weight


class Tuner(NamedTuple):
    """A layer around one of the base: its name in the plain net, that in the model, and its module."""

    layer: str
    path: str
    module: nn.Module


def tuners_in(modules: Mapping[str, nn.Module], unknown: Iterable[str], prefix: str) -> Iterator[Tuner]:
    """Yield the layers in which an adapter of an unknown kind is active and not merged."""
    names = {*unknown}
    for path, module in modules.items() if names else ():
        if "base_layer" in module._modules and hasattr(module, "merge") and names & {*_waiting(module)}:
            yield Tuner(path.removeprefix(prefix), path, module)


def _waiting(module: Any) -> Iterator[str]:
    """Yield the adapters that the layer would merge."""
    if getattr(module, "disable_adapters", False) is not True:
        merged = getattr(module, "merged_adapters", ())
        yield from (name for name in getattr(module, "active_adapters", ()) if name not in merged)


def with_tuners(listed: Iterable[Weight], tuners: Iterable[Tuner], kinds: str, stored: Iterable[str]) -> list[Weight]:
    """Return weights of a base with those of the layers that the modules merge; `stored` has the names in the model."""
    names = [*stored]
    by_layer = {tuner.layer: tuner for tuner in tuners}
    return [_computed(weight, by_layer.get(weight.name.rpartition(".")[0]), kinds, names) for weight in listed]


def _computed(weight: Weight, tuner: Tuner | None, kinds: str, stored: Sequence[str]) -> Weight:
    leaf = weight.name.rpartition(".")[2]
    if tuner is None or getattr(tuner.module._modules["base_layer"], leaf, None) is None:
        return weight
    own = f"{tuner.path}.base_layer."
    parts = (weight.name, *(name for name in stored if name.startswith(f"{tuner.path}.") and not name.startswith(own)))
    facts = Derivation(f"{kinds} of PEFT, merged by its layer", parts)
    make = partial(_merged, tuner.module, leaf)
    try:
        like = computed(weight.name, make)
    except SteelyardError as error:
        return refused(weight.name, facts, str(error), weight.shape)
    shape, dtype = tuple(like.shape), str(like.dtype).removeprefix("torch.")
    read = Computed(weight.name, make, shape, dtype)
    return derived(weight.name, shape, read, facts, dtype=dtype, role=weight.role, axes=weight.axes)


def _merged(module: Any, leaf: str) -> torch.Tensor:
    """Return a parameter of the base of a layer after its adapters were merged into a copy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of adapters that are merged already
        twin = copy.deepcopy(module).eval()
        twin.merge()
        made: torch.Tensor = getattr(twin.get_base_layer(), leaf)
        return made.detach()
