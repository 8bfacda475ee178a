"""What the chunks of zarr are packed by, undone with exact sizes. No plug-in is ever loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.compression import Inflated, compression
from steelyard.errors import FormatError
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from steelyard.storage.source import Source

_CHECKSUM = _SIZE = 4


def _stream(kind: str) -> Callable[[Source, int], Source]:
    """Return what unpacks a stream of this kind."""

    def unpack(source: Source, size: int) -> Source:
        if compression(source) != kind:
            raise FormatError(source.name, f"is not packed by {kind}, as its array is")
        inflated = Inflated(source)
        if size > inflated.limit:
            what = f"claims to unpack from {source.size:,} to {size:,} bytes; refused, see steelyard.limits"
            raise FormatError(source.name, what)
        inflated.reach(size + 1)
        return inflated.plain

    return unpack


# CRC-32C of the bytes before it, uint32
def _checked(source: Source, size: int) -> Source:
    from steelyard.codecs.crc32c import crc32c

    if source.size < _CHECKSUM or source.size > size + _CHECKSUM + limits.INFLATED_FLOOR:
        raise FormatError(source.name, "has no room for its checksum")
    content, checksum = source.read(0, source.size - _CHECKSUM), source.read(source.size - _CHECKSUM, _CHECKSUM)
    if crc32c(content) != int.from_bytes(checksum, "little"):
        raise FormatError(source.name, "is damaged: its checksum is another one")
    return from_bytes(content, source.name, within=source)


def _blosc(source: Source, size: int) -> Source:
    from steelyard.codecs.zarr.blosc import unpack

    return unpack(source, size)


# the size of the numbers, uint32, then a block of LZ4
def _lz4(source: Source, size: int) -> Source:
    from steelyard.codecs.zarr.blosc import lz4_block

    if source.size < _SIZE or int.from_bytes(source.head(_SIZE), "little") != size or size > limits.inflatable(source.size):
        raise FormatError(source.name, f"is not a block of LZ4 of {size:,} bytes (partial copy?)")
    return from_bytes(lz4_block(source.read(_SIZE, source.size - _SIZE), size, source), source.name, within=source)


UNPACKED: dict[str, Callable[[Source, int], Source]] = {
    "zstd": _stream("zstd"),
    "gzip": _stream("gzip"),
    "zlib": _stream("zlib"),
    "bz2": _stream("bz2"),
    "lz4": _lz4,
    "blosc": _blosc,
    "crc32c": _checked,
}
"""What unpacks a chunk, by the name of its codec; the size is that of the numbers."""


def unpacked(source: Source, steps: Sequence[str], size: int) -> Source:
    """Return the bytes of a chunk, which must be `size`. Raises `FormatError` for anything else."""
    for step in steps:
        source = UNPACKED[step](source, size)
    if source.size != size:
        verb = "takes" if not steps else "unpacks to"
        raise FormatError(source.name, f"{verb} {source.size:,} bytes where the shape of a chunk takes {size:,} (partial copy?)")
    return source
