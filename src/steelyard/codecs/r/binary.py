"""The binary notation of an R serialization: 4-byte integers and IEEE doubles, big-endian or little-endian.

The numbers of vectors are skipped, not read: of an uncompressed file of any size only the bytes between them are read.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from steelyard.codecs.r.blocks import cut_short, next_block
from steelyard.codecs.r.strings import TEXT_COST, check_size, check_text, decoded
from steelyard.codecs.r.values import DTYPES
from steelyard.dtypes import itemsize

if TYPE_CHECKING:
    from steelyard.codecs.budget import Budget
    from steelyard.codecs.r.blocks import Available
    from steelyard.storage.source import Source, Stored

REPEATED_TEXT_COST = 16  # bytes of memory for another reference to the same text


# The binary notation, after its mark "X\n" (big-endian) or "B\n" (little-endian)
#   integer, logical, flags, length   int32; NA is -2^31
#   double                            8 bytes; NA is the NaN with the low word 1954
#   complex                           two doubles
#   raw                               1 byte
#   text                              its bytes, without NUL
class Binary:
    """A cursor in the binary notation, which takes the next integer, text or vector of numbers."""

    __slots__ = ("_at", "_available", "_base", "_block", "_int32", "_two_int32", "byteorder", "source")

    def __init__(self, source: Source, available: Available, begin: int, byteorder: str) -> None:
        self.source = source
        self.byteorder = byteorder
        self._available = available
        self._int32 = struct.Struct(f"{byteorder}i").unpack_from
        self._two_int32 = struct.Struct(f"{byteorder}2i").unpack_from
        self._block = b""
        self._base = begin
        self._at = 0

    @property
    def position(self) -> int:
        """The offset in the decoded stream of the next item."""
        return self._base + self._at

    def integer(self) -> int:
        """Take an integer of 32 bits."""
        at = self._at
        if at + 4 > len(self._block):
            self._load(4)
            at = 0
        self._at = at + 4
        value: int = self._int32(self._block, at)[0]
        return value

    def text(self, length: int) -> bytes:
        """Take the `length` bytes of a text."""
        if self._at + length > len(self._block):
            self._load(length)
        begin = self._at
        self._at = begin + length
        return self._block[begin : self._at]

    def numbers(self, kind: str, count: int, _: Budget) -> Stored:
        """Skip the numbers of a vector and return their reader. Raises `FormatError` if the stream ends before they do."""
        begin, dtype = self.position, DTYPES[kind]
        end = begin + count * itemsize(dtype)
        if self._available(end) < end:
            raise cut_short(self.source, f"{count:,} {kind}s", begin, end)
        self._at += end - begin
        if self._at > len(self._block):
            self._block, self._base, self._at = b"", end, 0
        return self.source.numbers(begin, dtype, self.byteorder)

    def check_room(self, count: int, each: int) -> None:
        """Raise `FormatError` unless `count` items of at least `each` bytes can follow."""
        end = self.position + count * each
        if self._available(end) < end:
            raise cut_short(self.source, f"{count:,} items", self.position, end)

    def strings(self, count: int, native: str, budget: Budget) -> list[str | None]:
        """Take the texts of a character vector; equal texts share one object."""
        strings: list[str | None] = []
        interned: dict[str, str] = {}
        while len(strings) < count:
            cost = self._strings_of_block(strings, count, interned, native)
            budget.spend(cost, self.position)
            if len(strings) < count:
                self._load(8)
                size = self._int32(self._block, 4)[0]
                self._load(8 + max(size, 0))
        return strings

    # each element of a character vector
    #   int32  flags: type 9 (bits 0-7), encoding (bits 12-27)
    #   int32  size in bytes; -1 for NA
    #   size   bytes
    def _strings_of_block(self, strings: list[str | None], count: int, interned: dict[str, str], native: str) -> int:
        """Append the texts that the current block holds completely, up to `count`; return their cost in memory."""
        block, at, two, cost = self._block, self._at, self._two_int32, 0
        last = len(block) - 8
        for _ in range(count - len(strings)):
            if at > last:
                break
            flags, size = two(block, at)
            if flags & 0x2FF != 9:
                check_text(self.source.name, flags, self._base + at)
            begin = at + 8
            stop = begin + size
            if size < 0:
                check_size(self.source.name, size, self._base + at)
                strings.append(None)
                at = begin
            elif stop > last + 8:
                break
            else:
                data = block[begin:stop]
                text = data.decode("ascii") if data.isascii() else decoded(flags, data, native)
                shared = interned.setdefault(text, text)
                cost += size + TEXT_COST if shared is text else REPEATED_TEXT_COST
                strings.append(shared)
                at = stop
        self._at = at
        return cost

    def _load(self, length: int) -> None:
        """Read a block of at least `length` bytes from the current position."""
        begin = self.position
        self._block = next_block(self.source, self._available, begin, length)
        self._base, self._at = begin, 0
