"""Inputs on which two nets are run, in the layout that each of them expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from steelyard.errors import ShapeError
from steelyard.transfers.pairing.net import missing_graphs

if TYPE_CHECKING:
    from steelyard.core.graph import Shape
    from steelyard.core.weight import Array
    from steelyard.transfers.pairing.net import Net

BATCH, LENGTH, IMAGE = 3, 7, 32
"""Default sizes of random inputs: samples, steps of a sequence, pixels along an axis."""
SEED = 0
_IMAGES = ("conv", "conv transpose")
_NORMS = ("batch norm", "group norm", "instance norm", "prelu")


def inputs_of(probe: object, source: Net, target: Net) -> tuple[list[Array], list[Array]]:
    """Return the inputs of both nets.

    `probe` is "random", an array or a list of arrays in the source's layout, or a dict with the keys "source" and
    "into" for both. The channels of images and sequences are moved to where the target has them.
    Raises `ShapeError` for random inputs if the input shape is known in neither net.
    """
    import numpy as np

    if isinstance(probe, Mapping):
        return listed_inputs(probe["source"]), listed_inputs(probe["into"])
    if isinstance(probe, str):
        if probe != "random":
            raise ShapeError(f'probe is {probe!r}; pass inputs, "random" or None')
        return _random(source, target)
    given = listed_inputs(probe)
    return given, [np.ascontiguousarray(_in_layout_of(each, source, target, nth)) for nth, each in enumerate(given)]


def inputs_of_net(probe: object, net: Net) -> list[Array]:
    """Return the inputs of one net: `probe`, or for None random ones of the shape that it is known to take.

    Raises `ShapeError` if that is not known.
    """
    if probe is not None:
        return listed_inputs(probe)
    shapes = (net.graph.input_shapes if net.graph else None) or _guessed(net)
    if shapes is None:
        raise ShapeError(
            f"it is not known which inputs the net takes{': ' if net.why_no_graph else ''}{net.why_no_graph}; pass some as probe="
        )
    return [_array(net, shape, nth) for nth, shape in enumerate(shapes)]


def listed_inputs(inputs: object) -> list[Array]:
    """Return the inputs of a net, an array or a list of arrays, as a list."""
    import numpy as np

    from steelyard.core.assign import plain

    return [np.asarray(plain(each)) for each in inputs] if isinstance(inputs, (list, tuple)) else [np.asarray(plain(inputs))]


def _random(source: Net, target: Net) -> tuple[list[Array], list[Array]]:
    """Return random inputs in the layout of the net whose input shape is known, and in that of the other net."""
    for net, other in ((source, target), (target, source)):
        shapes = net.graph.input_shapes if net.graph else None
        shapes = shapes or (_guessed(net) if other.graph is None or not other.graph.input_shapes else None)
        if shapes:
            made = [_array(net, shape, nth) for nth, shape in enumerate(shapes)]
            others = [_in_layout_of(each, net, other, nth) for nth, each in enumerate(made)]
            return (made, others) if net is source else (others, made)
    raise ShapeError(f"the shape of the input is known in neither net; pass inputs as probe={missing_graphs(source, target)}")


def _guessed(net: Net) -> tuple[Shape, ...] | None:
    """Return the shape of a net's only input that its first layer implies; None if it implies none."""
    first = next(iter(net.layers), None)
    if first is None or not net.is_execution_order:
        return None
    if first.kind == "dense":
        return ((first.shape("kernel")[1],),)
    if first.kind in ("rnn", "lstm", "gru"):
        return ((LENGTH, first.shape("kernel")[1]),)
    if first.kind == "embedding":
        return ((LENGTH,),)
    if first.kind in _IMAGES:
        shape = first.shape("kernel")
        groups = int(first.settings.get("groups") or 1) if first.kind == "conv" else 1
        channels, space = shape[1 if first.kind == "conv" else 0] * groups, [IMAGE] * (len(shape) - 2)
        return ((channels, *space) if net.channels == "first" else (*space, channels),)
    return None


def _array(net: Net, shape: Shape, nth: int) -> Array:
    import numpy as np

    rng = np.random.default_rng(SEED + nth)
    size = (BATCH, *(length or LENGTH for length in shape))
    first = next(iter(net.layers), None)
    if first is not None and first.kind == "embedding":
        return rng.integers(0, first.shape("table")[0], size)
    return rng.standard_normal(size).astype(np.float32)


def _in_layout_of(array: Array, net: Net, other: Net, nth: int) -> Array:
    """Return an input of one net in the layout of another."""
    if array.ndim < 3 or not net.channels or not other.channels or net.channels == other.channels:
        return array
    moved = to_channels(array, other.channels)
    shapes = other.graph.input_shapes if other.graph else None
    if shapes and nth < len(shapes):
        fits, moved_fits = _fits(array, shapes[nth]), _fits(moved, shapes[nth])
        if fits != moved_fits:
            return moved if moved_fits else array
    return moved if begins_with_image(net) or begins_with_image(other) else array


def begins_with_image(net: Net) -> bool:
    """Whether the first layer that is not a norm is a convolution."""
    return next((layer.kind in _IMAGES for layer in net.layers if layer.kind not in _NORMS), False)


def to_channels(array: Array, where: str) -> Array:
    """Move the channels from the axis after the batch to the end, or back.

    last     (batch, channels, *space) to (batch, *space, channels)
    first    (batch, *space, channels) to (batch, channels, *space)
    """
    import numpy as np

    return np.moveaxis(array, 1, -1) if where == "last" else np.moveaxis(array, -1, 1)


def _fits(array: Array, shape: Shape) -> bool:
    return len(shape) == array.ndim - 1 and all(b in (None, a) for a, b in zip(array.shape[1:], shape, strict=True))


def spoken(shapes: Sequence[tuple[int, ...]]) -> str:
    """Return shapes as text for a message."""
    return ", ".join(str(list(shape)) for shape in shapes)
