"""Split a weight into boxes: runs that are complete along the last axes, so that they have the axes of the weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

from steelyard.core.indexing import place_of


class Box(NamedTuple):
    """The elements [start, stop), which are an array of `shape` at the index `corner`."""

    start: int
    stop: int
    corner: tuple[int, ...]
    shape: tuple[int, ...]


def boxes(shape: Sequence[int], limit: int) -> Iterator[Box]:
    """Split an array of `shape` into boxes of at most `limit` elements, in row-major order.

    >>> [(box.corner, box.shape) for box in boxes((2, 3, 2), 4)]
    [((0, 0, 0), (1, 2, 2)), ((0, 2, 0), (1, 1, 2)), ((1, 0, 0), (1, 2, 2)), ((1, 2, 0), (1, 1, 2))]
    """
    if 0 in shape:
        return
    if not shape:
        yield Box(0, 1, (), ())
        return
    cut = next(nth for nth in range(len(shape)) if prod(shape[nth + 1 :]) <= limit)
    rest = tuple(shape[cut + 1 :])
    inner = prod(rest)
    step = max(limit // inner, 1)
    for row in range(prod(shape[:cut])):
        prefix = place_of(shape[:cut], row)
        for begin in range(0, shape[cut], step):
            end = min(begin + step, shape[cut])
            start = (row * shape[cut] + begin) * inner
            yield Box(
                start, start + (end - begin) * inner, (*prefix, begin, *(0,) * len(rest)), (*(1,) * cut, end - begin, *rest)
            )
