"""Readers of numbers: from this process's memory, from the rows of a sliceable array, or from a file.

Each is a `Reader`: called with (start, stop), it returns these elements in row-major order, with one axis.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from steelyard import sizes
from steelyard.core.recent import RecentBlocks
from steelyard.core.together import batches, bytes_together, likeness, rows_of
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import ITEMSIZES, itemsize
from steelyard.errors import ShapeError, UnknownModelError, printable
from steelyard.storage.readahead import read_ahead
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from steelyard.core.held import Link
    from steelyard.core.weight import Array, DType, Reader


class Memory(Protocol):
    """Memory of this process with one weight, contiguous and row-major."""

    def array(self) -> Array:
        """Return the current memory as an array with one axis; raises as `check` does, and if the model does not hold it."""

    def address(self) -> int:
        """Return its current address, fast and unchecked."""

    def check(self) -> None:
        """Raise `ShapeError` if it no longer has the listed shape and dtype; the link is not checked."""

    @property
    def link(self) -> Link | None:
        """The entry by which the model holds it; None for memory that belongs to the weight itself, or that is checked anyway."""


class Live:
    """A reader of this process's memory. It returns views; writing to a view writes to the model."""

    __slots__ = ("memory",)

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def __call__(self, start: int, stop: int) -> Array:
        return self.memory.array()[start:stop]

    def likeness(self) -> Hashable:
        """Return what readers share that are read together, see `core.together`; None for memory that a model may replace."""
        return _OwnMemory if isinstance(self.memory, _OwnMemory) else None

    def rows(self, readers: Sequence[Live], width: int) -> Array | None:
        """Return the numbers of several arrays as rows."""
        import numpy as np

        return np.concatenate([reader.memory.array() for reader in readers]).reshape(-1, width)


class Place(NamedTuple):
    """Where strided numbers are: device, address of the first, and the bytes between two along each axis."""

    device: str
    address: int
    strides: tuple[int, ...]


class Placed:
    """A reader of copies, with the place of the numbers: a `Place`, or any other key that identical memory shares.

    `check` raises if the model does not hold the numbers any more; it is called before they are read or written.
    """

    __slots__ = ("check", "place", "read")

    def __init__(self, read: Reader, place: Hashable, check: Callable[[], None] | None = None) -> None:
        self.read = read
        self.place = place
        self.check = check

    def __call__(self, start: int, stop: int) -> Array:
        if self.check is not None:
            self.check()
        return self.read(start, stop)


class _OwnMemory:
    """The memory of a NumPy array, whose address never changes."""

    __slots__ = ("_address", "_flat")

    def __init__(self, flat: Array) -> None:
        self._flat = flat
        self._address = flat.ctypes.data

    def array(self) -> Array:
        return self._flat

    def address(self) -> int:
        return self._address

    def check(self) -> None:
        return

    @property
    def link(self) -> Link | None:
        return None


def by_rows(shape: Sequence[int], rows: Callable[[int, int], Array]) -> Reader:
    """Make a reader from `rows(first, last)`, which returns the part [first, last) of the first axis.

    This is for strided arrays and chunked stores, which cannot be flattened without a copy. A run
    reads only the rows that it touches. `shape` is the whole shape; of a scalar, `rows(0, 1)` is the whole.

    >>> import numpy as np
    >>> table = np.arange(6).reshape(2, 3).T
    >>> by_rows(table.shape, lambda a, b: table[a:b])(1, 4).tolist()
    [3, 1, 4]
    """
    width = prod(shape[1:])

    def read(start: int, stop: int) -> Array:
        if stop <= start or not width:
            return rows(0, 0).reshape(-1)
        # whole rows around the run, of which it is then cut
        first, last = start // width, -(-stop // width)
        run = rows(first, last).reshape(-1)
        return run[start - first * width : stop - first * width]

    return read


def by_boxes(shape: Sequence[int], box: Callable[[tuple[int, ...], int, int], Array]) -> Reader:
    """Make a reader from `box(index, first, last)`: the part [first, last) of the axis after those that `index` fixes.

    This is for stores whose rows may be very long, such as (1, 100,000,000): a run reads only about as much as it returns.

    >>> import numpy as np
    >>> table = np.arange(6).reshape(2, 3)
    >>> by_boxes(table.shape, lambda index, a, b: table[index][a:b])(1, 4).tolist()
    [1, 2, 3]
    """
    axis = next((at for at in range(len(shape)) if prod(shape[at + 1 :]) <= sizes.READ_BLOCK), 0)
    width, length = prod(shape[axis + 1 :]), shape[axis] if shape else 1

    def read(start: int, stop: int) -> Array:
        import numpy as np

        if stop <= start:
            return box((0,) * axis, 0, 0).reshape(-1)
        runs: list[Array] = []
        at = start
        while at < stop:
            number, within = divmod(at, width * length)
            end = min(stop, (number + 1) * width * length)
            first, last = within // width, -(-(within + end - at) // width)
            index = tuple(map(int, np.unravel_index(number, shape[:axis]))) if axis else ()
            run = box(index, first, last).reshape(-1)
            runs.append(run[within - first * width : within - first * width + end - at])
            at = end
        return runs[0] if len(runs) == 1 else np.concatenate(runs)

    return read


