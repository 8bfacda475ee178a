"""CTranslate2: `model.bin`, a list of named variables in one type, or int8 and int16 with their scales.

u32 version (3 to 6), text name of the spec, u32 revision, u32 number of variables; then each of them:
    text name, u8 rank, u32 length of each axis, u8 type, u32 bytes, the numbers (version 3: u8 bytes of a number, u32 count)
u32 number of aliases; then each of them: text alias, text name of the variable with the same numbers
A text is a u16 length and so many bytes, of which the last is 0. All is little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_possible
from steelyard.codecs.original import ORIGINAL, Original
from steelyard.codecs.pages import Pages
from steelyard.core.net_facts import with_derive
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, printable, quoted

if TYPE_CHECKING:
    from steelyard.core.effective import Pieces
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".bin",)
FRAMEWORK = "CTranslate2"

_VERSIONS = range(3, 7)
_TYPED = 4
"""The first version that has the types of its variables."""
_TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
_BY_SIZE = {4: "float32", 2: "int16", 1: "int8"}
_PAGE = 1 << 16
_VARIABLE = 500
"""bytes of memory that a variable takes"""


def sniff(source: Source) -> bool:
    """Recognise a version and the text that follows it."""
    head = source.head(262)
    if len(head) < 8:
        return False
    version, length = struct.unpack_from("<IH", head)
    name = head[6 : 6 + length]
    return version in _VERSIONS and 1 < length <= 256 and len(name) == length and name[-1] == 0 and name[:-1].isalnum()


def read(source: Source, scope: Scope) -> Weights:
    """List the variables in the order of the file, then the aliases, which are tied to them."""
    cursor = _Cursor(source)
    version = cursor.number("I")
    spec, revision = cursor.text(), cursor.number("I")
    listed: dict[str, Weight] = {}
    for _ in range(cursor.number("I")):
        weight = _variable(cursor, version)
        if weight.name in listed:
            raise cursor.error(f"has two variables with the name {quoted(weight.name)}; the file is ambiguous")
        listed[weight.name] = weight
    for alias, name in _aliases(cursor):
        if alias in listed or name not in listed:
            raise cursor.error(f"has an alias {quoted(alias)} of {quoted(name)}, which is there already or is missing")
        owner = listed[name]
        listed[alias] = owner.replace(name=alias, layer=layer_of(alias), tied=owner.tied or name)
    if cursor.offset != source.size:
        raise cursor.error(f"ends {source.size - cursor.offset:,} bytes before the end of the file")
    meta = {"format": FRAMEWORK, "version": version, "spec": spec, "revision": revision, ORIGINAL: Original(source, FRAMEWORK)}
    return with_derive(Weights(infer_roles(listed.values()), meta=meta), _derive)


class _Cursor:
    """Reads the values of a file one after another, in pages."""

    __slots__ = ("_budget", "_pages", "offset", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.offset = 0
        self._pages = Pages(source, _PAGE)
        self._budget = Budget(source)

    def take(self, length: int) -> bytes:
        """Return the next bytes, and advance."""
        taken = self._pages.read(self.offset, length)
        self.offset += length
        return taken

    def number(self, code: str) -> int:
        """Return the next unsigned integer, of the size that a letter of `struct` has."""
        return int.from_bytes(self.take(struct.calcsize(f"<{code}")), "little")

    def text(self) -> str:
        """Return the next text."""
        self._budget.spend(_VARIABLE)
        stored = self.take(self.number("H"))
        if not stored.endswith(b"\0") or b"\0" in stored[:-1]:
            raise self.error("has a text without 0 at its end")
        return stored[:-1].decode("utf-8", "backslashreplace")

    def skip(self, length: int) -> None:
        """Move past numbers without reading them."""
        if length > self.source.size - self.offset:
            raise self.error(f"claims {length:,} bytes of numbers, more than the file has (partial download?)")
        self.offset += length

    def error(self, what: str) -> FormatError:
        """Return an error that names the place of the next value."""
        return FormatError(self.source.name, what, self.offset)


def _variable(cursor: _Cursor, version: int) -> Weight:
    name = cursor.text()
    shape = tuple(cursor.number("I") for _ in range(cursor.number("B")))
    code = cursor.number("B")
    dtype = (_TYPES[code] if code < len(_TYPES) else None) if version >= _TYPED else _BY_SIZE.get(code)
    if dtype is None:
        raise cursor.error(f"{printable(name)} has the unknown type {code}")
    nbytes = cursor.number("I") * (1 if version >= _TYPED else code)
    if not is_possible(shape) or prod(shape) * itemsize(dtype) != nbytes:
        raise cursor.error(f"{printable(name)} is {dtype} {shape}, and has {nbytes:,} bytes")
    reader = cursor.source.numbers(cursor.offset, dtype)
    cursor.skip(nbytes)
    return Weight(name=name, shape=shape, dtype=dtype, read=reader, layer=layer_of(name))


def _aliases(cursor: _Cursor) -> Iterator[tuple[str, str]]:
    """Yield each alias with the name of its variable."""
    for _ in range(cursor.number("I")):
        yield cursor.text(), cursor.text()


def _derive(pieces: Pieces) -> Iterator[Weight]:
    from steelyard.formats.ctranslate2.effective import derive

    return derive(pieces)
