"""The shapes of the layers of a `Sequential` that was not run, as far as they follow from the attributes of its modules.

A dense layer shows the length of its input, a convolution the number of channels and axes; an axis whose length does not
follow is None. A dense layer at the beginning is taken to have rows; one after a layer whose output is unknown has no shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.layers.torch.kinds import per_axis

if TYPE_CHECKING:
    from steelyard.core.graph import Layer, Shape

_CONVS = ("conv", "conv transpose")
_PRESERVING = frozenset({"activation", "dropout", "softmax", "prelu", "layer norm", "rms norm", "group norm"})
_NORMS = frozenset({"batch norm", "instance norm"})


def set_shapes(chain: Sequence[tuple[Layer, Any]]) -> None:
    """Set the shapes of layers that run one after another, each with its module, or None for one of an unknown class."""
    shape: Shape | None = None
    is_start = True
    for layer, module in chain:
        layer.input_shape = _taken(layer, module, shape, is_start=is_start)
        layer.output_shape = shape = _given(layer, module, layer.input_shape)
        is_start &= module is not None and _keeps_shape(layer)
    for (before, module), (after, _) in zip(reversed(chain[:-1]), reversed(chain[1:]), strict=True):
        if before.output_shape is None or None in before.output_shape:
            before.output_shape = after.input_shape or before.output_shape
        if module is not None and _keeps_shape(before):
            before.input_shape = before.input_shape or before.output_shape


def _keeps_shape(layer: Layer) -> bool:
    named = layer.kind in _PRESERVING or layer.kind in _NORMS or layer.class_name == "Identity"
    return named and layer.class_name != "GLU"


def _rank(layer: Layer) -> int:
    """Return the number of spatial axes, which is in the name of the class; 0 where it is not."""
    name = layer.class_name
    return int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else 0


def _taken(layer: Layer, module: Any, shape: Shape | None, *, is_start: bool) -> Shape | None:
    """Return the input shape: that of the layer before, or what a layer requires."""
    if module is None:
        return shape
    if layer.kind == "dense":
        return None if shape is None and not is_start else (*(shape or (None,))[:-1], module.in_features)
    rank = _rank(layer)
    known = shape if shape is not None and len(shape) == rank + 1 else (None,) * (rank + 1)
    if layer.kind in _CONVS:
        return (module.in_channels, *known[1:])
    return (module.num_features, *known[1:]) if layer.kind in _NORMS and rank > 1 else shape


def _given(layer: Layer, module: Any, taken: Shape | None) -> Shape | None:
    """Return the output shape; None where it does not follow."""
    if module is None:
        return None
    if layer.kind == "flatten" and not layer.settings:
        return _flattened(taken)
    if taken is None:
        return None
    if _keeps_shape(layer):
        return taken
    maker = _MAKERS.get(layer.kind)
    return maker(layer, module, taken) if maker else None


def _embedded(layer: Layer, module: Any, taken: Shape) -> Shape:
    return (*taken, module.embedding_dim)


def _dense(layer: Layer, module: Any, taken: Shape) -> Shape:
    return (*taken[:-1], module.out_features)


def _conv(layer: Layer, module: Any, taken: Shape) -> Shape:
    if module.padding == "same":  # PyTorch takes strides of 1 only
        return (module.out_channels, *taken[1:])
    windows = _windows(layer, module, 0 if module.padding == "valid" else module.padding, module.dilation)
    axes = list(zip(taken[1:], windows, strict=True))
    if layer.kind == "conv":
        return (module.out_channels, *(window.passed(length) for length, window in axes))
    extra = _integers(module.output_padding, _rank(layer))
    grown = (window.grown(length, more) for (length, window), more in zip(axes, extra, strict=True))
    return (module.out_channels, *grown)


class _Window(NamedTuple):
    """A window that moves over one axis."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    def passed(self, length: int | None) -> int | None:
        """Return the number of places that the window takes."""
        covered = self.dilation * (self.kernel - 1) + 1
        return None if length is None else (length + 2 * self.padding - covered) // self.stride + 1

    def grown(self, length: int | None, more: int) -> int | None:
        """Return the length from which the window would take so many places."""
        covered = self.dilation * (self.kernel - 1) + 1
        return None if length is None else (length - 1) * self.stride - 2 * self.padding + covered + more


def _windows(layer: Layer, module: Any, padding: Any, dilation: Any) -> list[_Window]:
    facts = (module.kernel_size, module.stride, padding, dilation)
    return [_Window(*each) for each in zip(*(_integers(fact, _rank(layer)) for fact in facts), strict=True)]


def _integers(value: Any, rank: int) -> tuple[int, ...]:
    """Return an integer for each axis; raises `TypeError` for anything else, as a file may hold."""
    each = per_axis(value, rank)
    if not all(isinstance(number, int) for number in each):
        raise TypeError(f"{value!r} is not a number for each axis")
    return each  # type: ignore[return-value]


def _pool(layer: Layer, module: Any, taken: Shape) -> Shape | None:
    rank = _rank(layer)
    if len(taken) != rank + 1:
        return None
    if layer.class_name.startswith("Adaptive"):
        sizes = zip(per_axis(module.output_size, rank), taken[1:], strict=True)
        return (taken[0], *(size if isinstance(size, int) else length for size, length in sizes))
    if module.ceil_mode or layer.class_name.startswith("LP"):
        return (taken[0], *(None,) * rank)
    windows = _windows(layer, module, getattr(module, "padding", 0), getattr(module, "dilation", 1))
    return (taken[0], *(window.passed(length) for length, window in zip(taken[1:], windows, strict=True)))


def _flattened(taken: Shape | None) -> Shape:
    lengths = [length for length in taken or (None,) if length is not None]
    return (prod(lengths) if len(lengths) == len(taken or (None,)) else None,)


_MAKERS: dict[str, Callable[[Layer, Any, Shape], Shape | None]] = {
    "dense": _dense,
    **dict.fromkeys(_CONVS, _conv),
    **dict.fromkeys(("pool", "global pool"), _pool),
    "embedding": _embedded,
}
