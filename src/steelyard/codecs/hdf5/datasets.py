"""The datasets of a file as weights: contiguous numbers are read in place, chunks are unpacked one by one.

The storage, the filters and the size of a dataset are checked before anything is unpacked. Datasets with external or
virtual storage, with other filters than `filters` undoes, or with far more elements than are stored, are listed and refused.
"""

from __future__ import annotations

from _thread import allocate_lock
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.hdf5 import layouts, objects
from steelyard.codecs.hdf5.attributes import attribute, texts
from steelyard.codecs.hdf5.chunks import Grid, StoredChunk, chunk_index, grid
from steelyard.codecs.hdf5.dataspace import growing_dataspace
from steelyard.codecs.hdf5.filters import Filter, pipeline, refusal, unpacked
from steelyard.codecs.hdf5.layouts import Layout
from steelyard.codecs.hdf5.types import REFERENCE, Datatype, NumberType, datatype
from steelyard.core.readers import by_boxes, by_rows
from steelyard.core.recent import RecentBlocks
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import ITEMSIZES, UNKNOWN, itemsize, numpy_dtype
from steelyard.errors import FormatError, UnsafeFileError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.codecs.hdf5.objects import ObjectHeader
    from steelyard.codecs.hdf5.space import Space
    from steelyard.core.weight import Array, Reader

_ADDRESS = 8  # bytes of a reference to an object
_REFERENCE_COST = 100  # bytes of memory that stand for a reference
CACHE = 64 << 20  # bytes of unpacked chunks that a file keeps


class Dataset(NamedTuple):
    """What the header of a dataset says."""

    path: str
    shape: tuple[int, ...]
    largest: tuple[int | None, ...]
    kind: Datatype
    layout: Layout
    filters: list[Filter]
    fill: bytes
    is_external: bool

    @property
    def numbers(self) -> NumberType:
        """The type of its numbers."""
        return self.kind.numbers

    @property
    def nbytes(self) -> int:
        """The bytes of all its elements."""
        return prod(self.shape) * self.kind.size


def is_dataset(header: ObjectHeader) -> bool:
    """Whether an object is a dataset."""
    return objects.LAYOUT in header.messages


def dataset_weight(chunks: ChunkCache, header: ObjectHeader, path: str) -> Weight:
    """List a dataset; one that cannot be read is listed with the reason."""
    try:
        dataset = _dataset(header, path)
        error = _refused(chunks.space, dataset)
        if not error and dataset.layout.kind == layouts.CHUNKED:
            chunks.space.budget.spend_read(dataset.nbytes)
        read = Refused(error) if error else _reader(chunks, dataset)
    except FormatError as damage:
        return refused(path, damage)
    return Weight(name=path, shape=dataset.shape, dtype=dataset.numbers.dtype, encoding=dataset.numbers.encoding, read=read)


def references(chunks: ChunkCache, header: ObjectHeader, path: str, most: int) -> list[int]:
    """Return the addresses of the objects that a dataset of references names. Raises `FormatError` for any other dataset."""
    dataset = _dataset(header, path)
    count = prod(dataset.shape)
    if dataset.kind.kind != REFERENCE or dataset.kind.size != _ADDRESS or count > most:
        raise chunks.space.error(f"{printable(path)} is not a list of at most {most:,} references", header.address)
    chunks.space.budget.spend(count * _REFERENCE_COST)
    plain = dataset._replace(kind=dataset.kind._replace(numbers=NumberType("uint64", "<", "references")))
    error = _refused(chunks.space, plain)
    if error:
        raise error
    found: list[int] = _reader(chunks, plain)(0, count).tolist()
    return found


def refused(path: str, error: FormatError) -> Weight:
    """List something without numbers under a path."""
    return Weight(name=path, shape=(), dtype=UNKNOWN, encoding="", read=Refused(error))