_BANDS = RecentBlocks()


class ByColumns:
    """A reader of a column-major array, which `flat` reads in that order.

    A run in row-major order needs a piece of every column, so a band of rows is read at once and kept for the next run.
    """

    __slots__ = ("_key", "flat", "shape")

    def __init__(self, flat: Reader, shape: Sequence[int]) -> None:
        self.flat = flat
        self.shape = shape
        self._key = object()  # the bands outlive this reader, and must not keep its file open

    def __call__(self, start: int, stop: int) -> Array:
        if stop <= start:
            return self.flat(0, 0)
        wide = len(self.shape) == 2 and prod(self.shape[1:]) * self._itemsize() > sizes.BAND_BYTES
        read = by_boxes(self.shape, self._part_of_row) if wide else by_rows(self.shape, self._rows)
        return read(start, stop)

    def likeness(self) -> Hashable:
        """Return what readers share that are read together; see `core.together`."""
        key = likeness(self.flat)
        return None if key is None else (tuple(self.shape), key)

    def rows(self, readers: Sequence[ByColumns], width: int) -> Array | None:
        """Return the numbers of several arrays as rows."""
        import numpy as np

        flat = rows_of([reader.flat for reader in readers], width)
        if flat is None:
            return None
        arrays = flat.reshape(len(readers), *reversed(self.shape))
        turned = arrays.transpose(0, *range(len(self.shape), 0, -1))
        return np.ascontiguousarray(turned).reshape(len(readers), width)

    def _itemsize(self) -> int:
        return self.flat(0, 0).itemsize

    def _part_of_row(self, index: tuple[int, ...], first: int, last: int) -> Array:
        """Return a part of a row that is too long to be kept, or of the rows [first, last) if they are short."""
        if not index:
            return self._band(first, last)
        return self.flat(first * self.shape[0], last * self.shape[0])[index[0] :: self.shape[0]]

    def _rows(self, first: int, last: int) -> Array:
        height = max(sizes.BAND_BYTES // max(prod(self.shape[1:]) * self._itemsize(), 1), 1)
        bands = range(first // height, -(-last // height))
        kept = ((at * height, self._kept(at * height, min((at + 1) * height, self.shape[0]))) for at in bands)
        parts = [band[max(first - top, 0) : last - top] for top, band in kept]

        import numpy as np

        return np.concatenate(parts)  # a copy, which the caller may change

    def _kept(self, first: int, last: int) -> Array:
        return _BANDS.get((self._key, first), lambda: self._band(first, last), 2 * sizes.BAND_BYTES)

    def _band(self, first: int, last: int) -> Array:
        """Return the rows [first, last), turned to row-major order a few columns at a time."""
        import numpy as np

        from steelyard.core.axes import copy_turned

        columns, height = prod(self.shape[1:]), last - first
        band = np.empty((height, columns), self.flat(0, 0).dtype)
        step = max(sizes.READ_BLOCK // self.shape[0], 1)
        for at in range(0, columns, step):
            pieces = self._pieces(first, last, at, min(at + step, columns))
            copy_turned(band[:, at : at + len(pieces)], pieces.T)
        return band.reshape(height, *reversed(self.shape[1:])).transpose(0, *reversed(range(1, len(self.shape))))

    def _pieces(self, first: int, last: int, begin: int, end: int) -> Array:
        """Read the rows [first, last) of some columns, a row for each: at once where little lies between the pieces."""
        import numpy as np
        from numpy.lib.stride_tricks import as_strided

        length, size = self.shape[0], self._itemsize()
        if (length - (last - first)) * size > sizes.SKIPPED_BYTES:
            return np.stack([self.flat(at * length + first, at * length + last) for at in range(begin, end)])
        read = self.flat(begin * length + first, (end - 1) * length + last)
        return as_strided(read, (end - begin, last - first), (length * size, size))


def from_array(name: str, array: ArrayLike, **facts: Any) -> Weight:
    """Make a weight from a NumPy array, without a copy; `facts` are the other fields of `Weight`.

    Raises `UnknownModelError` for an array of anything but numbers, and `ShapeError` for one with masked numbers.

    >>> import numpy as np
    >>> from_array("bias", np.zeros(3)).dtype
    'float64'
    """
    import numpy as np

    require_unmasked(name, array)
    array = np.asarray(array)
    return Weight(name=name, shape=array.shape, dtype=dtype_word(name, array.dtype), read=array_reader(array), **facts)


def require_unmasked(name: str, array: object) -> None:
    """Raise `ShapeError` for an array of NumPy with masked numbers, which only hold the places of numbers that are missing."""
    masked = sys.modules.get("numpy.ma")  # else there are none
    if masked is not None and isinstance(array, masked.MaskedArray) and masked.is_masked(array):
        shown = printable(name) or "the array"
        raise ShapeError(
            f"{shown} has {int(array.mask.sum()):,} masked of {array.size:,} numbers; fill them first: array.filled(0)"
        )


def array_reader(array: Array) -> Reader:
    """Return a reader of an array: live if its memory is contiguous, row-major and writable, else row by row."""
    import numpy as np

    array = np.asarray(array)  # a single element of an array is not one
    native = array.dtype.newbyteorder("=")
    if not array.flags.c_contiguous or array.dtype != native:
        rows = array.reshape(1) if array.ndim == 0 else array
        read = by_rows(array.shape, lambda first, last: rows[first:last].astype(native, copy=False))
        place = Place("cpu", array.ctypes.data, array.strides)
        # a byte-swapped view of the same memory holds other numbers, so its place is another one
        return Placed(read, place if array.dtype == native else (place, array.dtype.byteorder))
    flat = array.reshape(-1)
    if not array.flags.writeable:
        return Placed(lambda start, stop: flat[start:stop], Place("cpu", array.ctypes.data, array.strides))
    return Live(_OwnMemory(flat))


def dtype_word(name: str, dtype: DType) -> str:
    """Return the name of a NumPy dtype; raises `UnknownModelError` if it is not numeric."""
    if dtype.hasobject or dtype.name not in ITEMSIZES:
        raise UnknownModelError(f"{printable(name) or 'the array'} holds {dtype}, not numbers; make it an array of numbers first")
    return dtype.name


def raw_chunks(weight: Weight, limit: int | None = None) -> Iterator[bytes | memoryview]:
    """Yield the numbers as little-endian bytes in row-major order, at most `limit` bytes at a time.

    Bytes that a file stores in this form are copied without NumPy. Each chunk is valid until the next.
    """
    yield from chunks_of([weight], limit)


def chunks_of(weights: Iterable[Weight], limit: int | None = None) -> Iterator[bytes | memoryview]:
    """Yield the bytes of several weights in order, as `raw_chunks` does; large ones in a file are read ahead."""
    limit = limit or sizes.WRITE_CHUNK_BYTES
    # consecutive large weights share one thread that reads ahead; small ones are read faster without it
    for large, several in groupby(weights, _is_large):
        if large:
            yield from read_ahead((run for weight in several for run in _runs(weight, 0, weight.size, limit)), limit)
        else:
            for _, chunks in each_raw(several, limit):
                yield from chunks


def each_raw(weights: Iterable[Weight], limit: int | None = None) -> Iterator[tuple[Weight, Iterable[bytes | memoryview]]]:
    """Yield each weight in order with its bytes, as of `raw_chunks`; small ones are read together."""
    limit = limit or sizes.WRITE_CHUNK_BYTES
    for some, are_small in batches(weights, limit):
        together = bytes_together(some) if are_small else None
        if together is None:
            yield from ((weight, raw_run(weight, 0, weight.size, limit)) for weight in some)
        else:
            yield from ((weight, (held,)) for weight, held in zip(some, together, strict=True))


def raw_run(weight: Weight, start: int, stop: int, limit: int) -> Iterator[bytes | memoryview]:
    """Yield the bytes of the elements [start, stop) as `raw_chunks` does, in this thread; `limit` is at least the item size."""
    if isinstance(weight.read, Refused):  # also where there are no elements, so that none is written as an empty one
        raise weight.read.error
    return (_stored_chunks if _is_raw(weight) else _converted_chunks)(weight, start, stop, limit)


def _is_raw(weight: Weight) -> bool:
    """Whether the file stores the numbers in exactly the form in which they are written."""
    return isinstance(weight.read, Stored) and weight.read.byteorder == "<"


def _is_large(weight: Weight) -> bool:
    return weight.nbytes >= sizes.READ_AHEAD_BYTES and _is_raw(weight)


def _runs(weight: Weight, start: int, stop: int, limit: int) -> Iterator[tuple[Any, int, int]]:
    """Split a part of a weight into runs: its reader, the first element, and the number of bytes."""
    size = itemsize(weight.dtype)
    step = max(limit // size, 1)
    for at in range(start, stop, step):
        yield weight.read, at, (min(at + step, stop) - at) * size


def _stored_chunks(weight: Weight, start: int, stop: int, limit: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(limit, (stop - start) * itemsize(weight.dtype))))
    for read, at, length in _runs(weight, start, stop, limit):
        read.fill(at, buffer[:length])
        yield buffer[:length]


def _converted_chunks(weight: Weight, start: int, stop: int, limit: int) -> Iterator[memoryview]:
    import numpy as np

    size = itemsize(weight.dtype)
    for read, at, length in _runs(weight, start, stop, limit):
        # a reader may return a strided view, whose bytes are not in row-major order
        run = np.ascontiguousarray(read(at, at + length // size))
        yield (run if sys.byteorder == "little" else run.byteswap()).view(np.uint8).data
