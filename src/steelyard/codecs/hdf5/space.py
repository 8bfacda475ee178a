"""The bytes of an HDF5 file by their addresses, and the fields of its structures.

Addresses count from the superblock, whose signature is at byte 0 or after a user block of 512, 1,024, 2,048 ... bytes.
The superblock fixes the width of an address and of a length, 8 bytes in most files.
"""

from __future__ import annotations

from _thread import allocate_lock
from typing import TYPE_CHECKING, Any

from steelyard.codecs.budget import Budget
from steelyard.codecs.hdf5.checksum import lookup3
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.heaps import GlobalHeap
    from steelyard.storage.source import Source

SIGNATURE = b"\x89HDF\r\n\x1a\n"

CHECK_COST = 6  # bytes of memory that stand for the time to check a byte
_PAGE = 1 << 16  # bytes that are read at a time, since structures are small and in groups
_LARGE = 1 << 12  # bytes of a structure above which it is checked once: many names can link to one object
_PAGES = 32  # pages that are kept


class Space:
    """The address space of one file: `base` is the superblock's offset in the source.

    Whatever is read as structure is charged to a budget that follows the file's size, so that structures that refer to
    the same bytes again and again end.
    """

    __slots__ = ("_lock", "_pages", "_sound", "address_bytes", "base", "budget", "heaps", "length_bytes", "parsed", "source")

    def __init__(self, source: Source, base: int, address_bytes: int = 8, length_bytes: int = 8) -> None:
        self.source = source
        self.base = base
        self.address_bytes = address_bytes
        self.length_bytes = length_bytes
        self.budget = Budget(source)
        self._pages: dict[int, bytes] = {}
        self._sound: set[tuple[int, int]] = set()
        self.heaps: dict[int, GlobalHeap] = {}
        self.parsed: dict[int, dict[bytes, Any]] = {}  # what the contents of messages say, by the types of these
        self._lock = allocate_lock()  # threads read indexes of chunks

    def error(self, what: str, address: int | None = None) -> FormatError:
        """Return an error about the structure at an address."""
        return FormatError(self.source.name, what, None if address is None else self.base + address)

    def read(self, address: int, count: int) -> bytes:
        """Return bytes of a structure. Raises `FormatError` past the end of the file, or past the budget."""
        start = self.base + address
        if start + count > self.source.size:
            raise self.error(f"is damaged: a structure of {count:,} bytes reaches past the end of the file", address)
        self.budget.spend(2 * count)
        first, last = start // _PAGE, (start + count - 1) // _PAGE
        if first != last:
            return self.source.read(start, count)
        at = start - first * _PAGE
        return self._page(first)[at : at + count]

    def _page(self, number: int) -> bytes:
        page = self._pages.get(number)
        if page is None:
            with self._lock:
                if len(self._pages) >= _PAGES:
                    del self._pages[next(iter(self._pages))]
                start = number * _PAGE
                page = self._pages[number] = self.source.read(start, min(_PAGE, self.source.size - start))
        return page

    def fields(self, address: int, count: int, signature: bytes = b"") -> Fields:
        """Return the fields of a structure of `count` bytes, after its signature."""
        fields = Fields(self, self.read(address, count), address)
        if signature and fields.take(len(signature)) != signature:
            raise self.error(f"is damaged: no {signature.decode()} where one is expected", address)
        return fields

    def checked(self, address: int, count: int, signature: bytes) -> Fields:
        """Return the same of a structure whose last four bytes are its checksum, which must hold."""
        fields = self.fields(address, count, signature)
        if (address, count) not in self._sound:
            self.budget.spend(CHECK_COST * count)
            fields.check()
            if count > _LARGE:
                self._sound.add((address, count))
        return fields


class Fields:
    """A cursor over the bytes of one structure: little-endian integers, addresses and lengths."""

    __slots__ = ("address", "at", "data", "space")

    def __init__(self, space: Space, data: bytes, address: int, at: int = 0) -> None:
        self.space = space
        self.data = data
        self.address = address
        self.at = at

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise self.space.error("is damaged: a structure ends in the middle of a field", self.address)
        return self.data[start : self.at]

    def uint(self, count: int = 1) -> int:
        """Return the next unsigned integer of `count` bytes."""
        return int.from_bytes(self.take(count), "little")

    def offset(self) -> int | None:
        """Return the next address; None for the undefined one, all of whose bits are set."""
        content = self.take(self.space.address_bytes)
        return None if content == b"\xff" * len(content) else int.from_bytes(content, "little")

    def existing_offset(self) -> int:
        """Return the next address; raises `FormatError` for the undefined one."""
        address = self.offset()
        if address is None:
            raise self.space.error("is damaged: a structure that it needs has no address", self.address)
        return address

    def length(self) -> int:
        """Return the next length."""
        return self.uint(self.space.length_bytes)

    def text(self, padded_to: int = 1) -> bytes:
        """Return the next text up to its NUL; `padded_to` is the multiple of bytes that it takes with its padding."""
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise self.space.error("is damaged: a name has no end", self.address)
        start = self.at
        self.at += -(-(end + 1 - start) // padded_to) * padded_to
        return self.data[start:end]

    def rest(self) -> int:
        """Return the number of bytes that follow."""
        return len(self.data) - self.at

    def check(self) -> None:
        """Raise `FormatError` unless the last four bytes are the checksum of those before."""
        if lookup3(self.data[:-4]) != int.from_bytes(self.data[-4:], "little"):
            raise self.space.error("is damaged: a structure does not match its checksum", self.address)
