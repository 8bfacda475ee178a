"""The filters of a convolution as small pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from steelyard import sizes
from steelyard.core.casting import standard
from steelyard.core.weight import Role, Weight
from steelyard.dtypes import numpy_dtype
from steelyard.numerics.boxes import boxes

if TYPE_CHECKING:
    from steelyard.core.weight import Array

SMALLEST, LARGEST = 2, 32
"""The smallest and the largest side of a filter that can be drawn, in pixels."""
COLOURS = 3
GUESSED = "out in kh kw"
"""PyTorch's axes, assumed if a file does not give a kernel's axes and the shape is plausible."""


class Filters:
    """The filters of a convolution: `pictures` has the axes filter, row, column and colour (1, or 3 for red, green, blue).

    `units` names each filter, such as "out 5" or "out 5, in 2". `count` is the number of all filters; the first ones are
    drawn. `guessed` means that the source does not give the axes, so they are assumed to be PyTorch's. `deduced` says how the
    inputs of a dense layer are the pixels of a picture; blank for a convolution.
    """

    __slots__ = ("count", "deduced", "guessed", "pictures", "units")

    def __init__(self, pictures: Array, units: list[str], count: int, *, guessed: bool, deduced: str = "") -> None:
        self.pictures = pictures
        self.units = units
        self.count = count
        self.guessed = guessed
        self.deduced = deduced


def axes_of_filters(weight: Weight) -> str:
    """Return the axes of a two-dimensional convolution kernel; blank for any other weight.

    >>> from steelyard.core.readers import from_array
    >>> axes_of_filters(from_array("w", np.zeros((3, 3, 1, 8)), axes="kh kw in out"))
    'kh kw in out'
    >>> axes_of_filters(from_array("w", np.zeros((8, 3, 5, 5)), role=Role.KERNEL))
    'out in kh kw'
    """
    if len(weight.shape) != 4 or not weight.size or weight.role not in (Role.KERNEL, Role.OTHER):
        return ""
    axes = weight.axes
    if not axes:
        square = weight.shape[2] == weight.shape[3] and weight.shape[1] < max(weight.shape[0], COLOURS + 1)
        axes = GUESSED if square and weight.role is Role.KERNEL else ""
    words = [word.removeprefix("-") for word in axes.split()]
    if not {"kh", "kw"} <= set(words):
        return ""
    sides = [weight.shape[words.index(word)] for word in ("kh", "kw")]
    return axes if all(SMALLEST <= side <= LARGEST for side in sides) else ""


def filters(weight: Weight, limit: int = 64) -> Filters | None:
    """Return the first `limit` filters of a two-dimensional convolution kernel; None for any other weight.

    The inputs of a kernel with three inputs are drawn as colours, so it has a picture for each output; other kernels have one
    for each output and input. A reversed axis is reversed back. The numbers are those of the weight, not scaled.

    Examples:
        >>> from steelyard.core.readers import from_array
        >>> found = filters(from_array("conv.weight", np.ones((8, 3, 5, 5)), role=Role.KERNEL, axes="out in kh kw"))
        >>> found.pictures.shape, found.units[:2]
        ((8, 5, 5, 3), ['out 0', 'out 1'])
    """
    axes = axes_of_filters(weight)
    if not axes:
        return None
    words = [word.removeprefix("-") for word in axes.split()]
    backwards = tuple(nth for nth, word in enumerate(axes.split()) if word.startswith("-"))
    height, width = words.index("kh"), words.index("kw")
    rest = [nth for nth in range(4) if nth not in (height, width)]
    outer = next((nth for nth in rest if words[nth].endswith(("out", "mult"))), rest[0])
    inner = next(nth for nth in rest if nth != outer)
    outs, ins = weight.shape[outer], weight.shape[inner]
    coloured = ins == COLOURS and words[inner] == "in"
    array = _first(weight, outer, min(limit if coloured else -(-limit // ins), outs))
    maps = np.flip(array, backwards).transpose(outer, inner, height, width)
    if coloured:
        named = [f"{words[outer]} {nth}" for nth in range(len(maps))]
        return Filters(maps.transpose(0, 2, 3, 1), named, outs, guessed=not weight.axes)
    flat = maps.reshape(len(maps) * ins, *maps.shape[2:], 1)[:limit]
    named = [_unit(nth, ins, words[outer], words[inner]) for nth in range(len(flat))]
    return Filters(flat, named, outs * ins, guessed=not weight.axes)


def _first(weight: Weight, axis: int, count: int) -> Array:
    """Return the first slices along one axis; memory use is their size and that of a block."""
    kept = np.empty(
        [count if nth == axis else length for nth, length in enumerate(weight.shape)], standard(numpy_dtype(weight.dtype))
    )
    for box in boxes(weight.shape, sizes.READ_BLOCK):
        first = box.corner[axis]
        if first < count:
            block = weight.read(box.start, box.stop).reshape(box.shape)
            part = tuple(slice(at, at + length) for at, length in zip(box.corner, box.shape, strict=True))
            here = kept[part]
            here[...] = block[tuple(slice(length) for length in here.shape)]
    return kept


def _unit(nth: int, ins: int, outer: str, inner: str) -> str:
    return f"{outer} {nth // ins}" + (f", {inner} {nth % ins}" if ins > 1 else "")