def _dataset(header: ObjectHeader, path: str) -> Dataset:
    place = header.fields(objects.LAYOUT)
    if place is None or not (objects.DATASPACE in header.messages and objects.DATATYPE in header.messages):
        raise header.space.error(f"{printable(path)} is damaged: a dataset without a shape or a type", header.address)
    shape, largest = header.parsed(objects.DATASPACE, growing_dataspace) or ((0,), (0,))
    packed = header.fields(objects.FILTERS)
    found: Datatype = header.parsed(objects.DATATYPE, datatype)
    return Dataset(
        path,
        shape,
        largest,
        _named(header, found) if found.is_opaque else found,
        layouts.layout(place),
        pipeline(packed) if packed else [],
        _fill(header),
        objects.EXTERNAL_FILES in header.messages,
    )


def _named(header: ObjectHeader, opaque: Datatype) -> Datatype:
    """Return the type in the attribute `dtype` of an opaque dataset, if it has the same size."""
    held = attribute(header, "dtype")
    word = texts(held) if held else None
    if isinstance(word, str) and word != UNKNOWN and ITEMSIZES.get(word) == opaque.size:
        return opaque._replace(numbers=NumberType(word, "<", opaque.numbers.encoding))
    return opaque


# Fill value, version 1 and 2: version 1, when to allocate 1, when to write 1, is defined 1, bytes 4, value (if defined, in 2)
# Version 3: version 1, flags 1 (32: is defined), bytes 4, value; the old message is: bytes 4, value
def _fill(header: ObjectHeader) -> bytes:
    """Return the value of elements that were never written; empty for zeros."""
    fields, old = header.fields(objects.FILL), header.fields(objects.OLD_FILL)
    if fields is None:
        return old.take(old.uint(4)) if old else b""
    version = fields.uint()
    if version >= 3:  # see above
        return fields.take(fields.uint(4)) if fields.uint() & 32 else b""
    fields.take(2)
    defined = fields.uint()
    return fields.take(fields.uint(4)) if defined or version == 1 else b""


def _refused(space: Space, dataset: Dataset) -> FormatError | None:
    """Return why a dataset must not be read; None where it may."""
    name = printable(dataset.path)
    if dataset.layout.kind == layouts.VIRTUAL:
        return UnsafeFileError(space.source.name, f"{name} is a virtual dataset, which may read from another file")
    if dataset.is_external:
        return UnsafeFileError(space.source.name, f"{name} has its numbers in another file")
    if dataset.numbers.dtype == UNKNOWN:
        return FormatError(space.source.name, f"{name} holds {dataset.numbers.encoding}, not numbers")
    why = refusal(dataset.filters)
    if why:
        return UnsafeFileError(space.source.name, f"{name} {why}")
    why = _mismatch(space, dataset)
    return FormatError(space.source.name, f"{name} {why}") if why else None


def _mismatch(space: Space, dataset: Dataset) -> str:
    """Return what the header claims and the file does not have; blank where all fits."""
    place, size = dataset.layout, dataset.kind.size
    if size != itemsize(dataset.numbers.dtype) or (place.kind == layouts.CHUNKED and place.item_bytes != size):
        return f"is damaged: an element of {dataset.numbers.dtype} has {size} bytes"
    if place.kind == layouts.CHUNKED and len(place.chunk) != len(dataset.shape):
        return f"is damaged: it has {len(dataset.shape)} axes, and its chunks {len(place.chunk)}"
    claimed = max(dataset.nbytes, prod(place.chunk) * size if place.kind == layouts.CHUNKED else 0)
    if limits.is_bomb(claimed, 0):
        kept = _stored_bytes(space, dataset)
        return f"claims {claimed:,} bytes, but {kept:,} are stored" if limits.is_bomb(claimed, kept) else ""
    return ""


