"""Sorted string tables, the format of LevelDB and of TensorFlow's indexes: keys and values in blocks with checksums.

    table    data blocks, index block, footer
    index    a block whose values are the handles of the data blocks
    handle   varint offset | varint length

All fixed numbers are little-endian.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.crc32c import crc32c, unmasked
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.storage.source import Source

MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
FOOTER = 48
KEY_COST = 1000
"""bytes of memory that a key takes: it is the name of a weight"""


def is_table(source: Source) -> bool:
    """Whether the source ends as a sorted string table does."""
    return source.size >= FOOTER and source.read(source.size - 8, 8) == MAGIC


# Footer, the last 48 bytes
# 0      handle of the metaindex block, not used here
#        handle of the index block
#        padding
# 40  8  magic
def entries(source: Source) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values in the order of the keys. Raises `FormatError` for damaged blocks, and for keys out of order."""
    if not is_table(source):
        raise FormatError(source.name, "does not end as an index of TensorFlow does (partial download?)")
    footer = source.read(source.size - FOOTER, FOOTER)
    at = _handle(source, footer, 0)[2]
    start, size, _ = _handle(source, footer, at)
    last, count = b"", 0
    budget = Budget(source)
    for _, handle in _block(source, start, size):
        where, length, _ = _handle(source, handle, 0)
        for key, value in _block(source, where, length):
            if count and key <= last:
                raise FormatError(source.name, "the keys of the index are not in order", where)
            budget.spend(KEY_COST + 2 * len(key) + len(value))
            last, count = key, count + 1
            yield key, value


# Block
# entries
# restarts      4 bytes each: the offsets of entries that share nothing
# last 4 bytes  number of restarts
#
# Entry: varint bytes shared with the previous key | varint further bytes of the key | varint length of the value
#        | further bytes of the key | value
def _block(source: Source, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block."""
    data = _checked(source, start, size)
    restarts = int.from_bytes(data[-4:], "little")
    end = len(data) - 4 - 4 * restarts
    if len(data) < 4 or end < 0:
        raise FormatError(source.name, f"a block of {size:,} bytes claims {restarts:,} restarts", start)
    at, key = 0, b""
    while at < end:
        shared, at = _varint(source, data, at, end)
        fresh, at = _varint(source, data, at, end)
        length, at = _varint(source, data, at, end)
        if shared > len(key) or at + fresh + length > end:
            raise FormatError(source.name, "an entry of the index reaches past its block, or shares more than there is", start)
        key = key[:shared] + data[at : at + fresh]
        at += fresh + length
        yield key, data[at - length : at]


# Trailer of a block, 5 bytes after it
# 0  1  compression: 0 none, 1 Snappy
# 1  4  masked CRC-32C of the stored block and the compression byte
def _checked(source: Source, start: int, size: int) -> bytes:
    """Return the content of the block at `start`, of `size` stored bytes."""
    if size > limits.SNAPPY_BLOCK or start + size + 5 > source.size - FOOTER:
        raise FormatError(source.name, f"a block of {size:,} bytes reaches past the end of the index", start)
    data = source.read(start, size + 5)
    if crc32c(data[: size + 1]) != unmasked(int.from_bytes(data[size + 1 :], "little")):
        raise FormatError(source.name, "a block of the index does not match its checksum: the file is damaged", start)
    if data[size] == 1:
        return _unpacked(source, data[:size], start)
    if data[size]:
        raise FormatError(
            source.name, f"a block of the index is compressed by method {data[size]}, which is not supported", start
        )
    return data[:size]


# Snappy: varint unpacked size, then elements. The low two bits of an element's tag byte are its kind:
# 0  literal     length - 1 in the upper six bits; 60 to 63: in the 1 to 4 bytes that follow
# 1  copy        length - 4 in bits 2 to 4; distance: bits 5 to 7 are its bits 8 to 10, the next byte the low ones
# 2  copy        length - 1 in the upper six bits; distance in the next 2 bytes
# 3  copy        length - 1 in the upper six bits; distance in the next 4 bytes
def _unpacked(source: Source, data: bytes, start: int) -> bytes:
    """Unpack a block that is compressed by Snappy: literals, and copies of earlier output."""
    size, at = _varint(source, data, 0, len(data))
    if size > min(limits.SNAPPY_BLOCK, limits.SNAPPY_RATIO * len(data)):
        raise FormatError(source.name, f"a block of {len(data):,} bytes would unpack to {size:,}; refused", start)
    out = bytearray()
    while at < len(data) and len(out) <= size:
        tag = data[at]
        if tag & 3:
            at = _copied(data, at, out)
        else:
            at, length = _literal(data, at)
            out += data[at : at + length]
            at += length
    if len(out) != size or at != len(data):
        raise FormatError(source.name, "a block of the index does not unpack to its size: the file is damaged", start)
    return bytes(out)


def _literal(data: bytes, at: int) -> tuple[int, int]:
    """Return the offset of the bytes of a literal, and their number."""
    length = data[at] >> 2
    if length < 60:
        return at + 1, length + 1
    wide = length - 59
    return at + 1 + wide, int.from_bytes(data[at + 1 : at + 1 + wide], "little") + 1


def _copied(data: bytes, at: int, out: bytearray) -> int:
    """Append a copy of earlier output, which may overlap itself, and return the place of the next tag."""
    tag, kind = data[at], data[at] & 3
    if kind == 1:
        length, back, wide = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | int.from_bytes(data[at + 1 : at + 2], "little"), 1
    else:
        wide = 2 if kind == 2 else 4
        length, back = (tag >> 2) + 1, int.from_bytes(data[at + 1 : at + 1 + wide], "little")
    if not 0 < back <= len(out):
        return len(data) + 1  # past the end: the caller refuses the block
    piece = out[-back:] if back >= length else out[-back:] * (length // back + 1)
    out += piece[:length]
    return at + 1 + wide


def _handle(source: Source, data: bytes, at: int) -> tuple[int, int, int]:
    """Return the offset and the size of a block, and the place after the handle."""
    start, at = _varint(source, data, at, len(data))
    size, at = _varint(source, data, at, len(data))
    return start, size, at


def _varint(source: Source, data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(at, min(at + 10, end)):
        value |= (data[place] & 0x7F) << shift
        if data[place] < 0x80:
            return value, place + 1
        shift += 7
    raise FormatError(source.name, "a number in the index is cut off, or too long")
