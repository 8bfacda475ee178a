"""FlatBuffers: tables that point to each other by offsets; every offset is checked before it is followed.

Only what is asked for is read, in small pages, so that a file of some gigabytes costs its tables alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.storage.source import Source


_PAGE, _PAGES = 1 << 13, 2048


class Bytes:
    """A source that is read in pages, of which the latest are kept; it counts the tables that are listed."""

    __slots__ = ("_pages", "left", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.left = limits.OBJECTS
        self._pages: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes; raises `FormatError` where the file ends before them."""
        number, start = divmod(offset, _PAGE)
        if offset < 0 or length > _PAGE or start + length > _PAGE:
            return self.source.read(offset, length)
        page = self._pages.get(number)
        if page is None:
            if len(self._pages) >= _PAGES:
                self._pages.clear()
            page = self.source.read(number * _PAGE, max(min(_PAGE, self.source.size - number * _PAGE), 0))
            self._pages[number] = page
        if start + length > len(page):
            return self.source.read(offset, length)  # which says where the file ends
        return page[start : start + length]

    def charge(self, count: int, offset: int) -> None:
        """Count what was listed, and refuse what is too much."""
        self.left -= count
        if self.left < 0:
            raise self.error(f"lists more than {limits.OBJECTS:,} things, or some of them again and again", offset)

    def number(self, offset: int, code: str) -> int:
        """Return the number of the type `code`, as in `struct`, at an offset."""
        found: int = struct.unpack("<" + code, self.read(offset, struct.calcsize("<" + code)))[0]
        return found

    def error(self, what: str, offset: int) -> FormatError:
        """Return an error that says where."""
        return FormatError(self.source.name, what, offset)


class Table:
    """A table at `at`: its fields by their slots in the table of offsets, 4 for the first, then 6, 8 and so on."""

    __slots__ = ("at", "data", "fields", "size")

    def __init__(self, data: Bytes, at: int) -> None:
        self.data = data
        self.at = at
        places = at - data.number(at, "i")
        length, self.size = (data.number(places + shift, "H") for shift in (0, 2))
        if length < 4 or length % 2 or self.size < 4 or at + self.size > data.source.size:
            raise data.error("a table has fields that reach past its end, or past that of the file", at)
        self.fields = data.read(places, length)

    def place(self, slot: int, width: int) -> int:
        """Return where a field of `width` bytes lies, or 0 where the table has none."""
        shift = int.from_bytes(self.fields[slot : slot + 2], "little")
        if shift and not 4 <= shift <= self.size - width:
            raise self.data.error(f"field {slot} lies outside of its table", self.at)
        return self.at + shift if shift else 0

    def number(self, slot: int, code: str, default: int = 0) -> int:
        """Return a number, or `default` where it is left out."""
        place = self.place(slot, struct.calcsize("<" + code))
        return self.data.number(place, code) if place else default

    def target(self, slot: int) -> int:
        """Return where a field points to, or 0."""
        place = self.place(slot, 4)
        return place + self.data.number(place, "I") if place else 0

    def table(self, slot: int) -> Table | None:
        """Return the table that a field points to."""
        at = self.target(slot)
        return Table(self.data, at) if at else None

    def vector(self, slot: int, width: int) -> tuple[int, int]:
        """Return where the elements of a vector begin, and how many there are; all of them lie in the file."""
        at = self.target(slot)
        if not at:
            return 0, 0
        count = self.data.number(at, "I")
        if count * width > self.data.source.size - at - 4:
            raise self.data.error(f"a vector claims {count:,} elements of {width} bytes, past the end of the file", at)
        return at + 4, count

    def numbers(self, slot: int, code: str) -> tuple[int, ...]:
        """Return the numbers of a vector."""
        width = struct.calcsize("<" + code)
        begin, count = self.vector(slot, width)
        self.data.charge(count * width >> 6, begin)
        return struct.unpack(f"<{count}{code}", self.data.source.read(begin, count * width)) if count else ()

    def text(self, slot: int) -> str:
        """Return a text; what is no UTF-8 is kept as escapes."""
        begin, count = self.vector(slot, 1)
        if count > limits.TEXT:
            raise self.data.error(f"a text claims {count:,} bytes", begin)
        self.data.charge(count >> 6, begin)
        return self.data.read(begin, count).decode("utf-8", "backslashreplace") if count else ""

    def tables(self, slot: int) -> Iterator[Table]:
        """Yield the tables of a vector."""
        begin, count = self.vector(slot, 4)
        self.data.charge(count, begin)
        for place in range(begin, begin + 4 * count, 4):
            yield Table(self.data, place + self.data.number(place, "I"))


def root(source: Source) -> Table:
    """Return the table that the whole file is about."""
    data = Bytes(source)
    return Table(data, data.number(0, "I"))
