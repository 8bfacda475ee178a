"""Weights that are stored in chunks: boxes of any size that together cover them, as each process of a training saves its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.readers import by_boxes
from steelyard.core.weight import Weight

if TYPE_CHECKING:
    from steelyard.codecs.budget import Budget
    from steelyard.core.weight import Array, Reader

VISIT_COST = 200
"""bytes of memory that stand for the time to compare a chunk with its neighbours along an axis"""


class Chunk(NamedTuple):
    """A box of a weight: the index of its first element, its shape, and the reader of its elements in row-major order."""

    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    read: Reader


def joined(shape: tuple[int, ...], dtype: str, chunks: Sequence[Chunk]) -> Reader:
    """Return the reader of a weight that these chunks tile; a run of it reads only its own parts of the chunks that it touches.

    >>> import numpy as np
    >>> left = Chunk((0, 0), (2, 1), lambda start, stop: np.array([0, 2])[start:stop])
    >>> right = Chunk((0, 1), (2, 1), lambda start, stop: np.array([1, 3])[start:stop])
    >>> joined((2, 2), "int64", [left, right])(1, 4).tolist()
    [1, 2, 3]
    """
    if len(chunks) == 1:
        return chunks[0].read
    parts = [Weight(name="", shape=chunk.shape, dtype=dtype, read=chunk.read) for chunk in chunks]

    def box(index: tuple[int, ...], first: int, last: int) -> Array:
        return _box(shape, dtype, chunks, parts, (index, first, last))

    return by_boxes(shape, box)


def _box(
    shape: tuple[int, ...], dtype: str, chunks: Sequence[Chunk], parts: Sequence[Weight], place: tuple[tuple[int, ...], int, int]
) -> Array:
    """Return the part [first, last) of the axis after those that the index fixes."""
    import numpy as np

    from steelyard.dtypes import numpy_dtype

    index, first, last = place
    low = (*index, first, *(0,) * (len(shape) - len(index) - 1))
    high = (*(each + 1 for each in index), last, *shape[len(index) + 1 :])
    made = np.empty([end - begin for begin, end in zip(low, high, strict=True)], numpy_dtype(dtype))
    for chunk, part in zip(chunks, parts, strict=True):
        begins = [max(a, b) for a, b in zip(low, chunk.offsets, strict=True)]
        ends = [min(a, b + n) for a, b, n in zip(high, chunk.offsets, chunk.shape, strict=True)]
        if all(begin < end for begin, end in zip(begins, ends, strict=True)):
            within = tuple(slice(a - o, b - o) for a, b, o in zip(begins, ends, chunk.offsets, strict=True))
            made[tuple(slice(a - o, b - o) for a, b, o in zip(begins, ends, low, strict=True))] = part[within]
    return made


def tiles(shape: tuple[int, ...], chunks: Sequence[Chunk], budget: Budget) -> bool:
    """Whether the chunks cover an array of this shape, each element once, by cuts through the whole or through what a cut made.

    >>> from steelyard.codecs.budget import Budget
    >>> from steelyard.storage.source import from_bytes
    >>> budget, read = Budget(from_bytes(b"")), (lambda start, stop: None)
    >>> whole = [Chunk((0, 0), (2, 2), read), Chunk((2, 0), (1, 1), read), Chunk((2, 1), (1, 1), read)]
    >>> tiles((3, 2), whole, budget), tiles((3, 2), whole[:2], budget), tiles((3, 2), [*whole[:2], whole[1]], budget)
    (True, False, False)
    """
    waiting: list[tuple[Sequence[Chunk], tuple[int, ...], tuple[int, ...]]] = [(chunks, (0,) * len(shape), shape)]
    while waiting:
        group, low, lengths = waiting.pop()
        budget.spend(VISIT_COST * len(group) * max(len(shape), 1))
        if len(group) == 1:
            if (group[0].offsets, group[0].shape) != (low, lengths):
                return False
            continue
        slabs = next((found for axis in range(len(shape)) if len(found := _slabs(group, axis)) > 1), [])
        if not slabs or (slabs[0][1], slabs[-1][2]) != (low[(axis := slabs[0][0])], low[axis] + lengths[axis]):
            return False
        for before, after in pairwise(slabs):
            if before[2] != after[1]:
                return False
        for axis, begin, end, inner in slabs:
            waiting.append((inner, _at(low, axis, begin), _at(lengths, axis, end - begin)))
    return True


def _slabs(chunks: Sequence[Chunk], axis: int) -> list[tuple[int, int, int, list[Chunk]]]:
    """Cut chunks along an axis wherever no chunk reaches over the cut; return axis, begin, end and chunks of each slab."""
    slabs: list[tuple[int, int, int, list[Chunk]]] = []
    for chunk in sorted(chunks, key=lambda chunk: chunk.offsets[axis]):
        begin, end = chunk.offsets[axis], chunk.offsets[axis] + chunk.shape[axis]
        if slabs and begin < slabs[-1][2]:
            _, first, last, inner = slabs[-1]
            inner.append(chunk)
            slabs[-1] = axis, first, max(last, end), inner
        else:
            slabs.append((axis, begin, end, [chunk]))
    return slabs


def _at(values: tuple[int, ...], axis: int, value: int) -> tuple[int, ...]:
    return (*values[:axis], value, *values[axis + 1 :])
