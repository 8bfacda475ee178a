"""Sorted string tables, the format of LevelDB and of TensorFlow's indexes: keys and values in blocks with checksums.

    table    data blocks, index block, footer
    index    a block whose values are the handles of the data blocks
    handle   varint offset | varint length

All fixed numbers are little-endian.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, overload

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.crc32c import crc32c, unmasked
from steelyard.errors import FormatError
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from steelyard.storage.source import Source

MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
FOOTER = 48
KEY_COST = 1000
"""bytes of memory that a key takes: it is the name of a weight"""
_PAGE = 1 << 14


def is_table(source: Source) -> bool:
    """Whether the source ends as a sorted string table does."""
    return source.size >= FOOTER and source.read(source.size - 8, 8) == MAGIC


# Footer, the last 48 bytes
# 0      handle of the metaindex block, not used here
#        handle of the index block
#        padding
# 40  8  magic
def _handles(source: Source) -> Iterator[tuple[bytes, int, int]]:
    """Yield for each data block a key that is not before its last, and the offset and the size of the block."""
    if not is_table(source):
        raise FormatError(source.name, "does not end as an index of TensorFlow does (partial download?)")
    footer = source.read(source.size - FOOTER, FOOTER)
    at = _handle(source, footer, 0)[2]
    start, size, _ = _handle(source, footer, at)
    for key, handle in _block(source, start, size):
        yield key, *_handle(source, handle, 0)[:2]


def entries(source: Source) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values in the order of the keys. Raises `FormatError` for damaged blocks, and for keys out of order."""
    last, count = b"", 0
    budget = Budget(source)
    for _, where, length in _handles(source):
        for key, value in _block(source, where, length):
            if count and key <= last:
                raise FormatError(source.name, "the keys of the index are not in order", where)
            budget.spend(KEY_COST + 2 * len(key) + len(value))
            last, count = key, count + 1
            yield key, value


class Table:
    """A table whose values stay in the file. A block is compared with its checksum when one of its values is asked for."""

    __slots__ = ("_blocks", "_budget", "_opened", "source")

    def __init__(self, source: Source) -> None:
        """Read the index block. Raises `FormatError` if it is damaged."""
        self.source = source
        self._budget = Budget(source)
        self._blocks = list[tuple[bytes, int, int]]()
        for block in _handles(source):
            self._budget.spend(KEY_COST + 2 * len(block[0]))
            self._blocks.append(block)
        self._opened = cache(self._block)

    def get(self, key: bytes) -> Source | None:
        """Return the value of a key; None if it is not there. Raises `FormatError` if its block is damaged."""
        place = bisect_left(self._blocks, key, key=lambda block: block[0])
        if place == len(self._blocks):
            return None
        content, places = self._opened(*self._blocks[place][1:])
        return content.part(*places[key]) if key in places else None

    def _block(self, start: int, size: int) -> tuple[Source, dict[bytes, tuple[int, int]]]:
        content = _content(self.source, start, size)
        places = dict[bytes, tuple[int, int]]()
        for key, at, length in _places(self.source, _Window(content), content.size, start):
            self._budget.spend(KEY_COST + 2 * len(key))
            places[key] = at, length
        return content, places


class _Window:
    """The bytes of a source by their places: the last page is kept, since the lengths and keys of small values are close."""

    __slots__ = ("_base", "_page", "_source")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._base = 0
        self._page = b""

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> bytes: ...
    def __getitem__(self, place: int | slice) -> int | bytes:
        start, stop = (place.start, place.stop) if isinstance(place, slice) else (place, place + 1)
        if not self._base <= start <= stop <= self._base + len(self._page):
            length = max(stop - start, min(_PAGE, self._source.size - start))
            self._base, self._page = start, self._source.read(start, length)
        found = self._page[start - self._base : stop - self._base]
        return found if isinstance(place, slice) else found[0]


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
    for key, at, length in _places(source, data, len(data), start):
        yield key, data[at : at + length]


def _places(source: Source, data: bytes | _Window, size: int, start: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the keys of a block, and where in it their values are: the offset and the length."""
    restarts = int.from_bytes(data[size - 4 : size], "little") if size >= 4 else 0
    end = size - 4 - 4 * restarts
    if size < 4 or end < 0:
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
        yield key, at - length, length


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


def _content(source: Source, start: int, size: int) -> Source:
    """Return the content of the block at `start`, where it is in the file if it is not compressed."""
    if start + size + 5 > source.size - FOOTER:
        raise FormatError(source.name, f"a block of {size:,} bytes reaches past the end of the table", start)
    trailer = source.read(start + size, 5)
    if trailer[0]:
        return from_bytes(_checked(source, start, size), source.name, within=source)
    if crc_of(source.part(start, size + 1)) != unmasked(int.from_bytes(trailer[1:], "little")):
        raise FormatError(source.name, "a block of the table does not match its checksum: the file is damaged", start)
    return source.part(start, size)


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


def _varint(source: Source, data: bytes | _Window, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(at, min(at + 10, end)):
        value |= (data[place] & 0x7F) << shift
        if data[place] < 0x80:
            return value, place + 1
        shift += 7
    raise FormatError(source.name, "a number in the index is cut off, or too long")


def crc_of(content: Source, limit: int = 1 << 23) -> int:
    """Return the checksum of a source, which is read in blocks."""
    buffer = memoryview(bytearray(min(limit, content.size)))
    crc = 0
    for start in range(0, content.size, limit):
        block = buffer[: min(limit, content.size - start)]
        content.fill(start, block)
        crc = crc32c(block, crc)
    return crc