def _stored_bytes(space: Space, dataset: Dataset) -> int:
    """Return the bytes that the file has for the numbers of a dataset."""
    place = dataset.layout
    if place.kind == layouts.CHUNKED:
        index = chunk_index(space, place, grid(dataset.shape, dataset.largest, place))
        return sum(stored.size for stored in index.values())
    stored = place.content if place.kind == layouts.COMPACT else b""
    return len(stored) or (dataset.nbytes if place.address is not None else 0)


def _reader(chunks: ChunkCache, dataset: Dataset) -> Reader:
    """Return a reader of contiguous numbers in place, of others row by row."""
    place, kind = dataset.layout, dataset.numbers
    if place.kind == layouts.CONTIGUOUS and place.address is not None and dataset.nbytes:
        return _in_place(chunks.space, dataset, chunks.space.base + place.address)
    if place.kind == layouts.CHUNKED:
        cells = _Cells(chunks, dataset)
        return by_boxes(dataset.shape, lambda index, first, last: _numbers(cells.box(index, first, last), kind))
    if place.kind == layouts.COMPACT and dataset.nbytes > len(place.content):
        raise chunks.space.error(
            f"{printable(dataset.path)} is damaged: it has {len(place.content):,} of {dataset.nbytes:,} bytes"
        )
    return by_rows(dataset.shape, lambda first, last: _numbers(_whole_rows(dataset, first, last), kind))


def _in_place(space: Space, dataset: Dataset, offset: int) -> Reader:
    kind, end = dataset.numbers, offset + dataset.nbytes
    name = printable(dataset.path)
    if end > space.source.size:
        raise FormatError(
            space.source.name, f"{name} ends at byte {end:,}, past the end of the file, {space.source.size:,}", offset
        )
    if 0 <= dataset.layout.size < dataset.nbytes:
        why = f"{name} is damaged: it has {dataset.layout.size:,} of {dataset.nbytes:,} bytes"
        raise FormatError(space.source.name, why, offset)
    if kind.dtype != "bool" and not (kind.order == ">" and kind.dtype.startswith("complex")):
        return space.source.numbers(offset, kind.dtype, kind.order)
    width = prod(dataset.shape[1:]) * dataset.kind.size

    def rows(first: int, last: int) -> Array:
        import numpy as np

        content = space.source.read(offset + first * width, (last - first) * width)
        return _numbers(np.frombuffer(content, f"V{dataset.kind.size}").reshape(last - first, *dataset.shape[1:]), kind)

    return by_rows(dataset.shape, rows)


def _whole_rows(dataset: Dataset, first: int, last: int) -> Array:
    """Return rows of numbers that are in the header, or were never written."""
    import numpy as np

    width = f"V{dataset.kind.size}"
    shape = (last - first, *dataset.shape[1:])
    if dataset.layout.kind != layouts.COMPACT:
        return _filled(shape, dataset)
    held = np.frombuffer(dataset.layout.content, width, prod(dataset.shape)).reshape(dataset.shape or (1,))
    return held[first:last]


def _filled(shape: tuple[int, ...], dataset: Dataset) -> Array:
    """Return elements with the fill value, which is zero unless the file has one of the right size."""
    import numpy as np

    made = np.zeros(shape, f"V{dataset.kind.size}")
    if len(dataset.fill) == dataset.kind.size:
        made[...] = np.frombuffer(dataset.fill, made.dtype)
    return made


def _numbers(raw: Array, kind: NumberType) -> Array:
    """Return the numbers of raw elements; a bool may have any byte."""
    import numpy as np

    raw = np.ascontiguousarray(raw)
    if kind.dtype == "bool":
        return np.not_equal(raw.view(np.uint8), 0)
    numbers = raw.view(numpy_dtype(kind.dtype))
    return numbers.byteswap() if kind.order == ">" else numbers


class ChunkCache:
    """The unpacked chunks of a file that were used last: a run may touch only a part of each."""

    __slots__ = ("lock", "recent", "space")

    def __init__(self, space: Space) -> None:
        self.space = space
        self.lock = allocate_lock()  # threads read parts of one weight
        self.recent = RecentBlocks()


