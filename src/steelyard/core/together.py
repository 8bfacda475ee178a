"""Many small weights that are read together: a call of NumPy takes as long as a thousand numbers, and a read of a file longer.

A reader that makes its numbers of those of other weights takes part as a `Joint`.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from steelyard import sizes
from steelyard.core.weight import Refused
from steelyard.dtypes import numpy_dtype
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from typing import Any

    from steelyard.core.weight import Array, Reader, Weight

_SPARSE = 8  # a run of the file is read at once if it is at most this many times as long as the numbers sought


class Joint(Protocol):
    """A reader of which many can be read together, with the same bits as one by one."""

    def likeness(self) -> Hashable:
        """Return what readers of this class must share to be read together, besides the size and dtype of their weights.

        It is None for one that must be read alone, in its turn.
        """

    def rows(self, readers: Sequence[Any], width: int) -> Array | None:
        """Return all numbers of readers like this one as the rows of a new matrix; None where they must be read one by one."""


def batches(weights: Iterable[Weight], limit: int) -> Iterator[tuple[list[Weight], bool]]:
    """Cut weights into runs of small ones, of at most `limit` bytes, and of others; the runs of small ones are marked.

    >>> import numpy as np
    >>> from steelyard.core.readers import from_array
    >>> small, large = from_array("s", np.ones(3)), from_array("l", np.ones(5000))
    >>> [(len(some), are_small) for some, are_small in batches([small, small, large, small], 1 << 20)]
    [(2, True), (1, False), (1, True)]
    """
    some: list[Weight] = []
    held = 0
    for weight in weights:
        size = weight.nbytes
        is_small = 0 < weight.size <= sizes.SMALL_WEIGHT and not isinstance(weight.read, Refused)
        if some and (not is_small or len(some) == sizes.SMALL_TOGETHER or held + size > limit):
            yield some, True
            some, held = [], 0
        if is_small:
            some.append(weight)
            held += size
        else:
            yield [weight], False
    if some:
        yield some, True


def bytes_together(weights: Sequence[Weight]) -> list[memoryview] | None:
    """Return the little-endian bytes of each of several small weights; None where they must be read one by one.

    That is also where one of them cannot be read, so that the error is raised in its turn.
    """
    if len(weights) < 2:
        return None
    return _from_one_run(weights) or _from_rows(weights)


def _from_one_run(weights: Sequence[Weight]) -> list[memoryview] | None:
    """Return the bytes of weights that one file has near each other, and as they are written, without NumPy."""
    first = weights[0].read
    if not isinstance(first, Stored):
        return None
    places = []
    for weight in weights:
        read = weight.read
        if not isinstance(read, Stored) or read.source is not first.source or read.byteorder != "<":
            return None
        places.append((read.offset, read.offset + weight.nbytes))
    held = _run(first.source, min(places)[0], max(end for _, end in places), sum(end - begin for begin, end in places))
    if held is None:
        return None
    low, whole = min(places)[0], memoryview(held)
    return [whole[begin - low : end - low] for begin, end in places]


def _run(source: Any, low: int, high: int, sought: int) -> bytes | None:
    if high - low > _SPARSE * sought or low < 0 or high > source.size:
        return None
    try:
        held: bytes = source.read(low, high - low)
    except Exception:  # noqa: BLE001 - it is raised in the turn of the weight
        return None
    return held


def _from_rows(weights: Sequence[Weight]) -> list[memoryview] | None:
    """Return the bytes of weights of which some are alike: those are read in groups, the others in order."""
    groups = _alike(weights)
    if len(groups) == len(weights):
        return None
    import numpy as np

    made: list[memoryview] = [memoryview(b"")] * len(weights)
    for places in groups:
        rows = read_rows([weights[place] for place in places])
        if rows is None:
            return None
        whole = (rows if sys.byteorder == "little" else rows.byteswap()).view(np.uint8).reshape(-1).data
        width = len(whole) // len(places)
        for at, place in enumerate(places):
            made[place] = whole[at * width : (at + 1) * width]
    return made


def in_memory(weights: Iterable[Weight], limit: int | None = None) -> Iterator[Weight]:
    """Yield each weight; those that are small and alike are read together, and their numbers are in memory."""
    for some, are_small in batches(weights, limit or sizes.WRITE_CHUNK_BYTES):
        yield from _with_rows(some) if are_small else some


def _with_rows(weights: list[Weight]) -> list[Weight]:
    made = [*weights]
    for places in _alike(weights):
        rows = read_rows([weights[place] for place in places]) if len(places) > 1 else None
        for place, row in zip(places, () if rows is None else rows, strict=rows is not None):
            made[place] = weights[place].replace(read=_part_of(row))
    return made


def _part_of(row: Array) -> Reader:
    return lambda start, stop: row[start:stop]


def _alike(weights: Sequence[Weight]) -> list[list[int]]:
    """Return the places of weights in groups of those that are read together."""
    groups: dict[Hashable, list[int]] = {}
    for place, weight in enumerate(weights):
        groups.setdefault(_kind(weight, place), []).append(place)
    return [*groups.values()]


def _kind(weight: Weight, place: int) -> Hashable:
    key = likeness(weight.read)
    return place if key is None else (weight.dtype, weight.size, key)


def likeness(read: Reader) -> Hashable:
    """Return a key that readers share which can be read together; None for one that must be read alone."""
    if isinstance(read, Stored):
        return id(read.source), read.dtype, read.byteorder
    key = read.likeness() if hasattr(read, "likeness") else None
    return None if key is None else (type(read), key)


def read_rows(weights: Sequence[Weight]) -> Array | None:
    """Return the numbers of weights that are alike, in dtype, size and `likeness`, as the rows of a matrix.

    It is None where one of them cannot be read.

    >>> import numpy as np
    >>> from steelyard.core.readers import from_array
    >>> read_rows([from_array("w", np.ones(2)), from_array("v", np.zeros(2))])
    array([[1., 1.],
           [0., 0.]])
    """
    rows = rows_of([weight.read for weight in weights], weights[0].size)
    return _one_by_one(weights) if rows is None or rows.dtype != numpy_dtype(weights[0].dtype) else rows


def rows_of(readers: Sequence[Any], width: int) -> Array | None:
    """Return the numbers of readers of one `likeness` as rows; None where they must be read one by one."""
    if isinstance(readers[0], Stored):
        return _stored_rows(readers, width)
    if not hasattr(readers[0], "rows"):
        return None
    try:
        rows: Array | None = readers[0].rows(readers, width)
    except Exception:  # noqa: BLE001 - it is raised in the turn of the weight
        return None
    return rows


def _one_by_one(weights: Sequence[Weight]) -> Array | None:
    import numpy as np

    rows = np.empty((len(weights), weights[0].size), numpy_dtype(weights[0].dtype))
    for weight, row in zip(weights, rows, strict=True):
        try:
            read = weight.read(0, weight.size)
        except Exception:  # noqa: BLE001 - it is raised in the turn of the weight
            return None
        if read.dtype != row.dtype:
            return None
        row[:] = read
    return rows


def _stored_rows(readers: Sequence[Any], width: int) -> Array | None:
    """Return the numbers of weights that one file has near each other."""
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view

    first = readers[0]
    rows = np.empty((len(readers), width), numpy_dtype(first.dtype))
    offsets = np.array([read.offset for read in readers])
    low, length = int(offsets.min()), width * rows.itemsize
    held = _run(first.source, low, int(offsets.max()) + length, rows.nbytes)
    if held is None:
        return None
    rows.view(np.uint8)[...] = sliding_window_view(np.frombuffer(held, np.uint8), length)[offsets - low]
    if first.byteorder == ">" and rows.itemsize > 1:
        rows.byteswap(inplace=True)
    return rows
