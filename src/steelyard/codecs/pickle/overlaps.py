"""Views of one storage that share some of their numbers, but not all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.codecs.pickle.arrays import Memory, PickledTensor


RUNS = 1 << 14
"""Contiguous runs of a view up to which two views are compared exactly; beyond, their whole extents are."""
COMPARED = 1 << 18
"""Runs that are compared exactly in one file; beyond, views whose extents meet are taken to overlap."""


def overlaps(named: Mapping[str, PickledTensor]) -> dict[str, str]:
    """Map each view of a storage to the first one before it with which it shares some elements, but not all."""
    storages = [tensor.memory[0] for tensor in named.values() if tensor.memory is not None]
    overlapping: dict[str, str] = {}
    if len(set(storages)) == len(storages):  # as in nearly every file
        return overlapping
    views: dict[object, dict[Memory, str]] = {}
    for name, tensor in named.items():
        if tensor.memory is not None:
            views.setdefault(tensor.memory[0], {}).setdefault(tensor.memory, name)
    left = COMPARED
    for several in views.values():
        if len(several) > 1:
            names = [*several.values()]
            for late, early, cost in _sharing([*several], left):
                left -= cost
                if late:
                    overlapping[names[late]] = names[early]
    return overlapping


def _sharing(views: list[Memory], left: int) -> Iterator[tuple[int, int, int]]:
    """Yield the place of each view that overlaps an earlier one, the place of the first such, and the runs compared.

    In the order of their offsets, only views whose extents meet are compared.
    """
    met: list[tuple[int, int]] = []  # the end and the place of each view that may meet the next ones
    firsts: dict[int, int] = {}
    for place in sorted(range(len(views)), key=lambda place: bounds(views[place])):
        begin, end = bounds(views[place])
        while met and met[0][0] <= begin:
            heappop(met)
        for _, other in met if left > 0 else met[:1]:
            cost = 8 + _count(views[place]) + _count(views[other])
            left -= cost
            yield 0, 0, cost
            if left <= 0 or shares(views[place], views[other]):
                early, late = sorted((place, other))
                firsts[late] = min(early, firsts.get(late, early))
        heappush(met, (end, place))
    for late, early in firsts.items():
        yield late, early, 0


def shares(one: Memory, other: Memory) -> bool:
    """Whether two views of one storage have an element in common.

    >>> column = lambda nth: ("storage", 4 * nth, 4, (3,), (2,), "float32")
    >>> shares(column(0), column(1)), shares(column(0), ("storage", 0, 4, (3, 2), (2, 1), "float32"))
    (False, True)
    """
    mine, theirs = _runs(one), _runs(other)
    at = 0
    for start, stop in mine:
        while at < len(theirs) and theirs[at][1] <= start:
            at += 1
        if at < len(theirs) and theirs[at][0] < stop:
            return True
    return False


def bounds(memory: Memory) -> tuple[int, int]:
    """Return the first byte of a view, and the byte after its last."""
    _, begin, size, shape, steps, _ = memory
    return begin, begin + size * (1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=True)))


def _runs(memory: Memory) -> list[tuple[int, int]]:
    """Return the runs of bytes that a view touches, in order."""
    _, begin, size, *_ = memory
    length, axes = _inner(memory)
    starts = [0]
    for step, n in axes:
        starts = [start + nth * step for start in starts for nth in range(n)]
    return [(begin + start * size, begin + (start + length) * size) for start in sorted(starts)]


def _count(memory: Memory) -> int:
    return prod(n for _, n in _inner(memory)[1])


def _inner(memory: Memory) -> tuple[int, list[tuple[int, int]]]:
    """Return the length of a run, and the step and length of each axis that repeats it; of too many runs, one for all."""
    _, _, _, shape, steps, _ = memory
    axes = sorted((step, n) for n, step in zip(shape, steps, strict=True) if step and n > 1)
    length = 1
    while axes and axes[0][0] <= length:  # the inner axes without gaps are one run
        step, n = axes.pop(0)
        length += (n - 1) * step
    if prod(n for _, n in axes) > RUNS:
        return length + sum((n - 1) * step for step, n in axes), []
    return length, axes
