"""The header of a GGUF file: its metadata and the table of its tensors; the layout is in the package's docstring."""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.pages import Pages
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, printable, quoted
from steelyard.formats.gguf.quantisation import QUANTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard.storage.source import Source

    Scalar = bool | int | float
    Value = Scalar | str | list[Scalar]

ALIGNMENT = 32
PLAIN = {0: "float32", 1: "float16", 24: "int8", 25: "int16", 26: "int32", 27: "int64", 28: "float64", 30: "bfloat16"}
WORDS = {0: "F32", 1: "F16", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16"}
QUANTISED = {2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K"}
QUANTISED |= {14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S"}
QUANTISED |= {22: "IQ2_S", 23: "IQ4_XS", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0"}

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, _ARRAY, _U32 = 8, 9, 4
_TYPES = {0: "uint8", 1: "int8", 2: "uint16", 3: "int16", 4: "uint32", 5: "int32", 6: "float32", 7: "bool", 8: "string"}
_TYPES |= {10: "uint64", 11: "int64", 12: "float64"}
_SHORT = 16
"""Arrays of at most this many numbers are listed in the metadata in full."""
_TEXT_LIMIT, _TENSOR_LIMIT, _PAGE = 1 << 20, 1_000_000, 1 << 17
_TEXT_COST, _BYTE_COST, _PAIR_COST, _TENSOR_COST = 80, 4, 900, 1200
"""bytes of memory that a text takes, each of its bytes as an escape, a metadata pair with a short array, and a listed tensor"""


class HeaderCursor:
    """Reads the values of the header one after another, in pages, in the file's version and byte order.

    `extents` has the place of each metadata pair, by its key.
    """

    __slots__ = ("_pages", "budget", "extents", "offset", "order", "source", "version")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.budget = Budget(source)
        self.offset = 0
        self.extents: dict[str, tuple[int, int]] = {}
        self._pages = Pages(source, _PAGE)
        self.order = "<"
        self.take(4)
        version = self.unsigned("I")
        if version and not version & 0xFFFF:
            self.order = ">"  # in a big-endian file the low half of a small version comes last
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in (1, 2, 3):
            raise self.error(f"is GGUF of version {version:,}; versions 1 to 3 are supported")
        self.version = version

    def counts(self) -> tuple[int, int]:
        """Return the numbers of tensors and of metadata pairs, both checked against the size of the file."""
        tensors, pairs = self.length(), self.length()
        left = self.source.size - self.offset
        if tensors > min(left // 16, _TENSOR_LIMIT) or pairs > left // 9:
            raise self.error(f"claims {tensors:,} tensors and {pairs:,} metadata pairs in {left:,} bytes")
        return tensors, pairs

    def take(self, length: int) -> bytes:
        """Return the next bytes, and advance."""
        taken = self._pages.read(self.offset, length)
        self.offset += length
        return taken

    def skip(self, length: int) -> None:
        """Move past bytes without reading them."""
        if length > self.source.size - self.offset:
            raise self.error(f"claims {length:,} bytes of metadata, more than the file has (partial download?)")
        self.offset += length

    def scalar(self, code: str) -> Scalar:
        """Return the next number of a type, as `struct` spells it."""
        value: Scalar = struct.unpack(self.order + code, self.take(struct.calcsize(self.order + code)))[0]
        return value

    def unsigned(self, code: str) -> int:
        """Return the next whole number."""
        return int(self.scalar(code))

    def length(self) -> int:
        """Return a count, which takes four bytes in version 1."""
        return self.unsigned("I" if self.version == 1 else "Q")

    def text(self, limit: int = _TEXT_LIMIT) -> str:
        """Return a string of at most `limit` bytes; bytes that are not UTF-8 become escapes."""
        length = self.length()
        if length > min(limit, self.source.size - self.offset):
            raise self.error(f"claims a text of {length:,} bytes")
        self.budget.spend(_TEXT_COST + _BYTE_COST * length, self.offset)
        return self.take(length).decode("utf-8", "backslashreplace")

    def error(self, what: str) -> FormatError:
        """Return an error that names the place of the next value."""
        return FormatError(self.source.name, what, self.offset)


def read_metadata(cursor: HeaderCursor, pairs: int) -> dict[str, Value]:
    """Read the metadata pairs by key. Raises `FormatError` for a duplicate key."""
    metadata: dict[str, Value] = {}
    for _ in range(pairs):
        begin, key = cursor.offset, cursor.text()
        if key in metadata:
            raise cursor.error(f"duplicate metadata key {quoted(key)}; the file is ambiguous")
        kind = cursor.unsigned("I")
        cursor.budget.spend(_PAIR_COST, cursor.offset)
        metadata[key] = _value(cursor, kind)
        cursor.extents[key] = (begin, cursor.offset)
        if key == "general.alignment" and kind != _U32:
            raise cursor.error(f"has an alignment of the type {_TYPES.get(kind, 'array')}, not uint32")
    return metadata


def alignment_of(cursor: HeaderCursor, metadata: Mapping[str, Value]) -> int:
    """Return the multiple at which the data begins, as does each tensor in it."""
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise cursor.error(f"has the alignment {printable(alignment)}, which is not a power of two")
    return alignment


def _value(cursor: HeaderCursor, kind: int) -> Value:
    if kind == STRING:
        return cursor.text(limits.JSON)
    if kind == _ARRAY:
        return _array(cursor)
    if kind not in _SCALARS:
        raise cursor.error(f"has a metadata value of the unknown type {kind:,}")
    return cursor.scalar(_SCALARS[kind])


def _array(cursor: HeaderCursor) -> Value:
    """Return a short array of numbers as a list; for any other array its type and length: "string[128256]"."""
    kind, count = cursor.unsigned("I"), cursor.length()
    if kind == STRING:
        _skip_texts(cursor, count)
    elif kind not in _SCALARS:
        raise cursor.error(f"invalid element type {kind:,} of a metadata array")
    elif count <= _SHORT:
        return [cursor.scalar(_SCALARS[kind]) for _ in range(count)]
    else:
        cursor.skip(count * struct.calcsize("<" + _SCALARS[kind]))
    return f"{_TYPES[kind]}[{count}]"


def _skip_texts(cursor: HeaderCursor, count: int) -> None:
    """Skip the texts of an array page by page, without decoding them: a vocabulary has 100,000 and more."""
    width = 4 if cursor.version == 1 else 8
    if count > (cursor.source.size - cursor.offset) // width:
        raise cursor.error(f"claims {count:,} texts in {cursor.source.size - cursor.offset:,} bytes")
    length_at = struct.Struct(cursor.order + ("I" if cursor.version == 1 else "Q")).unpack_from
    at, left, end = cursor.offset, count, cursor.source.size
    while left:
        page = cursor.source.read(at, min(_PAGE * 8, max(end - at, width)))
        place, last = 0, len(page) - width
        for done in range(left):  # noqa: B007 - this loop takes nearly all the time of listing a vocabulary
            if place > last:
                break
            (length,) = length_at(page, place)
            place += width + length
        else:
            done = left
        left, at = left - done, at + place
        if at > end:
            raise cursor.error("has a text that reaches past the end of the file (partial download?)")
    cursor.offset = at


class TensorInfo:
    """An entry of the tensor table: the row-major shape, the number of the type, and the offset in the data."""

    __slots__ = ("kind", "offset", "shape")

    def __init__(self, shape: tuple[int, ...], kind: int, offset: int) -> None:
        self.shape = shape
        self.kind = kind
        self.offset = offset

    @property
    def nbytes(self) -> int:
        """The size in the file; 0 for an unknown type."""
        if self.kind in PLAIN:
            return prod(self.shape) * itemsize(PLAIN[self.kind])
        size, width, _ = QUANTS[QUANTISED[self.kind]] if self.kind in QUANTISED else (1, 0, None)
        return prod(self.shape) // size * width

    @property
    def dtype(self) -> str:
        """The dtype of the decoded numbers: quantised tensors are read as float32."""
        return "float32" if self.kind in QUANTISED else PLAIN.get(self.kind, "object")

    @property
    def encoding(self) -> str:
        """GGML's own name of the type, such as "Q4_K"."""
        return QUANTISED.get(self.kind) or WORDS.get(self.kind) or f"type {self.kind}"


def read_infos(cursor: HeaderCursor, tensors: int) -> dict[str, TensorInfo]:
    """Read the table of tensors, by name. Raises `FormatError` for a duplicate name."""
    infos: dict[str, TensorInfo] = {}
    for _ in range(tensors):
        name, count = cursor.text(), cursor.unsigned("I")
        if count > 4:
            raise cursor.error(f"{printable(name)} has {count:,} axes; GGUF allows four")
        shape = tuple(cursor.length() for _ in range(count))[::-1]
        if name in infos:
            raise cursor.error(f"duplicate tensor name {quoted(name)}; the file is ambiguous")
        cursor.budget.spend(_TENSOR_COST, cursor.offset)
        infos[name] = TensorInfo(shape, cursor.unsigned("I"), cursor.unsigned("Q"))
    return infos
