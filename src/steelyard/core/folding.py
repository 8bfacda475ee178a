"""Fold batch norms into the layers before them: at inference both are one affine function of the layer's inputs.

With a = scale / sqrt(variance + epsilon) for each output channel, the kernel becomes kernel * a, the bias
(bias - mean) * a + offset. Everything is computed in float64 and rounded once, to the type of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.effective import Derivation, derived, replaced
from steelyard.core.effective import effective as unfolded
from steelyard.core.weight import Refused, Role, Weight
from steelyard.dtypes import is_floating, numpy_dtype
from steelyard.errors import ShapeError, meant, printable, quoted

if TYPE_CHECKING:
    from steelyard.core.graph import Layer
    from steelyard.core.protocols import Folds
    from steelyard.core.weight import Array, Reader
    from steelyard.core.weights import Weights

FOLDS = ("norms",)
_FOLDED_INTO = ("dense", "conv", "conv transpose")
_EPSILON = "epsilon"
_FOLD = "batch norm folded"
_ONE_AXIS = "the inputs of a dense layer before a batch norm have one axis besides the batch"


class _Norm(NamedTuple):
    """The weights of a batch norm by their roles, and what it adds to the variance."""

    weights: Mapping[Role, Weight]
    names: tuple[str, ...]
    epsilon: float

    def factors(self) -> Array:
        """Return the factor of each channel in float64."""
        import numpy as np

        spread = np.sqrt(_read(self.weights[Role.VARIANCE]) + self.epsilon)
        return _read(self.weights[Role.SCALE]) / spread if Role.SCALE in self.weights else 1 / spread

    def bias(self, bias: Weight | None) -> Array:
        """Return the bias of the folded layer in float64."""
        offset = _read(self.weights[Role.OFFSET]) if Role.OFFSET in self.weights else 0.0
        made: Array = ((0.0 if bias is None else _read(bias)) - _read(self.weights[Role.MEAN])) * self.factors() + offset
        return made


def effective(weights: Weights, fold: str | None) -> Weights:
    """Return the weights that the net computes with, with batch norms folded if asked for; the body of `Weights.effective`."""
    made = unfolded(weights)
    return made if fold is None else with_folded(made, fold, weights._net.folds)


def with_folded(weights: Weights, what: str, folds: Folds | None = None) -> Weights:
    """Return weights whose layers take in the batch norm after them; `folds` names these, else the graph must prove it.

    Raises `ShapeError` where it is not known which layers these are, or how their weights belong together.
    """
    if what not in FOLDS:
        raise ShapeError(f"fold is {quoted(what)}; it must be one of {', '.join(FOLDS)}{meant(what, FOLDS)}")
    return replaced(weights, [*_all_folded(weights, folds() if folds else pairs_in(weights))])


def _all_folded(weights: Weights, pairs: Iterable[tuple[str, str]]) -> Iterator[Weight]:
    """Yield the kernel and the bias of each first layer, which takes in the second."""
    layers: dict[str, list[Weight]] = {}
    for weight in weights.values():
        layers.setdefault(weight.layer, []).append(weight)
    graph = {layer.name: layer for layer in weights.graph.layers} if weights.graph else {}
    channels = weights.graph.channels if weights.graph else ""
    for before, after in pairs:
        norm = _norm(after, layers.get(after, []), graph.get(after), channels)
        yield from _folded(before, layers.get(before, []), after, norm)


def pairs_in(weights: Weights) -> list[tuple[str, str]]:
    """Return the layers that a batch norm follows immediately, where the graph proves it; raises `ShapeError` where not."""
    graph = weights.graph
    if graph is None:
        why = weights.why_no_graph or "weights alone do not show it"
        raise ShapeError(f"it is not known which layers feed batch norms: {why}; pass the net itself, or a file with its graph")
    norms = [layer for layer in graph.layers if layer.kind == "batch norm"]
    if norms and not graph.is_sequential:
        raise ShapeError(
            f"it is not known which layer feeds {printable(norms[0].name)}, since functions between layers are not listed; "
            "the norms of a live PyTorch net that torch.fx can trace, or of a sequential net, can be folded"
        )
    by_name = {layer.name: layer for layer in graph.layers}
    found = ((by_name.get(norm.inputs[0]) if norm.inputs else None, norm) for norm in norms)
    return [(before.name, norm.name) for before, norm in found if before and takes_in_norm(before)]


def takes_in_norm(layer: Layer) -> bool:
    """Whether a layer is an affine function of its inputs, run once, without an activation of its own."""
    return layer.kind in _FOLDED_INTO and layer.calls == 1 and layer.settings.get("activation") in (None, "linear")


def _norm(name: str, members: list[Weight], layer: Layer | None, channels: str) -> _Norm:
    by_role: dict[Role, Weight] = {weight.role: weight for weight in members if weight.role is not Role.COUNT}
    epsilon = layer.settings.get(_EPSILON) if layer else None
    if not isinstance(epsilon, float) or Role.MEAN not in by_role or Role.VARIANCE not in by_role:
        raise ShapeError(f"{printable(name)} has no running statistics or no known epsilon, so it cannot be folded")
    if layer and layer.settings.get("axis", (-1,)) not in ((-1,), (1,) if channels == "first" else (-1,)):
        raise ShapeError(f"{printable(name)} is not a norm of the channels, so it cannot be folded")
    return _Norm(by_role, tuple(weight.name for weight in members), epsilon)


def _folded(before: str, members: list[Weight], after: str, norm: _Norm) -> Iterator[Weight]:
    kernels = [weight for weight in members if weight.role is Role.KERNEL]
    bias = next((weight for weight in members if weight.role is Role.BIAS), None)
    channels = norm.weights[Role.VARIANCE].size
    words = kernels[0].axes.split() if len(kernels) == 1 else []
    if "out" not in words or kernels[0].shape[words.index("out")] != channels or not is_floating(kernels[0].dtype):
        raise ShapeError(
            f"{printable(after)} cannot be folded into {printable(before)}: its outputs are not one axis of one kernel"
        )
    kernel, axis = kernels[0], words.index("out")
    parts = (kernel.name, *norm.names, *((bias.name,) if bias else ()))
    assumed = (_ONE_AXIS,) if kernel.axes == "out in" else ()  # PyTorch's norm is of the second axis, its dense layer of the last
    facts = Derivation(_scheme(kernel), parts, {_EPSILON: norm.epsilon}, assumed)
    yield _like(kernel, facts, _scaled(kernel, norm.factors, prod(kernel.shape[axis + 1 :])))
    own = bias or Weight(
        name=f"{before}{kernel.name[len(before)] if kernel.name.startswith(before) and before else '.'}bias",
        shape=(channels,),
        dtype=kernel.dtype,
        read=kernel.read,
        layer=before,
        role=Role.BIAS,
        axes="out",
    )
    yield _like(own, facts, lambda start, stop: _rounded(norm.bias(bias)[start:stop], own.dtype))


def _scheme(kernel: Weight) -> str:
    return f"{kernel.derivation.scheme}, {_FOLD}" if kernel.derivation else _FOLD


def _like(weight: Weight, facts: Derivation, read: Reader) -> Weight:
    read = weight.read if isinstance(weight.read, Refused) else read
    made = derived(weight.name, weight.shape, read, facts, dtype=weight.dtype, role=weight.role, axes=weight.axes)
    return made.replace(layer=weight.layer, trainable=weight.trainable)


def _scaled(kernel: Weight, factors: Callable[[], Array], inner: int) -> Reader:
    """Return a reader of a kernel times the factor of each output; `inner` elements of one output follow each other."""

    def read(start: int, stop: int) -> Array:
        import numpy as np

        own = factors()
        channel = np.arange(start, stop) // inner % own.size
        return _rounded(kernel.read(start, stop).astype(np.float64) * own[channel], kernel.dtype)

    return read


def _rounded(numbers: Array, dtype: str) -> Array:
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        made: Array = numbers.astype(numpy_dtype(dtype))
    return made


def _read(weight: Weight) -> Array:
    import numpy as np

    numbers: Array = weight.numpy().astype(np.float64)
    return numbers
