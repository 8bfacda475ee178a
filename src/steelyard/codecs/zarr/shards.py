"""Shards of zarr: one value that holds many chunks, with an index of them, for each in row-major order offset and length, uint64.

A chunk that is not stored has 2^64 - 1 as both. A checksum, uint32, may follow the index.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.codecs.zarr.metadata import Sharding
    from steelyard.storage.source import Source

    Place = tuple[int, ...]

_ENTRY, _CHECKSUM = 16, 4
_ABSENT = (1 << 64) - 1
_KEPT = 64
"""Indexes of shards that are kept."""


class Shards:
    """The shards of one array, and the indexes that were read last."""

    __slots__ = ("_counts", "_indexes", "_sharding", "_source")

    def __init__(self, source: Source, chunk: Place, sharding: Sharding) -> None:
        self._source = source
        self._counts = tuple(outer // inner for outer, inner in zip(sharding.shape, chunk, strict=True))
        self._sharding = sharding
        self._indexes: dict[Place, bytes] = {}

    def outer(self, place: Place) -> Place:
        """Return the place of the shard that has a chunk."""
        return tuple(at // count for at, count in zip(place, self._counts, strict=True))

    def inner(self, place: Place, outer: Place, shard: Source) -> Source | None:
        """Return the stored bytes of a chunk in its shard; None where it is not stored."""
        number = 0
        for at, count in zip(place, self._counts, strict=True):
            number = number * count + at % count
        index = self._indexes.get(outer)
        if index is None:
            index = self._index(shard)
            if len(self._indexes) >= _KEPT:
                self._indexes.clear()
            self._indexes[outer] = index
        entry = index[number * _ENTRY : (number + 1) * _ENTRY]
        offset, length = int.from_bytes(entry[:8], "little"), int.from_bytes(entry[8:], "little")
        return None if offset == length == _ABSENT else shard.part(offset, length)

    def _index(self, shard: Source) -> bytes:
        from steelyard.codecs.crc32c import crc32c

        length = prod(self._counts) * _ENTRY
        whole = length + _CHECKSUM * self._sharding.checked
        if whole > shard.size:
            raise FormatError(shard.name, f"has {shard.size:,} bytes, too few for the index of its chunks (partial copy?)")
        Budget(shard).spend(whole)
        content = shard.read(0 if self._sharding.at_start else shard.size - whole, whole)
        if self._sharding.checked and crc32c(content[:length]) != int.from_bytes(content[length:], "little"):
            raise FormatError(shard.name, "is damaged: the checksum of the index of its chunks is another one")
        return content[:length]
