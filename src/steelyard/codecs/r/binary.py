"""An R serialization in binary: integers of 4 bytes, and numbers as they are in memory, big-endian or little-endian.

Numbers are stepped over, not read: of an uncompressed file of any size only what lies between them is touched.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.codecs.r.strings import check_text, decoded
from steelyard.codecs.r.values import DTYPES
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.codecs.r.budget import Budget
    from steelyard.storage.source import Source, Stored

    Reach = Callable[[int], int]
    """How many bytes there are, when so many are wanted: a compressed stream is inflated as far as that."""

BLOCK = 1 << 16


class Binary:
    """A place in a stream, from where integers, texts and numbers are taken one after another."""

    __slots__ = ("_at", "_base", "_block", "_four", "_reach", "_two", "byteorder", "source")

    def __init__(self, source: Source, reach: Reach, begin: int, byteorder: str) -> None:
        self.source = source
        self.byteorder = byteorder
        self._reach = reach
        self._four = struct.Struct(f"{byteorder}i").unpack_from
        self._two = struct.Struct(f"{byteorder}2i").unpack_from
        self._block = b""
        self._base = begin
        self._at = 0

    @property
    def position(self) -> int:
        """The offset in the decoded stream of what is taken next."""
        return self._base + self._at

    def integer(self) -> int:
        """Take an integer of 32 bits."""
        at = self._at
        if at + 4 > len(self._block):
            self._load(4)
            at = 0
        self._at = at + 4
        found: int = self._four(self._block, at)[0]
        return found

    def text(self, length: int) -> bytes:
        """Take the bytes of a text."""
        if self._at + length > len(self._block):
            self._load(length)
        begin = self._at
        self._at = begin + length
        return self._block[begin : self._at]

    def numbers(self, kind: str, count: int, _: Budget) -> Stored:
        """Step over numbers that are there, and return their reader."""
        begin, dtype = self.position, DTYPES[kind]
        end = begin + count * itemsize(dtype)
        if self._reach(end) < end:
            self._short(end, f"{count:,} {kind}s")
        self._at += end - begin
        if self._at > len(self._block):
            self._block, self._base, self._at = b"", end, 0
        return self.source.numbers(begin, dtype, self.byteorder)

    def room(self, count: int, each: int) -> None:
        """Raise `FormatError` unless `count` things of at least `each` bytes can follow."""
        end = self.position + count * each
        if self._reach(end) < end:
            self._short(end, f"{count:,} items")

    def strings(self, count: int, native: str, budget: Budget) -> list[str | None]:
        """Take the texts of a character vector; equal ones are one object."""
        found: list[str | None] = []
        known: dict[str, str] = {}
        while len(found) < count:
            cost = self._strings_of_block(found, count, known, native)
            budget.charge(cost, self.position)
            if len(found) < count:
                self._load(8)
                size = self._four(self._block, 4)[0]
                self._load(8 + max(size, 0))
        return found

    def _strings_of_block(self, found: list[str | None], count: int, known: dict[str, str], native: str) -> int:
        """Take the texts that lie whole in the block at hand; return what they cost in memory."""
        block, at, two, cost = self._block, self._at, self._two, 0
        last = len(block) - 8
        for _ in range(count - len(found)):
            if at > last:
                break
            flags, size = two(block, at)
            if flags & 0x2FF != 9:
                check_text(self.source.name, flags, self._base + at)
            begin = at + 8
            stop = begin + size
            if size < 0:
                self._check_missing(size, at)
                found.append(None)
                at = begin
            elif stop > last + 8:
                break
            else:
                data = block[begin:stop]
                text = data.decode("ascii") if data.isascii() else decoded(flags, data, native)
                shared = known.setdefault(text, text)
                cost += size + 150 if shared is text else 16
                found.append(shared)
                at = stop
        self._at = at
        return cost

    def _check_missing(self, size: int, at: int) -> None:
        if size != -1:
            raise FormatError(self.source.name, f"claims a text of {size:,} bytes", self._base + at)

    def _load(self, length: int) -> None:
        """Make the block begin at this place and hold `length` bytes or more."""
        begin = self.position
        there = self._reach(begin + max(length, BLOCK))
        if there < begin + length:
            self._short(begin + length, f"{length:,} bytes")
        self._block = self.source.read(begin, min(max(length, BLOCK), there - begin))
        self._base, self._at = begin, 0

    def _short(self, end: int, what: str) -> None:
        size, begin = self.source.size, self.position
        what = f"claims {what}, which end at byte {end:,}, but the stream ends at {size:,} (partial download?)"
        raise FormatError(self.source.name, what, begin)
