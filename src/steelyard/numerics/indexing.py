"""A part of a weight, named as Python writes an index: rows, columns, single elements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from steelyard.core.readers import array_reader
from steelyard.core.weight import BLOCK, Weight
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_PLACE = re.compile(r"(-?[0-9]{1,18})|(-?[0-9]{1,18})?:(-?[0-9]{1,18})?")


def part_of(weight: Weight, index: str) -> Weight:
    """Return the part of a weight that `index` names, as "3,:5": places and runs from:to, one for each axis.

    Negative places count from the end, axes that are left out are whole, and an axis of which one place is
    taken is gone, as in Python. No more is read than the blocks that the part touches. Raises `ShapeError` for
    an index that cannot be read, has too many places, or names a place that the weight does not have.

    >>> from steelyard.core.readers import from_array
    >>> w = from_array("w", np.arange(12).reshape(3, 4))
    >>> part_of(w, "-1,:2").numpy().tolist()
    [8, 9]
    """
    ranges, single = _parsed(weight, index)
    kept = [nth for nth in range(len(ranges)) if nth not in single]
    array = _read(weight, ranges).reshape([len(ranges[nth]) for nth in kept])
    axes = weight.axes.split()
    return weight.replace(
        name=f"{weight.name}[{index}]",
        shape=array.shape,
        axes=" ".join(axes[nth] for nth in kept) if axes else "",
        read=array_reader(array),
        tied=None,
    )


def _read(weight: Weight, ranges: Sequence[range]) -> Array:
    """Read the places of each axis: one run where they follow one another, else element by element."""
    count = prod(map(len, ranges))
    if not count:
        return weight.read(0, 0)
    steps = [prod(weight.shape[nth + 1 :]) for nth in range(len(ranges))]
    first, last = (sum(places[end] * step for places, step in zip(ranges, steps, strict=True)) for end in (0, -1))
    if last - first + 1 == count:
        return weight.read(first, last + 1)
    wanted = np.zeros(1, np.int64)
    for places, step in zip(ranges, steps, strict=True):
        wanted = (wanted[:, None] + np.array(places, np.int64) * step).reshape(-1)
    return elements(weight, wanted)


def elements(weight: Weight, wanted: Array) -> Array:
    """Return the elements at these growing places of the flattened weight, read block by block."""
    cuts = np.flatnonzero(np.diff(wanted // BLOCK)) + 1
    return np.concatenate([weight.read(int(run[0]), int(run[-1]) + 1)[run - run[0]] for run in np.split(wanted, cuts)])


def _parsed(weight: Weight, index: str) -> tuple[Sequence[range], set[int]]:
    """Return the places of each axis, and the axes of which there is only one."""
    words = [word.strip() for word in index.split(",")]
    if len(words) > len(weight.shape):
        raise _error(weight, index, f"has {len(words)} places, the weight {len(weight.shape)} axes")
    ranges = [range(length) for length in weight.shape]
    single = set()
    for nth, (word, length) in enumerate(zip(words, weight.shape, strict=False)):
        match = _PLACE.fullmatch(word)
        if match is None:
            raise _error(weight, index, f"{word!r} is no place: write a number or a run from:to for each axis")
        if match[1] is None:
            ranges[nth] = range(length)[slice(*(int(end) if end else None for end in match.groups()[1:]))]
            continue
        place = int(match[1])
        if not -length <= place < length:
            raise _error(weight, index, f"axis {nth} has {length:,} places, and {place} is none of them")
        single.add(nth)
        ranges[nth] = range(length)[place : place + 1] if place >= 0 else range(length + place, length + place + 1)
    return ranges, single


def _error(weight: Weight, index: str, what: str) -> ShapeError:
    return ShapeError(f"{printable(weight.name)} of shape {list(weight.shape)} has no part [{printable(index)}]: {what}")


def place_of(shape: Sequence[int], element: int) -> tuple[int, ...]:
    """Return the index of an element by its number in row-major order.

    >>> place_of((2, 3), 4)
    (1, 1)
    """
    index: list[int] = []
    for length in reversed(shape):
        element, place = divmod(element, length)
        index.append(place)
    return tuple(index[::-1])
