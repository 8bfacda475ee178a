"""Read numbers block by block, into a buffer that is reused for each block.

New memory for each block would take as long as reading it, since the system clears every new page.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.readers import Live
from steelyard.core.weight import Weight
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Buffers = dict[int, bytearray]
    """The last buffer, by its length in bytes."""

_LOCAL = threading.local()


class BlockReader:
    """Reads blocks of a weight of at most `limit` elements, each valid until the next; those of a file share one buffer.

    The buffer is taken from `kept` if it has one of the right size, and left there for the next weight. Two readers
    in use at the same time need two such dicts.

    >>> from steelyard.core.readers import from_array
    >>> BlockReader(from_array("w", np.arange(5)), 2).block(2, 4).tolist()
    [2, 3]
    """

    __slots__ = ("_numbers", "_read", "buffer")

    def __init__(self, weight: Weight, limit: int, kept: Buffers | None = None) -> None:
        self._read: Any = weight.read
        self.buffer: bytearray | None = None
        if is_plain(weight) and weight.size:
            size = min(limit, weight.size) * itemsize(weight.dtype)
            kept = {} if kept is None else kept
            self.buffer = kept[size] if size in kept else bytearray(size)
            # only the last buffer is kept, so that memory does not grow with the number of sizes
            kept.clear()
            kept[size] = self.buffer
            self._numbers = np.frombuffer(self.buffer, numpy_dtype(weight.dtype))

    def block(self, start: int, stop: int) -> Array:
        """Return the elements [start, stop) with one axis."""
        if self.buffer is None:
            return np.ascontiguousarray(self._read(start, stop))
        numbers = self._numbers[: stop - start]
        self._read.fill(start, memoryview(self.buffer)[: numbers.nbytes])
        return numbers


def blocks_of(weight: Weight, start: int, stop: int, limit: int) -> Iterator[tuple[int, Array]]:
    """Yield the elements from `start` to `stop` in blocks of at most `limit`, each with the offset of its first.

    A block is valid until this thread reads the next one, of any weight.
    """
    if not hasattr(_LOCAL, "kept"):
        _LOCAL.kept = {}
    reader = BlockReader(weight, limit, _LOCAL.kept)
    for at, end in runs(start, stop, limit):
        yield at, reader.block(at, end)


def pairs_of(one: Weight, other: Weight, limit: int, start: int = 0) -> Iterator[tuple[int, Array, Array]]:
    """Yield blocks of two weights of equal shape from element `start`, with the offset of each, valid until the next."""
    readers = BlockReader(one, limit), BlockReader(other, limit)
    for at, end in runs(start, one.size, limit):
        yield at, readers[0].block(at, end), readers[1].block(at, end)


def runs(start: int, stop: int, limit: int) -> Iterator[tuple[int, int]]:
    """Split [start, stop) into runs of at most `limit` elements.

    >>> list(runs(2, 9, 3))
    [(2, 5), (5, 8), (8, 9)]
    """
    return ((at, min(at + limit, stop)) for at in range(start, stop, limit))


def is_plain(weight: Weight) -> bool:
    """Whether a file stores the numbers exactly as this machine's memory does."""
    return isinstance(weight.read, Stored) and (weight.read.byteorder == "<") == (sys.byteorder == "little")


def is_shared(weight: Weight) -> bool:
    """Whether several threads may read the numbers at once, as those of a file or of this process's memory."""
    read = weight.read
    return isinstance(read, Live) or (isinstance(read, Stored) and read.source.is_file)


def is_far(weight: Weight) -> bool:
    """Whether the numbers are fetched from another machine when they are read, so that they are best read in their order."""
    return isinstance(weight.read, Stored) and weight.read.source.whole.is_far
