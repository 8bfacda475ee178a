"""Parts of a weight by an index as in Python: rows, columns, single elements."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import index as as_int
from types import EllipsisType
from typing import TYPE_CHECKING, cast

import numpy as np

from steelyard import sizes
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.errors import OutsideError, ShapeError, printable
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight

    Place = int | slice
    """An integer or a slice of one axis."""


def read_part(weight: Weight, index: Sequence[object]) -> Array:
    """Return the part of a weight that integers, slices and an ellipsis select, as in NumPy; only its runs are read.

    Raises `ShapeError` for any other index, and `OutsideError` for an index out of range.
    """
    places = _of_each_axis(weight, index)
    if hasattr(weight.read, "flat"):  # stored by columns: any run of rows needs the whole
        return cast("Array", weight.numpy()[tuple(places)])
    ranges = [range(n)[p] if isinstance(p, slice) else range(p, p + 1) for p, n in zip(places, weight.shape, strict=True)]
    rising = [each[::-1] if each.step < 0 else each for each in ranges]
    turned = tuple(slice(None, None, -1 if each.step < 0 else 1) for each in ranges)
    whole = _read(weight, rising).reshape([len(each) for each in ranges])[turned]
    return cast("Array", whole[tuple(slice(None) if isinstance(place, slice) else 0 for place in places)])


def _of_each_axis(weight: Weight, index: Sequence[object]) -> list[Place]:
    """Return the integer or the slice of every axis, with negative indices counted from the end."""
    given = [each for each in index if not isinstance(each, EllipsisType)]
    if len(given) > len(weight.shape) or len(index) - len(given) > 1:
        raise refused(weight, index, f"has {len(index)} entries, the weight {len(weight.shape)} axes")
    before = next((nth for nth, each in enumerate(index) if isinstance(each, EllipsisType)), len(given))
    whole = [slice(None)] * (len(weight.shape) - len(given))
    spread = [*given[:before], *whole, *given[before:]]
    return [_place(weight, index, nth, place) for nth, place in enumerate(spread)]


def _place(weight: Weight, index: Sequence[object], axis: int, place: object) -> Place:
    if isinstance(place, slice):
        return place
    if isinstance(place, (bool, np.bool_)) or not hasattr(place, "__index__"):
        raise refused(weight, index, f"{_text(place)} is not an index: use integers, slices or an ellipsis")
    number, length = as_int(place), weight.shape[axis]
    if not -length <= number < length:
        raise OutsideError(f"{_refusal(weight, index)}: {number} is out of range for axis {axis} of length {length:,}")
    return number % length


def _read(weight: Weight, ranges: Sequence[range]) -> Array:
    """Read some indices of each axis, which must ascend, as contiguous runs of elements."""
    if not prod(map(len, ranges)):
        return weight.read(0, 0)
    steps = [prod(weight.shape[nth + 1 :]) for nth in range(len(ranges))]
    run, outer = 1, len(ranges)
    while outer and run == prod(weight.shape[outer:]) and (ranges[outer - 1].step == 1 or len(ranges[outer - 1]) == 1):
        outer -= 1
        run *= len(ranges[outer])
    starts = np.array([sum(each[0] * step for each, step in zip(ranges[outer:], steps[outer:], strict=True))], np.int64)
    for places, step in zip(reversed(ranges[:outer]), reversed(steps[:outer]), strict=True):
        starts = (np.array(places, np.int64)[:, None] * step + starts).reshape(-1)
    return _runs(weight, starts, run)


def _runs(weight: Weight, starts: Array, run: int) -> Array:
    """Read runs of equal length from ascending starts; adjacent ones are read at once."""
    if len(starts) == 1:
        return weight.read(int(starts[0]), int(starts[0]) + run)
    cuts = np.flatnonzero((np.diff(starts // sizes.READ_BLOCK) > 0) | (np.diff(starts) - run > _gap(weight))) + 1
    made, within = np.empty((len(starts), run), numpy_dtype(weight.dtype)), np.arange(run)
    firsts, ends = starts.tolist(), [*cuts.tolist(), len(starts)]
    for at, end in zip([0, *ends], ends, strict=False):
        block = weight.read(firsts[at], firsts[end - 1] + run)
        made[at:end] = block if end == at + 1 else block[(starts[at:end] - firsts[at])[:, None] + within]
    return made


def _gap(weight: Weight) -> int:
    """Return the number of elements between two runs up to which both are read at once."""
    read = weight.read
    is_local = isinstance(read, Stored) and read.source.whole.path is not None
    return sizes.READ_GAP_BYTES // itemsize(weight.dtype) if is_local else sizes.READ_GAP


def elements(weight: Weight, wanted: Array) -> Array:
    """Return the elements at ascending indices of the flattened weight."""
    return _runs(weight, wanted, 1).reshape(-1)


def refused(weight: Weight, index: Sequence[object], what: str) -> ShapeError:
    """Return the error for an invalid index of a weight, from Python or in text."""
    return ShapeError(f"{_refusal(weight, index)}: {what}")


def _refusal(weight: Weight, index: Sequence[object]) -> str:
    text = index if isinstance(index, str) else ", ".join(map(_text, index))
    return f"{printable(weight.name)} of shape {list(weight.shape)} has no part [{printable(text)}]"


def _text(place: object) -> str:
    """Format an index as in Python."""
    if not isinstance(place, slice):
        return "..." if isinstance(place, EllipsisType) else printable(repr(place), 40)
    ends = ["" if end is None else str(end) for end in (place.start, place.stop, place.step)]
    return ":".join(ends if ends[2] else ends[:2])


def place_of(shape: Sequence[int], element: int) -> tuple[int, ...]:
    """Return the index of an element from its offset in row-major order.

    >>> place_of((2, 3), 4)
    (1, 1)
    """
    index: list[int] = []
    for length in reversed(shape):
        element, place = divmod(element, length)
        index.append(place)
    return tuple(index[::-1])
