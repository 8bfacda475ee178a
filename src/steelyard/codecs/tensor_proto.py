"""TensorFlow's tensors as messages (TensorProto), in frozen graphs and in checkpoints of the first version.

    TensorProto   1 type, 2 {2: {1: length of an axis}}, 4 numbers as bytes; or a list of them by type, whose last is repeated:
                  5 float32, 6 float64, 7 up to 32 bits, 9 complex64, 10 int64, 11 bool, 12 complex128, 13 two-byte floats,
                  16 uint32, 17 uint64

Source: `tensor.proto` and `types.proto` of TensorFlow.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.limits import is_bomb, is_possible
from steelyard.codecs.pieces import PIECE, count_of, joined
from steelyard.codecs.protobuf import VARINT, unpacked
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import UNKNOWN, itemsize, numpy_dtype
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.budget import Budget
    from steelyard.codecs.protobuf import Field
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

    Pieces = list[tuple[int, int]]

TYPES = {1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 8: "complex64", 9: "int64", 10: "bool"}
TYPES |= {11: "int8", 12: "uint8", 13: "int32", 14: "bfloat16", 15: "int16", 16: "uint16", 17: "uint16", 18: "complex128"}
TYPES |= {19: "float16", 22: "uint32", 23: "uint64", 24: "float8_e5m2", 25: "float8_e4m3fn"}
QUANTISED = {11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16"}
_CONTENT, _FIXED, _VARINTS, _HALVES = 4, (5, 6, 9, 12), (7, 10, 11, 13, 16, 17), 13


class TensorProto(NamedTuple):
    """A parsed message: the number of its type, its shape, and where its numbers are by field: as runs of bytes, or alone."""

    field: Field
    kind: int
    shape: tuple[int, ...]
    runs: dict[int, Pieces]
    single: dict[int, list[int]]


def refused(name: str, error: FormatError) -> Weight:
    """Return a weight without facts, whose reader raises an error."""
    return Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error))


def tensor(field: Field, name: str, budget: Budget) -> Weight:
    """Return the weight that a message is; one that is none of numbers is listed and refused."""
    found = parsed(field, budget)
    dtype = TYPES.get(found.kind, "")
    if not dtype or not is_possible(found.shape):
        what = f"{printable(name)} is of the type {found.kind} and the shape {printable(list(found.shape))}"
        return refused(name, FormatError(budget.file, f"{what}, which is not one of numbers", field.begin))
    return Weight(
        name=name,
        shape=found.shape,
        dtype=dtype,
        encoding=QUANTISED.get(found.kind, ""),
        read=reader(found, name, prod(found.shape), dtype, budget),
    )


def parsed(field: Field, budget: Budget) -> TensorProto:
    """Parse a message; its numbers are not read."""
    kind, dims = 0, list[int]()
    runs: dict[int, Pieces] = {}
    single: dict[int, list[int]] = {}
    for inner in field.message():
        if inner.number == 1:
            kind = inner.unsigned()
        elif inner.number == 2:
            axes = [axis for axis in inner.message() if axis.number == 2]
            dims += [next((part.signed() for part in axis.message() if part.number == 1), 0) for axis in axes]
        elif inner.number in (_CONTENT, *_FIXED, *_VARINTS):
            budget.spend(PIECE)
            if inner.wire == VARINT:
                single.setdefault(inner.number, []).append(inner.value)
            else:
                runs.setdefault(inner.number, []).append((inner.offset, inner.length))
    return TensorProto(field, kind, tuple(dims), runs, single)


def reader(found: TensorProto, name: str, count: int, dtype: str, budget: Budget) -> Reader:
    """Return a reader of the `count` numbers of a message, as bytes or as a list; one that raises the reason if it cannot be."""
    field, runs = found.field, found.runs
    source, content = field.source, runs.get(_CONTENT)
    if content and content[-1][1]:
        stored = count_of(content[-1:], dtype)
        if stored == count:
            return joined(source, content[-1:], dtype)
        what = f"{printable(name)} has {count:,} numbers, but {content[-1][1]:,} bytes are stored"
        return Refused(FormatError(source.name, what, field.begin))
    number = next((number for number in (*_FIXED, *_VARINTS) if number in runs or number in found.single), 0)
    stored_bytes = field.length
    if is_bomb(count * itemsize(dtype), stored_bytes):
        what = f"{printable(name)} would take {count * itemsize(dtype):,} bytes, but {stored_bytes:,} are stored; refused"
        return Refused(FormatError(source.name, f"{what}, see steelyard.limits", field.begin))
    if number in _FIXED and count_of(runs.get(number, []), dtype) == count and len(runs[number]) == 1:
        return joined(source, runs[number], dtype)
    budget.spend_read(count * itemsize(dtype))
    return _listed(source, dtype, count, number, (runs.get(number, []), found.single.get(number, [])))


def _listed(source: Source, dtype: str, count: int, number: int, stored: tuple[Pieces, list[int]]) -> Reader:
    """Return a reader of a list of numbers, whose last one is repeated to the end; of none, all are zero."""

    @cache
    def values() -> Array:
        import numpy as np

        made = np.array(stored[1], np.uint64)
        if number in _FIXED:
            return joined(source, stored[0], dtype)(0, max(count_of(stored[0], dtype), 0))
        for offset, length in stored[0]:
            made = np.concatenate([made, unpacked(source.read(offset, length), length)])
        bits = {2: "u2", 1: "u1"}.get(itemsize(dtype)) if number == _HALVES else None
        return made.astype(bits).view(numpy_dtype(dtype)) if bits else made.astype(np.int64).astype(numpy_dtype(dtype))

    def read(start: int, stop: int) -> Array:
        import numpy as np

        try:
            found = values()
        except ValueError as error:  # FormatError too
            raise FormatError(source.name, f"a list of numbers is damaged: {error}") from None
        if len(found) > count:
            raise FormatError(source.name, f"has {len(found):,} numbers for a tensor of {count:,}")
        block = np.zeros(stop - start, numpy_dtype(dtype))
        part = found[start:stop]
        block[: len(part)] = part
        if len(found):
            block[len(part) :] = found[-1]
        return block

    return read
