"""The ASCII notation of an R serialization: one word per line.

Doubles are written in decimal, which R rounds to 16 digits, or in hexadecimal, which is exact.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from steelyard.codecs.r.blocks import BLOCK, cut_short, next_block
from steelyard.codecs.r.strings import TEXT_COST, check_size, check_text, decoded
from steelyard.codecs.r.values import DTYPES, NA_INTEGER
from steelyard.errors import FormatError
from steelyard.storage.source import Stored, from_bytes

if TYPE_CHECKING:
    from steelyard.codecs.budget import Budget
    from steelyard.codecs.r.blocks import Available
    from steelyard.storage.source import Source

MAX_WORD = 64  # characters of a number
MAX_ESCAPE = 4  # characters for one byte of a text: a backslash and three octal digits

_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"v": b"\v", b"b": b"\b", b"r": b"\r", b"f": b"\f", b"a": b"\a"}
_NA_REAL = b"\xa2\x07\x00\x00\x00\x00\xf0\x7f"
_NA: float = array("d", _NA_REAL if sys.byteorder == "little" else _NA_REAL[::-1])[0]
_SPECIAL = {b"NA": _NA, b"NaN": float("nan"), b"Inf": float("inf"), b"-Inf": float("-inf")}


# The ASCII notation, after its mark "A\n" (words end with "\n")
#   integer, logical, flags, length   decimal, or "NA"
#   double                            "%.16g" or "%a" (hexadecimal), or "NA", "NaN", "Inf", "-Inf"
#   complex                           two words: real part, imaginary part
#   raw                               two hexadecimal digits per byte, each byte a word
#   text                              its bytes in one word, as many as the length before it specifies;
#                                     escaped as in C: \n \t \v \b \r \f \a \\ \? \' \" and \ooo (octal)
class Ascii:
    """A cursor in the ASCII notation, which takes the next integer, text or vector of numbers."""

    __slots__ = ("_at", "_available", "_base", "_block", "source")

    def __init__(self, source: Source, available: Available, begin: int) -> None:
        self.source = source
        self._available = available
        self._block = b""
        self._base = begin
        self._at = 0

    @property
    def position(self) -> int:
        """The offset in the decoded stream of the next item."""
        return self._base + self._at

    def integer(self) -> int:
        """Take an integer of 32 bits; NA is the smallest."""
        return self._parsed(_integer, next(self._words(1)))

    def text(self, length: int) -> bytes:
        """Take the `length` bytes of a text; unprintable bytes are escaped in the stream."""
        self._skip_space()
        text = b""
        while len(text) < length:
            wanted = length - len(text)
            self._load(min(MAX_ESCAPE * wanted, BLOCK))
            text += self._unescaped(wanted)
        return text

    def _unescaped(self, wanted: int) -> bytes:
        """Take at most `wanted` bytes of a text from the current block."""
        pieces, count = [], 0
        block, at = self._block, self._at
        while count < wanted and at < len(block):
            escape = _ESCAPE.search(block, at, min(len(block), at + wanted - count + MAX_ESCAPE))
            stop = min(escape.start() if escape else len(block), at + wanted - count)
            pieces.append(block[at:stop])
            count += stop - at
            at = stop
            if escape and count < wanted and escape.start() == stop:
                if escape.end() == len(block) and len(escape[0]) < MAX_ESCAPE and self._has_next_block():
                    break  # the escape may continue in the next block
                pieces.append(_character(escape[1]))
                count += 1
                at = escape.end()
        self._at = at
        return b"".join(pieces)

    def _has_next_block(self) -> bool:
        end = self._base + len(self._block)
        return self._available(end + 1) > end

    def numbers(self, kind: str, count: int, budget: Budget) -> Stored:
        """Parse numbers into memory, in the layout of a binary stream."""
        self.check_room(count, 2)
        parse, code, width = _PARSERS[kind]
        numbers = array(code)
        for words in self._batches(count * width):
            budget.spend(len(words) * numbers.itemsize, self.position)
            try:
                numbers.extend(map(parse, words))
            except (ValueError, OverflowError):
                raise FormatError(self.source.name, f"holds a word that is not a valid {kind}", self.position) from None
        if sys.byteorder == "big":
            numbers.byteswap()
        return from_bytes(numbers.tobytes(), self.source.name, within=self.source).numbers(0, DTYPES[kind])

    def check_room(self, count: int, each: int) -> None:
        """Raise `FormatError` unless `count` items of at least `each` bytes can follow."""
        each = min(each, 2)
        end = self.position + count * each
        if self._available(end) < end - 1:
            raise cut_short(self.source, f"{count:,} items", self.position)

    def strings(self, count: int, native: str, budget: Budget) -> list[str | None]:
        """Take the texts of a character vector."""
        strings: list[str | None] = []
        for _ in range(count):
            flags = self.integer()
            check_text(self.source.name, flags, self.position)
            length = self.integer()
            check_size(self.source.name, length, self.position)
            self.check_room(max(length, 0), 1)
            budget.spend(TEXT_COST + max(length, 0), self.position)
            strings.append(None if length == -1 else decoded(flags, self.text(length), native))
        return strings

    def _parsed(self, parse: Callable[[bytes], int], word: bytes) -> int:
        try:
            return parse(word)
        except ValueError:
            raise FormatError(
                self.source.name, f"holds {word.decode('latin-1')!r} where a number is expected", self.position
            ) from None

    def _words(self, count: int) -> Iterator[bytes]:
        for words in self._batches(count):
            yield from words

    def _batches(self, count: int) -> Iterator[list[bytes]]:
        """Yield `count` words, the words of one block at a time, and move past them."""
        while count:
            stop = max(self._block.rfind(b"\n"), self._block.rfind(b" "))
            words = self._block[self._at : max(stop, self._at)].split(None, count) if stop > self._at else []
            if not words:
                self._at = max(stop, self._at)
                self._more_words()
                continue
            if len(words) > count:
                self._at = stop - len(words.pop())
            else:
                self._at = stop
            count -= len(words)
            yield words

    def _more_words(self) -> None:
        """Load a block with at least one complete word; the last word of the stream needs no line end."""
        rest = len(self._block) - self._at
        if rest > MAX_WORD and self._block[self._at :].strip():
            raise FormatError(self.source.name, "holds a word that is longer than any number", self.position)
        begin = self.position
        self._load(BLOCK)
        if begin + len(self._block) == self.source.size and len(self._block) == rest:
            if not self._block.strip():
                raise cut_short(self.source, "more words", self.position)
            self._block += b"\n"

    def _skip_space(self) -> None:
        while True:
            if self._at == len(self._block):
                self._load(BLOCK)
            if self._block[self._at : self._at + 1] not in b" \t\n\r\v\f":
                return
            self._at += 1

    def _load(self, length: int) -> None:
        """Ensure a block with the next `length` bytes, or with the rest of the stream if that has at least one."""
        if len(self._block) - self._at >= length:
            return
        begin = self.position
        self._block = next_block(self.source, self._available, begin, 1)
        self._base, self._at = begin, 0


def _character(escaped: bytes) -> bytes:
    if escaped[0] in b"01234567":
        return bytes([int(escaped, 8) & 0xFF])
    return _ESCAPES.get(escaped, escaped)


def _integer(word: bytes) -> int:
    if word == b"NA":
        return NA_INTEGER
    value = int(word[:MAX_WORD])
    if not NA_INTEGER <= value < 1 << 31:
        raise ValueError
    return value


def _double(word: bytes) -> float:
    if word in _SPECIAL:
        return _SPECIAL[word]
    return float.fromhex(word.decode("latin-1")) if b"x" in word else float(word)


def _byte(word: bytes) -> int:
    return int(word[:MAX_WORD], 16)


# kind: parser of a word, type code of `array`, words per element
_PARSERS: dict[str, tuple[Callable[[bytes], Any], str, int]] = {
    "logical": (_integer, "i", 1),
    "integer": (_integer, "i", 1),
    "double": (_double, "d", 1),
    "complex": (_double, "d", 2),
    "raw": (_byte, "B", 1),
}
