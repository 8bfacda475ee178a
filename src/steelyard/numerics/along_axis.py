"""Numbers by their place along one axis of a row-major array: runs that are read at once, and values that are repeated.

An array is seen as (before, length, inside): the axes before the one that matters, this axis, and those after it. Its boxes are
runs of the file, which do not depend on where a reader begins, and neither do sums over them.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard import sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from steelyard.core.weight import Array


class View(NamedTuple):
    """A shape with one axis in the middle; without an axis, everything is inside."""

    before: int
    length: int
    inside: int


def view(shape: Sequence[int], axis: int | None) -> View:
    """Return the shape around an axis.

    >>> view((2, 3, 4, 5), 1)
    View(before=2, length=3, inside=20)
    """
    if axis is None:
        return View(1, 1, prod(shape))
    return View(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))


class Box(NamedTuple):
    """A part of a view that is one run of numbers, which begins at `start`: ranges of all three axes."""

    start: int
    before: tuple[int, int]
    along: tuple[int, int]
    inside: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The lengths of the box."""
        return self.before[1] - self.before[0], self.along[1] - self.along[0], self.inside[1] - self.inside[0]


def boxes(whole: View, first: int, last: int) -> Iterator[Box]:
    """Yield the boxes of the places [first, last) along the axis, of which no box has more numbers than a block.

    >>> [box.start for box in boxes(View(1, 3, 4), 1, 3)]
    [4]
    """
    limit, plane = sizes.READ_BLOCK, whole.length * whole.inside
    if last - first == whole.length and 0 < plane <= limit:
        step = limit // plane
        for at in range(0, whole.before, step):
            yield Box(at * plane, (at, min(at + step, whole.before)), (0, whole.length), (0, whole.inside))
        return
    step, piece = max(limit // max(whole.inside, 1), 1), min(max(whole.inside, 1), limit)
    for outer in range(whole.before):
        for at in range(first, last, step):
            for within in range(0, whole.inside, piece):
                ends = min(at + step, last), min(within + piece, whole.inside)
                yield Box(outer * plane + at * whole.inside + within, (outer, outer + 1), (at, ends[0]), (within, ends[1]))


def spread(values: Array, whole: View, start: int, stop: int, first: int = 0) -> Array:
    """Repeat the values of an axis for the numbers [start, stop); the first value is for the place `first`.

    >>> import numpy as np
    >>> spread(np.array([5, 6, 7]), View(1, 3, 2), 1, 5).tolist()
    [5, 6, 6, 7]
    """
    import numpy as np

    plane = whole.length * whole.inside
    if whole.before > 1 and plane <= sizes.READ_BLOCK:
        offset = start % plane
        return np.tile(np.repeat(values, whole.inside), -(-(offset + stop - start) // plane))[offset : offset + stop - start]
    places = np.arange(start // whole.inside, -(-stop // whole.inside))
    counts = np.full(len(places), whole.inside)
    counts[-1] -= len(places) * whole.inside + places[0] * whole.inside - stop
    counts[0] -= start - places[0] * whole.inside
    return np.repeat(values[places % whole.length - first], counts)
