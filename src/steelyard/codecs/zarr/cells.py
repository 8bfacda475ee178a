"""The numbers of an array of zarr: a run reads only the chunks that it touches, and of one that is not packed only the run."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard import sizes
from steelyard.codecs import limits
from steelyard.codecs.zarr.shards import Shards
from steelyard.codecs.zarr.unpacking import unpacked
from steelyard.core.readers import by_boxes
from steelyard.core.recent import RecentBlocks
from steelyard.core.weight import Weight
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from steelyard.codecs.zarr import Store
    from steelyard.codecs.zarr.metadata import Array as Described
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

    Place = tuple[int, ...]

FEW_CHUNKS = 10_000
"""Chunks that an array may have whatever is stored of them: to look for one that is not there takes some 10 us."""
_RECENT = RecentBlocks()


class Cells:
    """The chunks of one array, which are looked up when a number is needed."""

    __slots__ = ("_array", "_fills", "_key", "_path", "_shards", "_source", "_store")

    def __init__(self, store: Store, source: Source, path: str, array: Described, *, fills: bool) -> None:
        self._store = store
        self._source = source
        self._path = path
        self._array = array
        self._fills = (fills or array.fill_is_chosen) and array.fill is not None
        self._shards = Shards(source, array.chunk, array.sharding) if array.sharding else None
        self._key = object()  # kept chunks outlive this reader, and must not keep its files open

    def reader(self) -> Reader:
        """Return the reader of the array: of a single chunk that is as large as the array, that of the chunk."""
        array = self._array
        if array.shape == array.chunk and not self._shards:
            return self._read_only
        return by_boxes(array.shape, self._box)

    def _read_only(self, start: int, stop: int) -> Array:
        place = (0,) * len(self._array.shape)
        found = self._found(place)
        return self._filled((stop - start,)) if found is None else self._chunk(place, found)(start, stop)

    def _box(self, index: Place, first: int, last: int) -> Array:
        """Return the part [first, last) of the axis after those that the index fixes."""
        shape, lengths = self._array.shape, self._array.chunk
        ranges = [*((at, at + 1) for at in index), (first, last), *((0, length) for length in shape[len(index) + 1 :])]
        ranges = ranges[: len(shape)]
        wanted = [range(a // n, -(-b // n)) if b > a else range(0) for (a, b), n in zip(ranges, lengths, strict=True)]
        counts = [stop - start for start, stop in ranges]
        made: Array | None = None
        for place in _places(wanted):
            part, into = self._part(place, self._found(place), ranges)
            made = self._filled(counts) if made is None else made  # not before a chunk is there: a shape is only a claim
            made[into] = part
        return self._filled(counts) if made is None else made

    def _part(self, place: Place, source: Source | None, ranges: Sequence[tuple[int, int]]) -> tuple[Array, tuple[slice, ...]]:
        """Return the part of a chunk that is in a box, and where it goes there."""
        into, taken = [], []
        for at, length, (start, stop) in zip(place, self._array.chunk, ranges, strict=True):
            low, high = max(at * length, start), min((at + 1) * length, stop)
            into.append(slice(low - start, high - start))
            taken.append(slice(low - at * length, high - at * length))
        if source is None:
            return self._filled(()), tuple(into)
        chunk = Weight(name="", shape=self._array.chunk, dtype=self._array.dtype, read=self._chunk(place, source))
        return chunk[tuple(taken)], tuple(into)

    def require_worth(self) -> None:
        """Raise `FormatError` if almost nothing of what the array claims is stored: it would take memory or time for nothing."""
        array = self._array
        lengths = array.sharding.shape if array.sharding else array.chunk
        nbytes, chunks = (
            prod(array.shape) * itemsize(array.dtype),
            prod(-(-length // n) for length, n in zip(array.shape, lengths, strict=True)),
        )
        stored = count = 0
        sizes_of = iter(self._store.sizes(self._path))
        while limits.is_bomb(nbytes, stored) or chunks > max(FEW_CHUNKS, limits.DENSE_RATIO * count):
            size = next(sizes_of, None)
            if size is None:
                what = f"claims {nbytes:,} bytes in {chunks:,} chunks, but {stored:,} bytes in {count:,} are stored"
                raise FormatError(self._source.name, f"{what}; refused, see steelyard.limits")
            stored, count = stored + size, count + 1

    def _filled(self, shape: Sequence[int]) -> Array:
        import numpy as np

        fill = self._array.fill if self._fills else None
        return np.full(shape, 0 if fill is None else fill, numpy_dtype(self._array.dtype))

    def _found(self, place: Place) -> Source | None:
        """Return the stored bytes of a chunk; None where it has the fill value."""
        outer = place if self._shards is None else self._shards.outer(place)
        key = self._key_of(outer)
        value = self._store.get(key)
        found = value if value is None or self._shards is None else self._shards.inner(place, outer, value)
        if found is None and not self._fills:
            raise FormatError(self._source.name, f"its chunk {key} is missing (partial copy?)")
        return found

    def _key_of(self, place: Place) -> str:
        start, separator = self._array.names
        parts = [start] * bool(start) + [str(at) for at in place]
        return self._path + (separator.join(parts) or "0")

    def _chunk(self, place: Place, source: Source) -> Reader:
        """Return the reader of a chunk: in place where it is neither packed nor turned, else kept after it was unpacked."""
        array = self._array
        nbytes = prod(array.chunk) * itemsize(array.dtype)
        is_turned = array.axes != tuple(range(len(array.axes)))
        if not array.unpacks and not is_turned:
            return unpacked(source, (), nbytes).numbers(0, array.dtype, array.byteorder)

        def make() -> Array:
            stored = unpacked(source, array.unpacks, nbytes).numbers(0, array.dtype, array.byteorder)(0, prod(array.chunk))
            return self._turned(stored) if is_turned else stored

        return lambda start, stop: _RECENT.get((self._key, place), make, sizes.BAND_BYTES)[start:stop]

    def _turned(self, stored: Array) -> Array:
        """Return the elements of a chunk in row-major order, of which the axes are stored in another order."""
        import numpy as np

        axes = self._array.axes
        turned = stored.reshape([self._array.chunk[axis] for axis in axes]).transpose(np.argsort(axes))
        return np.ascontiguousarray(turned).reshape(-1)


def _places(ranges: Sequence[range]) -> Iterator[Place]:
    """Yield all places in a grid; `itertools.product` would hold each range in memory."""
    if not ranges:
        yield ()
        return
    for at in ranges[0]:
        for rest in _places(ranges[1:]):
            yield (at, *rest)
