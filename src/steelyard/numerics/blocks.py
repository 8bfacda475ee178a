"""Reading numbers to look at them once: block by block into the same memory, and by two threads where that is safe."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from steelyard.core.readers import Live
from steelyard.core.weight import Weight
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Array

THREADS = 2
"""Enough to look at numbers about as fast as one thread reads them."""
WINDOW = 6
"""Jobs that are under way or wait for their turn: what they found is kept in memory until then."""
_LOCAL = threading.local()
Found = TypeVar("Found")


def blocks_of(weight: Weight, start: int, stop: int, limit: int) -> Iterator[tuple[int, Array]]:
    """Yield the elements from `start` to `stop` in blocks of at most `limit`, each with its first place.

    A block is valid until the next. What lies in a file is read into one buffer for each thread: new memory for
    each block would take as long as reading it.
    """
    read = weight.read
    plain = isinstance(read, Stored) and (read.byteorder == "<") == (sys.byteorder == "little")
    for at in range(start, stop, limit):
        end = min(at + limit, stop)
        if plain:
            room = _buffer((end - at) * itemsize(weight.dtype))
            read.fill(at, room.data)  # type: ignore[attr-defined]
            yield at, room.view(numpy_dtype(weight.dtype))
        else:
            yield at, read(at, end)


def _buffer(length: int) -> Array:
    if getattr(_LOCAL, "size", 0) < length:
        _LOCAL.size, _LOCAL.room = length, np.empty(length, np.uint8)
    room: Array = _LOCAL.room[:length]
    return room


def is_shared(weight: Weight) -> bool:
    """Tell whether several threads may read the numbers at once: those of a local file, or in this process's memory."""
    read = weight.read
    return isinstance(read, Live) or (isinstance(read, Stored) and read.source.path is not None)


def in_turn(jobs: Iterable[tuple[Any, ...]], work: Callable[..., Found], shared: Callable[..., bool]) -> Iterator[Found]:
    """Yield what `work` finds for each job, in the order of the jobs; those that may be `shared` are done by threads.

    The others are done when their turn comes, and so is everything while no two can be shared. Raises what a job raises
    in its turn.
    """
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(THREADS)
    waiting: deque[Callable[[], Found]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(work, *job).result if shared(*job) else partial(work, *job))
            if len(waiting) == WINDOW:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()
    finally:
        pool.shutdown(cancel_futures=True)