class _Cells:
    """The chunks of one dataset, whose index is read when a number is first needed."""

    __slots__ = ("_by_row", "_cache", "_dataset", "_grid", "_index")

    def __init__(self, cache: ChunkCache, dataset: Dataset) -> None:
        self._cache = cache
        self._dataset = dataset
        self._grid: Grid = grid(dataset.shape, dataset.largest, dataset.layout)
        self._index: dict[tuple[int, ...], StoredChunk] | None = None
        self._by_row: dict[int, list[tuple[int, ...]]] = {}

    def box(self, index: tuple[int, ...], first: int, last: int) -> Array:
        """Return the raw elements of a part of an axis; `index` fixes the axes before it."""
        shape, lengths = self._dataset.shape, self._dataset.layout.chunk
        ranges = [*((at, at + 1) for at in index), (first, last), *((0, length) for length in shape[len(index) + 1 :])]
        made = _filled(tuple(stop - start for start, stop in ranges), self._dataset)
        for place in self._places(ranges):
            into, taken = [], []
            for at, length, (start, stop) in zip(place, lengths, ranges, strict=True):
                low, high = max(at * length, start), min((at + 1) * length, stop)
                into.append(slice(low - start, high - start))
                taken.append(slice(low - at * length, high - at * length))
            made[tuple(into)] = self._chunk(place)[tuple(taken)]
        return made

    def _stored(self) -> dict[tuple[int, ...], StoredChunk]:
        """Return the index, which is read once."""
        with self._cache.lock:
            if self._index is None:
                self._index = chunk_index(self._cache.space, self._dataset.layout, self._grid)
                for place in self._index:
                    self._by_row.setdefault(place[0], []).append(place)
            return self._index

    def _places(self, ranges: list[tuple[int, int]]) -> Iterator[tuple[int, ...]]:
        """Yield the places in the grid of the stored chunks in a box. Most of a large grid may not be stored."""
        from itertools import product

        stored = self._stored()
        wanted = [
            range(start // length, -(-stop // length)) if stop > start else range(0)
            for (start, stop), length in zip(ranges, self._dataset.layout.chunk, strict=True)
        ]
        if prod(map(len, wanted)) <= len(stored):
            return (place for place in product(*wanted) if place in stored)
        held = self._by_row
        rows = wanted[0] if len(wanted[0]) <= len(held) else sorted(row for row in held if row in wanted[0])
        listed = (place for row in rows for place in held.get(row, ()))
        return (place for place in listed if all(at in each for at, each in zip(place, wanted, strict=True)))

    def _chunk(self, place: tuple[int, ...]) -> Array:
        return self._cache.recent.get((self._dataset.path, place), lambda: self._unpacked(place), CACHE)

    def _unpacked(self, place: tuple[int, ...]) -> Array:
        import numpy as np

        dataset, space, stored = self._dataset, self._cache.space, self._stored()[place]
        lengths = dataset.layout.chunk
        is_edge = any((at + 1) * n > length for at, n, length in zip(place, lengths, dataset.shape, strict=True))
        filters = [] if is_edge and dataset.layout.whole_edges else dataset.filters
        try:
            if stored.size > 2 * self._grid.chunk_bytes + 1024:
                raise ValueError(f"a chunk of {self._grid.chunk_bytes:,} bytes takes {stored.size:,}")
            packed = space.source.read(space.base + stored.address, stored.size)
            content = unpacked(packed, filters, stored.mask, self._grid.chunk_bytes)
        except ValueError as error:  # FormatError too
            why = str(error)
            raise FormatError(
                space.source.name, f"{printable(dataset.path)} cannot be read: {why}", space.base + stored.address
            ) from None
        return np.frombuffer(content, f"V{dataset.kind.size}").reshape(lengths)
