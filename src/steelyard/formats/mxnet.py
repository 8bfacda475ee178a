"""MXNet and Gluon: the arrays of a `.params` file, by their names, as `arg:conv1_weight`.

    file    u64 0x112, u64 0, u64 number of arrays, arrays, u64 number of names, names
    name    u64 bytes, letters
    array   u32 mark, 0xF993FAC9 or 0xF993FACA; i32 kind of storage, 0 for dense; shape; device; type; numbers
            u32 mark, 0xF993FAC8; shape; device; type; numbers
            shape; device; type; numbers: the oldest, without a mark, has axes of 4 bytes
    shape   u32 number of axes, i64 for each; where there are none, nothing follows
    device  i32 kind, i32 number
    type    i32

Source: `NDArray::Save` of MXNet.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.core.roles import infer_roles
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, itemsize
from steelyard.errors import FormatError, cut_off, printable

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".params",)

_MAGIC = struct.pack("<2Q", 0x112, 0)
_FIRST, _SECOND, _THIRD = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_TYPES = (
    *("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool", "int16", "uint16", "uint32", "uint64"),
    "bfloat16",
)
_COST = 1000
_NAME = re.compile(r"((?:arg:|aux:)?)(.*)[._](weight|bias|gamma|beta|running_mean|running_var|moving_mean|moving_var)", re.DOTALL)


class _Cursor:
    """A place in the file, from which numbers are read one after another."""

    __slots__ = ("at", "source")

    def __init__(self, source: Source, at: int) -> None:
        self.source = source
        self.at = at

    def take(self, code: str) -> int:
        """Return the next number, of the type `code` as in `struct`."""
        width = struct.calcsize(f"<{code}")
        value: int = struct.unpack(f"<{code}", self.source.read(self.at, width))[0]
        self.at += width
        return value


def sniff(source: Source) -> bool:
    """Recognise the first 16 bytes of a list of arrays."""
    return source.size >= 32 and source.head(16) == _MAGIC


def read(source: Source, scope: Scope) -> Weights:
    """List the arrays in the order of the file; those without names by their numbers."""
    cursor, budget = _Cursor(source, 16), Budget(source)
    count = cursor.take("Q")
    _check(source, count, "arrays")
    arrays = []
    for _ in range(count):
        budget.spend(_COST, cursor.at)
        arrays.append(_array(cursor))
    names = list(_names(cursor, budget, count))
    if len(set(names)) < len(names):
        raise FormatError(source.name, "has a name twice; the file is ambiguous")
    return Weights(_with_roles([array.replace(name=name) for name, array in zip(names, arrays, strict=True)]))


def _check(source: Source, count: int, what: str) -> None:
    if count > source.size // 8:
        raise FormatError(source.name, f"claims {count:,} {what}, too many for {source.size:,} bytes")


def _names(cursor: _Cursor, budget: Budget, arrays: int) -> Iterator[str]:
    count = cursor.take("Q")
    if count not in (0, arrays):
        raise FormatError(cursor.source.name, f"has {arrays:,} arrays and {count:,} names", cursor.at)
    for _ in range(count):
        length = cursor.take("Q")
        if length > limits.TEXT:
            raise FormatError(cursor.source.name, f"has a name of {length:,} bytes", cursor.at)
        budget.spend(length)
        yield cursor.source.read(cursor.at, length).decode("utf-8", "backslashreplace")
        cursor.at += length
    if not count:
        yield from map(str, range(arrays))


def _array(cursor: _Cursor) -> Weight:
    """Return the next array, without its name; raises `FormatError` where the file ends before it."""
    source, begin = cursor.source, cursor.at
    mark = cursor.take("I")
    kind = cursor.take("i") if mark in (_SECOND, _THIRD) else 0
    if kind > 0:
        raise FormatError(source.name, "has a sparse array, which is not supported; save it as a dense one", begin)
    is_marked = mark in (_FIRST, _SECOND, _THIRD)
    rank = cursor.take("I") if is_marked else mark
    rank = 0 if mark == _THIRD and rank == 0xFFFFFFFF else rank
    if rank > limits.RANK:
        raise FormatError(source.name, f"has an array of {rank:,} axes (damaged?)", begin)
    shape = tuple(cursor.take("q" if is_marked else "I") for _ in range(rank))
    if not limits.is_possible(shape):
        raise FormatError(source.name, f"has an array of the impossible shape {printable(list(shape))}", begin)
    if not rank and mark != _THIRD:
        what = "is an array without a shape, which was never computed"
        return Weight(name="", shape=(), dtype=UNKNOWN, read=Refused(FormatError(source.name, what, begin)))
    cursor.take("q")
    code = cursor.take("i")
    if not 0 <= code < len(_TYPES):
        raise FormatError(source.name, f"has an array of the type {code}, which is not known", begin)
    dtype, start = _TYPES[code], cursor.at
    cursor.at += prod(shape) * itemsize(dtype)
    if cursor.at > source.size:
        raise cut_off(source.name, source.size, cursor.at)
    return Weight(name="", shape=shape, dtype=dtype, read=source.numbers(start, dtype))


def _with_roles(weights: list[Weight]) -> Iterator[Weight]:
    """Yield the weights with what the words of their names prove together; MXNet joins these by an underscore."""
    spelled = []
    for weight in weights:
        match = _NAME.fullmatch(weight.name)
        layer = match[2] if match else ""
        spelled.append(weight.replace(name=f"{layer}.{match[3]}" if match else weight.name, layer=layer))
    members = Counter(weight.layer for weight in spelled)
    for weight, known in zip(weights, infer_roles(spelled), strict=True):
        is_slope = known.role is Role.SCALE and members[known.layer] == 1  # the gamma of a PReLU, which has nothing else
        facts = (Role.OTHER, "") if is_slope else (known.role, known.axes)
        yield weight.replace(role=facts[0], axes=facts[1], layer=known.layer)
