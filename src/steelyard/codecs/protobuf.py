"""Protocol buffers: iterate over the fields of a message without reading their contents.

Only tags and lengths are read, even of a message of 2 GB: the content of a field is an offset and a length. Bytes that
do not follow the wire format are refused, as are messages nested too deep.

    message  fields, one after another
    field    tag | content
    tag      varint: number of the field << 3 | wire type
    varint   7 bits a byte, the lowest first; all bytes but the last have their top bit set

    wire type  0 VARINT     varint
               1 FIXED64    8 bytes, little-endian
               2 BYTES      varint length | bytes: a text, an inner message, or a packed run of numbers
               3 GROUP      fields up to an END_GROUP of the same number; out of use
               4 END_GROUP  nothing
               5 FIXED32    4 bytes, little-endian
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.original import copied
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.storage.source import Source

    Take = Callable[[bytes, int, int, int], int]
    """Takes whole fields of a page from a place to an end; `take(page, base, place, end)` returns the place after the last.

    `base` is the offset of the page in the source. It returns `place` where it takes none.
    """

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)

_PAGE = 1 << 14
_LONGEST = 20  # bytes of the longest tag and length
_FIXED = {FIXED32: 4, FIXED64: 8}


class Field:
    """A field of a message: its number, its wire type, and its value or the place of its content.

    `value` is the number itself when `wire` is VARINT; otherwise the content is `length` bytes at `offset`. `begin` is
    the offset of the tag, and `offset + length` the end of the field.
    """

    __slots__ = ("_pages", "begin", "depth", "length", "number", "offset", "value", "wire")

    def __init__(self, pages: _Pages, depth: int, begin: int, tag: int, value: int, offset: int, length: int) -> None:
        self._pages = pages
        self.depth = depth
        self.begin = begin
        self.number = tag >> 3
        self.wire = tag & 7
        self.value = value
        self.offset = offset
        self.length = length

    @property
    def source(self) -> Source:
        """The source that the field is in."""
        return self._pages.source

    def message(self, alike: tuple[int, Take] | None = None) -> Iterator[Field]:
        """Iterate over the fields of the message in this field.

        `alike` is a tag of one byte, and what may take fields with that tag before they are made here.
        """
        self._expect(BYTES, "a message")
        return _fields(self._pages, self.offset, self.offset + self.length, self.depth + 1, alike)

    def data(self, limit: int | None = None) -> bytes:
        """Return the content, at most `limit` bytes, by default as many as a text may have."""
        limit = limits.TEXT if limit is None else limit
        self._expect(BYTES, "bytes")
        if self.length > limit:
            raise self.error(f"holds {self.length:,} bytes where at most {limit:,} are expected")
        return self._pages.read(self.offset, self.length)

    def mentions(self, word: bytes) -> bool:
        """Whether the content has these bytes; true for one that is too long to look."""
        if self.length > _PAGE:
            return True
        return word in self._pages.read(self.offset, self.length)

    def held(self) -> bytes | None:
        """Return the content if the page that was read last has it; None otherwise."""
        place = self.offset - self._pages.base
        page = self._pages.page
        fits = self.wire == BYTES and place >= 0 and place + self.length <= len(page)
        return page[place : place + self.length] if fits else None

    def text(self, limit: int | None = None) -> str:
        """Return the content as text; bytes that are not UTF-8 become escapes."""
        return self.data(limit).decode("utf-8", "backslashreplace")

    def unsigned(self) -> int:
        """Return an unsigned integer."""
        self._expect(VARINT, "an integer")
        return self.value

    def signed(self) -> int:
        """Return a signed integer."""
        self._expect(VARINT, "an integer")
        return self.value - (1 << 64) if self.value >> 63 else self.value

    def real(self) -> float:
        """Return a float32."""
        self._expect(FIXED32, "a number of four bytes")
        number: float = struct.unpack("<f", self._pages.read(self.offset, 4))[0]
        return number

    def integers(self, limit: int = 1 << 16) -> list[int]:
        """Return the signed integers of a repeated field: one, or a packed run of at most `limit` bytes."""
        if self.wire == VARINT:
            return [self.signed()]
        data, place, numbers = self.data(limit), 0, list[int]()
        while place < len(data):
            value, place = _varint(self._pages, data, place, self.offset)
            numbers.append(value - (1 << 64) if value >> 63 else value)
        return numbers

    def error(self, what: str) -> FormatError:
        """Return an error with the place of this field."""
        return FormatError(self._pages.source.name, f"field {self.number} of a message {what}", self.offset)

    def _expect(self, wire: int, what: str) -> None:
        if self.wire != wire:
            raise self.error(f"is of wire type {self.wire}, not {what}")


def message(source: Source, begin: int = 0, end: int | None = None) -> Iterator[Field]:
    r"""Iterate over the fields of the message between the offsets `begin` and `end` of a source, in their order.

    Raises `FormatError` at the first byte that does not follow the wire format.

    >>> from steelyard.storage.source import from_bytes
    >>> [(f.number, f.wire, f.value) for f in message(from_bytes(b"\x08\x96\x01"))]
    [(1, 0, 150)]
    """
    return _fields(_Pages(source), begin, source.size if end is None else end, 0)


def looks_like_message(head: bytes, numbers: dict[int, int]) -> bool:
    """Whether the first field in `head` has one of these numbers, and the wire type of that number."""
    return bool(head) and numbers.get(head[0] >> 3) == head[0] & 7


def unpacked(data: bytes, limit: int) -> Array:
    r"""Decode a packed run of at most `limit` varints into unsigned 64-bit numbers.

    Raises `ValueError` for a run that is damaged or longer.

    >>> unpacked(b"\x01\x96\x01", 2).tolist()
    [1, 150]
    """
    import numpy as np

    run = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(run < 0x80)
    if len(run) and (not len(ends) or ends[-1] != len(run) - 1):
        raise ValueError("the last number is cut off")
    if len(ends) > limit:
        raise ValueError(f"there are {len(ends):,} numbers")
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    widths = ends - starts + 1
    if len(widths) and widths.max() > 10:
        raise ValueError("a number is longer than ten bytes")
    values = np.zeros(len(ends), np.uint64)
    for place in range(int(widths.max()) if len(widths) else 0):
        wide = widths > place
        values[wide] |= (run[starts[wide] + place] & np.uint64(0x7F)).astype(np.uint64) << np.uint64(7 * place)
    return values


def packed(values: Array) -> bytes:
    """Encode unsigned 64-bit numbers as a run of varints: the inverse of `unpacked`.

    >>> import numpy as np
    >>> packed(np.array([1, 150], np.uint64)).hex()
    '019601'
    """
    import numpy as np

    digits = values[:, None] >> np.arange(0, 70, 7, dtype=np.uint64)
    more = np.pad(digits[:, 1:] != 0, ((0, 0), (0, 1)))
    block = (digits & np.uint64(0x7F)).astype(np.uint8) | (more.astype(np.uint8) << 7)
    return bytes(block[np.pad(more[:, :-1], ((0, 0), (1, 0)), constant_values=True)])


class Replacement:
    """Bytes that take the place of the fields between two offsets of a message: `size` bytes, which `chunks` yields."""

    __slots__ = ("begin", "chunks", "end", "size")

    def __init__(self, begin: int, end: int, size: int, chunks: Callable[[], Iterable[bytes | memoryview]]) -> None:
        self.begin = begin
        self.end = end
        self.size = size
        self.chunks = chunks


def replaced(source: Source, replacements: Iterable[Replacement]) -> Iterator[bytes | memoryview]:
    """Yield a message with some of its fields replaced, at any depth; the lengths of the messages around them follow."""
    # the messages around a replacement change their lengths, and with them perhaps the length of that length
    waiting = sorted(replacements, key=lambda replacement: -replacement.begin)
    _, pieces = _pieces(message(source), 0, source.size, waiting)
    for piece in pieces:
        if isinstance(piece, Replacement):
            yield from piece.chunks()
        elif isinstance(piece, bytes):
            yield piece
        else:
            yield from copied(source, *piece)


def _pieces(
    fields: Iterator[Field], begin: int, end: int, waiting: list[Replacement]
) -> tuple[int, list[bytes | Replacement | tuple[int, int]]]:
    """Return the new length of a message, and its pieces: ranges that stay, new bytes, and replacements.

    `waiting` has the replacements from the last to the first; those of this message are removed from it.
    """
    at, size, pieces = begin, end - begin, list[bytes | Replacement | tuple[int, int]]()
    for field in fields:
        after = field.offset + field.length
        # this field is within a replacement, or nothing in it changes
        if field.begin < at or not waiting or waiting[-1].begin >= after:
            continue
        pieces.append((at, field.begin))
        if waiting[-1].begin == field.begin:
            replacement = waiting.pop()
            pieces.append(replacement)
            at, size = replacement.end, size + replacement.size - (replacement.end - replacement.begin)
        else:
            inner, within = _pieces(field.message(), field.offset, after, waiting)
            head = tag(field.number, BYTES) + varint(inner)
            pieces += [head, *within]
            at, size = after, size + len(head) + inner - (after - field.begin)
    pieces.append((at, end))
    return size, pieces


def tag(number: int, wire: int) -> bytes:
    """Encode the tag of a field."""
    return varint(number << 3 | wire)


def varint(value: int) -> bytes:
    r"""Encode an unsigned integer.

    >>> varint(150)
    b'\x96\x01'
    """
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


class _Pages:
    """A source that is read in pages and keeps the last one: tags are close together, contents far apart."""

    __slots__ = ("base", "page", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.base = 0
        self.page = b""

    def at(self, offset: int) -> int:
        """Load the page with the tag and the length at `offset`, at most 20 bytes, and return their place in it."""
        place = offset - self.base
        if place < 0 or (place + _LONGEST > len(self.page) and self.base + len(self.page) < self.source.size):
            self.base = offset
            self.page = self.source.read(offset, max(min(_PAGE, self.source.size - offset), 0))
            return 0
        return place

    def read(self, offset: int, length: int) -> bytes:
        place = offset - self.base
        if place >= 0 and place + length <= len(self.page):
            return self.page[place : place + length]
        return self.source.read(offset, length)


def _fields(pages: _Pages, begin: int, end: int, depth: int, alike: tuple[int, Take] | None = None) -> Iterator[Field]:
    if depth > limits.PROTOBUF_DEPTH:
        raise FormatError(pages.source.name, f"messages are nested more than {limits.PROTOBUF_DEPTH} levels deep", begin)
    offset, groups = begin, 0
    while offset < end:
        page = pages.page  # read again for each field, since the fields inside the last one may have loaded another
        place = offset - pages.base
        if place < 0 or place + _LONGEST > len(page):
            place = pages.at(offset)
            page = pages.page
        if alike is not None and not groups and (after := _taken(alike, pages, place, end)) > place:
            offset = pages.base + after
            continue
        byte = page[place]  # nearly every tag, length and number is a single byte
        tag, after = (byte, place + 1) if byte < 0x80 else _varint(pages, page, place, pages.base)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29 or wire > FIXED32:
            raise FormatError(pages.source.name, f"invalid field number {number:,} or wire type {wire}", offset)
        value = length = 0
        if wire in (VARINT, BYTES):
            short = after < len(page) and page[after] < 0x80
            value, after = (page[after], after + 1) if short else _varint(pages, page, after, pages.base)
            if wire == BYTES:
                value, length = 0, value
        else:
            length = _FIXED.get(wire, 0)
            groups += (wire == GROUP) - (wire == END_GROUP)
            _check_groups(pages, groups, offset)
        begin, content = offset, pages.base + after
        if content + length > end:
            raise FormatError(
                pages.source.name, f"field {number} claims {length:,} bytes, but its message ends after {end - content:,}", offset
            )
        offset = content + length
        if not groups and wire != END_GROUP:
            yield Field(pages, depth, begin, tag, value, content, length)
    _check_closed(pages, groups, begin)


def _taken(alike: tuple[int, Take], pages: _Pages, place: int, end: int) -> int:
    """Return the place after the fields that are taken from the last page at `place`; the message ends at the offset `end`."""
    tag, take = alike
    page = pages.page
    return take(page, pages.base, place, min(end - pages.base, len(page))) if page[place] == tag else place


def _check_closed(pages: _Pages, groups: int, begin: int) -> None:
    if groups:
        raise FormatError(pages.source.name, "a group of fields is not closed", begin)


def _check_groups(pages: _Pages, groups: int, offset: int) -> None:
    """Check that groups, which are skipped, are closed and not nested too deep."""
    if not 0 <= groups <= limits.PROTOBUF_DEPTH:
        raise FormatError(pages.source.name, "a group of fields is closed but not opened, or nested too deep", offset)


def _varint(pages: _Pages, data: bytes, place: int, base: int) -> tuple[int, int]:
    """Return the number at `place` in `data`, of at most 64 bits, and the place after it. `base` is the offset of `data`."""
    if place < len(data) and data[place] < 0x80:
        return data[place], place + 1
    value = shift = 0
    for at in range(place, min(place + 10, len(data))):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, at + 1
        shift += 7
    raise FormatError(pages.source.name, "a number is cut off, or longer than 64 bits", base + place)
