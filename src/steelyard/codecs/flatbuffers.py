"""FlatBuffers: tables that point to each other by offsets. Every offset is checked before it is followed.

Tables are read when they are needed, in small pages, so that even a file of gigabytes costs its tables alone. All
numbers are little-endian, and offsets count from the field that holds them.

    file    u32 offset of the root table | 4 bytes identifier
    table   i32 distance back to its vtable | fields
    vtable  u16 bytes of the vtable | u16 bytes of the table | u16 for each field: its place in the table, 0 if absent
    field   a number or a struct; u32 offset of a table, a vector or a text
    vector  u32 length | elements; those of tables and texts are u32 offsets
    text    a vector of UTF-8 bytes, and a zero byte

A field is known by its place in the vtable: 4 is the first one, then 6, 8 and so on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.storage.source import Source


TABLE_COST = 100
"""bytes of memory that a table takes, or that stand for the time to read 64 bytes of a vector"""
_PAGE, _PAGES = 1 << 13, 2048


class Pages:
    """A source that is read in pages, which are kept. The tables that are listed are charged to the budget of the file."""

    __slots__ = ("_kept", "budget", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.budget = Budget(source)
        self._kept: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes. Raises `FormatError` where the file ends before them."""
        number, start = divmod(offset, _PAGE)
        if offset < 0 or length > _PAGE or start + length > _PAGE:
            return self.source.read(offset, length)
        page = self._kept.get(number)
        if page is None:
            if len(self._kept) >= _PAGES:
                self._kept.clear()
            page = self.source.read(number * _PAGE, max(min(_PAGE, self.source.size - number * _PAGE), 0))
            self._kept[number] = page
        if start + length > len(page):
            return self.source.read(offset, length)  # raises the error with the end of the file
        return page[start : start + length]

    def charge(self, count: int, offset: int) -> None:
        """Count tables, or 64 bytes of a vector as one: many offsets of four bytes can name the same large vector."""
        self.budget.spend(count * TABLE_COST, offset)

    def number(self, offset: int, code: str) -> int:
        """Return the number at an offset, of the type `code` as in `struct`."""
        number: int = struct.unpack("<" + code, self.read(offset, struct.calcsize("<" + code)))[0]
        return number

    def error(self, what: str, offset: int) -> FormatError:
        """Return an error with its offset."""
        return FormatError(self.source.name, what, offset)


class Table:
    """A table at the offset `at`. Its fields are known by their places in the vtable: 4, 6, 8 and so on."""

    __slots__ = ("at", "data", "size", "vtable")

    def __init__(self, data: Pages, at: int) -> None:
        self.data = data
        self.at = at
        begin = at - data.number(at, "i")
        length, self.size = data.number(begin, "H"), data.number(begin + 2, "H")
        if length < 4 or length % 2 or self.size < 4 or at + self.size > data.source.size:
            raise data.error("a table reaches past the end of the file, or has an invalid vtable", at)
        self.vtable = data.read(begin, length)

    def position(self, field: int, width: int) -> int:
        """Return the offset of a field of `width` bytes, or 0 where the table does not have it."""
        shift = int.from_bytes(self.vtable[field : field + 2], "little")
        if shift and not 4 <= shift <= self.size - width:
            raise self.data.error(f"field {field} is outside its table", self.at)
        return self.at + shift if shift else 0

    def number(self, field: int, code: str, default: int = 0) -> int:
        """Return a number, or `default` where it is absent."""
        place = self.position(field, struct.calcsize("<" + code))
        return self.data.number(place, code) if place else default

    def target(self, field: int) -> int:
        """Return the offset that a field points to, or 0 where it is absent."""
        place = self.position(field, 4)
        return place + self.data.number(place, "I") if place else 0

    def table(self, field: int) -> Table | None:
        """Return the table that a field points to; None where it is absent."""
        at = self.target(field)
        return Table(self.data, at) if at else None

    def vector(self, field: int, width: int) -> tuple[int, int]:
        """Return the offset of the elements of a vector, and their number; all of them are in the file."""
        at = self.target(field)
        if not at:
            return 0, 0
        count = self.data.number(at, "I")
        if count * width > self.data.source.size - at - 4:
            raise self.data.error(f"a vector claims {count:,} elements of {width} bytes, past the end of the file", at)
        return at + 4, count

    def numbers(self, field: int, code: str) -> tuple[int, ...]:
        """Return the numbers of a vector."""
        width = struct.calcsize("<" + code)
        begin, count = self.vector(field, width)
        self.data.charge(count * width >> 6, begin)
        return struct.unpack(f"<{count}{code}", self.data.source.read(begin, count * width)) if count else ()

    def text(self, field: int) -> str:
        """Return a text; bytes that are not UTF-8 become escapes."""
        begin, count = self.vector(field, 1)
        if count > limits.TEXT:
            raise self.data.error(f"a text claims {count:,} bytes", begin)
        self.data.charge(count >> 6, begin)
        return self.data.read(begin, count).decode("utf-8", "backslashreplace") if count else ""

    def texts(self, field: int) -> Iterator[str]:
        """Yield the texts of a vector."""
        begin, count = self.vector(field, 4)
        self.data.charge(count, begin)
        for place in range(begin, begin + 4 * count, 4):
            at = place + self.data.number(place, "I")
            length = self.data.number(at, "I")
            if length > limits.TEXT:
                raise self.data.error(f"a text claims {length:,} bytes", at)
            self.data.charge(length >> 6, at)
            yield self.data.read(at + 4, length).decode("utf-8", "backslashreplace")

    def tables(self, field: int) -> Iterator[Table]:
        """Yield the tables of a vector."""
        begin, count = self.vector(field, 4)
        self.data.charge(count, begin)
        for place in range(begin, begin + 4 * count, 4):
            yield Table(self.data, place + self.data.number(place, "I"))


def root(source: Source) -> Table:
    """Return the root table."""
    data = Pages(source)
    return Table(data, data.number(0, "I"))
