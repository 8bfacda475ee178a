"""MessagePack: maps, lists and plain values. Bytes and extensions stay in the file, as an offset and a length.

A value is a head byte, in most cases a big-endian length or number, and its content.

    00-7F  integer 0 to 127              C4 C5 C6     bytes: length of 1, 2, 4 bytes
    80-8F  map of 0 to 15 pairs          C7 C8 C9     extension: length of 1, 2, 4 bytes, then its type (int8)
    90-9F  list of 0 to 15 items         CA CB        float32, float64
    A0-BF  text of 0 to 31 bytes         CC-CF D0-D3  uint8 to uint64, int8 to int64
    C0     nil                           D4-D8        extension of 1, 2, 4, 8, 16 bytes: its type
    C2 C3  false, true                   D9 DA DB     text: length of 1, 2, 4 bytes
    E0-FF  integer -32 to -1             DC DD        list: length of 2, 4 bytes
                                         DE DF        map: length of 2, 4 bytes

Maps are pairs of a key and a value. Keys are texts, or integers, which are named by their digits; those of msgpack-numpy are
plain bytes, which a reader must ask for.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.errors import FormatError, quoted

if TYPE_CHECKING:
    from typing import TypeAlias

    from steelyard.storage.source import Source

    Decoded: TypeAlias = "bool | int | float | str | Blob | list[Decoded] | dict[str, Decoded] | None"


NODES = b"\x84\xa5nodes"
"""How a model of Thinc begins: a map of four entries, of which the first is its nodes; a tree of Flax does not."""
_NUMBERS = {0xCA: "f", 0xCB: "d", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q"}
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


class Blob:
    """Bytes of a message that stay in the file. `code` is the type of an extension, None for plain bytes."""

    __slots__ = ("code", "length", "offset")

    def __init__(self, code: int | None, offset: int, length: int) -> None:
        self.code = code
        self.offset = offset
        self.length = length


def decode(
    source: Source, begin: int = 0, end: int | None = None, page: int = 1 << 14, *, bytes_as_keys: bool = False
) -> Decoded:
    r"""Decode the value between the offsets `begin` and `end`: dicts with texts as keys, lists, and plain values.

    The source is read in pages of `page` bytes; a small page suits a value that is mostly plain bytes. With `bytes_as_keys`
    a key may be plain bytes, which become a text.
    Raises `FormatError` unless there is exactly one whole value.

    >>> from steelyard.storage.source import from_bytes
    >>> decode(from_bytes(b"\x81\xa1a\x92\x01\xc0"))
    {'a': [1, None]}
    """
    return _Decoder(source, begin, source.size if end is None else end, page, bytes_as_keys).whole()


VALUES = 1000
"""The values that are decoded between two charges to the budget."""
VALUE_COST = 100
"""bytes of memory that a value takes"""


class _Open:
    """A list or a map that is not yet complete: `left` items are missing."""

    __slots__ = ("key", "left", "value")

    def __init__(self, value: dict[str, Decoded] | list[Decoded], left: int) -> None:
        self.value = value
        self.left = left
        self.key: str | None = None


class _Decoder:
    """Decodes one message. A stack holds the open lists and maps, so that depth costs no recursion."""

    __slots__ = ("_base", "_budget", "_bytes_as_keys", "_left", "_page", "_width", "at", "end", "source")

    def __init__(self, source: Source, begin: int, end: int, page: int, bytes_as_keys: bool) -> None:
        self.source = source
        self._bytes_as_keys = bytes_as_keys
        self._width = page
        self.at = self._base = begin
        self.end = end
        self._left = VALUES
        self._budget = Budget(source)
        self._page = b""

    def whole(self) -> Decoded:
        stack: list[_Open] = []
        while True:
            self._charge()
            wants_key = stack and isinstance(stack[-1].value, dict) and stack[-1].key is None
            value, count = (self._key(), 0) if wants_key else self._next()
            if count and isinstance(value, (dict, list)):
                stack.append(_Open(value, count))
                if len(stack) > limits.RECURSION:
                    raise self.error(f"is nested more than {limits.RECURSION} levels deep")
                continue
            while stack and self._filled(stack[-1], value):
                value = stack.pop().value
            if not stack:
                break
        if self.at != self.end:
            raise self.error(f"is followed by {self.end - self.at:,} more bytes")
        return value

    def _filled(self, top: _Open, value: Decoded) -> bool:
        """Add a value to the innermost list or map, and return whether that is complete."""
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is None:
            key = str(value)  # a text, as `_next` has checked
            if key in top.value:
                raise self.error(f"has the duplicate key {quoted(key)}, which is ambiguous")
            top.key = key
            return False
        else:
            top.value[top.key] = value
            top.key = None
        top.left -= 1
        return not top.left

    def _charge(self) -> None:
        self._left -= 1
        if self._left < 0:
            self._left = VALUES
            self._budget.spend(VALUES * VALUE_COST, self.at)

    def _key(self) -> str:
        """Return the next value as the key of a map."""
        head = self._take(1)[0]
        if head < 0x80 or head >= 0xE0:
            return str(head if head < 0x80 else head - 0x100)
        if 0xCC <= head <= 0xD3:
            return str(struct.unpack(">" + _NUMBERS[head], self._take(struct.calcsize(">" + _NUMBERS[head])))[0])
        is_text = 0xA0 <= head <= 0xBF or 0xD9 <= head <= 0xDB
        if not is_text and not (self._bytes_as_keys and head in (0xC4, 0xC5, 0xC6)):
            raise self.error("has a key that is neither a text nor an integer")
        key = self._bytes(head)
        if isinstance(key, str):
            return key
        if key.length > limits.TEXT:
            raise self.error(f"has a key of {key.length:,} bytes")
        return self.source.read(key.offset, key.length).decode("utf-8", "backslashreplace")

    def _next(self) -> tuple[Decoded, int]:
        """Return the next value and 0; for a list or a map an empty one and the number of its items."""
        head = self._take(1)[0]
        if head < 0x80 or head >= 0xE0:
            return head if head < 0x80 else head - 0x100, 0
        if head in _NUMBERS:
            number: int | float = struct.unpack(">" + _NUMBERS[head], self._take(struct.calcsize(">" + _NUMBERS[head])))[0]
            return number, 0
        if head in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[head], 0
        if head < 0x90 or head in (0xDE, 0xDF):
            return {}, self._count(head, 0x80, 2)
        if head < 0xA0 or head in (0xDC, 0xDD):
            return [], self._count(head, 0x90, 1)
        return self._bytes(head), 0

    def _count(self, head: int, fixed: int, width: int) -> int:
        count = int.from_bytes(self._take(_LENGTHS[head]), "big") if head in _LENGTHS else head - fixed
        if count * width > self.end - self.at:
            raise self.error(f"claims {count:,} items in {self.end - self.at:,} bytes (partial download?)")
        return count

    def _bytes(self, head: int) -> str | Blob:
        """Return a text, or the place of bytes or of an extension."""
        if head == 0xC1:
            raise self.error("has the byte C1, which has no meaning")
        if head < 0xC0:
            length = head - 0xA0
        elif 0xD4 <= head <= 0xD8:
            length = 1 << (head - 0xD4)
        else:
            length = int.from_bytes(self._take(_LENGTHS[head]), "big")
        # the type of an extension is between its length and its bytes
        extension = head in (0xC7, 0xC8, 0xC9) or 0xD4 <= head <= 0xD8
        code = int.from_bytes(self._take(1), "big", signed=True) if extension else None
        if length > self.end - self.at:
            raise self.error(f"claims {length:,} bytes where {self.end - self.at:,} are left (partial download?)")
        if head < 0xC0 or 0xD9 <= head <= 0xDB:
            if length > limits.TEXT:
                raise self.error(f"has a text of {length:,} bytes")
            return self._take(length).decode("utf-8", "backslashreplace")
        blob = Blob(code, self.at, length)
        self.at += length
        return blob

    def _take(self, length: int) -> bytes:
        if length > self.end - self.at:
            raise self.error("is cut off (partial download?)")
        start = self.at - self._base
        if start + length > len(self._page):
            self._base, start = self.at, 0
            self._page = self.source.read(self.at, max(length, min(self._width, self.end - self.at)))
        self.at += length
        return self._page[start : start + length]

    def error(self, what: str) -> FormatError:
        return FormatError(self.source.name, f"a message {what}", self.at)


def packed(value: str | bool | int | list[int] | list[str]) -> bytes:
    """Encode a text, an unsigned integer, a boolean, or a list of these.

    >>> packed([1, 300]).hex(), packed("a").hex(), packed(True).hex()
    ('9201cd012c', 'a161', 'c3')
    """
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return _head(len(data), 0xA0, 32, (0xD9, 0xDA, 0xDB)) + data
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _head(value, 0, 128, (0xCC, 0xCD, 0xCE)) if value < 1 << 32 else b"\xcf" + value.to_bytes(8, "big")
    return _head(len(value), 0x90, 16, (0xDC, 0xDC, 0xDD)) + b"".join(map(packed, value))


def map_head(count: int) -> bytes:
    """Encode the head of a map of `count` keys and values."""
    return _head(count, 0x80, 16, (0xDE, 0xDE, 0xDF))


def bytes_head(length: int) -> bytes:
    """Encode the head of plain bytes."""
    return _head(length, 0, 0, (0xC4, 0xC5, 0xC6))


def extension_head(code: int, length: int) -> bytes:
    """Encode the head of an extension."""
    return _head(length, 0, 0, (0xC7, 0xC8, 0xC9)) + bytes([code])


def _head(number: int, fixed: int, below: int, codes: tuple[int, int, int]) -> bytes:
    """Encode a number below `below` in the head itself, else after one of the codes for 1, 2 and 4 bytes."""
    if number < below:
        return bytes([fixed + number])
    width = 1 if number < 1 << 8 and codes[0] != codes[1] else 2 if number < 1 << 16 else 4
    return bytes([codes[width.bit_length() - 1]]) + number.to_bytes(width, "big")
