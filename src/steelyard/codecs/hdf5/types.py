"""The types of HDF5, and the dtypes that list those of numbers.

0   1  class (lower 4 bits) and version (upper 4)
1   3  bits, by class: 1 for big-endian, 8 for signed, number of members of an enum or a compound, length of a tag
4   4  size of an element, in bytes
8      properties, by class:
       integer      first bit 2, precision 2; all bits must be used
       float        first bit 2, precision 2, start and length of the exponent 1 + 1, of the mantissa 1 + 1, bias 4: `_FLOATS`
       enum         base type, names, values; of int8 with the members FALSE and TRUE: bool, as h5py writes it
       compound     members: name, offset, type; two adjacent floats r and i: complex, as h5py and PyTables write it,
                    or real and imag, as MATLAB does
       opaque       a tag; numbers of the type in the dataset's attribute `dtype`, as Keras writes bfloat16
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.dtypes import ITEMSIZES, UNKNOWN, itemsize

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.space import Fields

_INTEGER, _FLOAT, _TIME, STRING, _BITS, _OPAQUE, _COMPOUND, REFERENCE, _ENUM, _VARYING, _ARRAY = range(11)
_COMPLEX = ([b"r", b"i"], [b"real", b"imag"])
_NAMES = {
    _TIME: "times",
    STRING: "text",
    _BITS: "bits",
    REFERENCE: "references",
    _VARYING: "lists of varying length",
    _ARRAY: "arrays",
}

# sign, start and length of the exponent, of the mantissa, in bits, and the bias of the exponent
_FLOATS: dict[tuple[int, ...], str] = {
    (15, 10, 5, 0, 10, 15): "float16",
    (15, 7, 8, 0, 7, 127): "bfloat16",
    (31, 23, 8, 0, 23, 127): "float32",
    (63, 52, 11, 0, 52, 1023): "float64",
}


class NumberType(NamedTuple):
    """A type of numbers: our name, the byte order, and the file's name."""

    dtype: str
    order: str = "<"
    encoding: str = ""


class Datatype(NamedTuple):
    """A type: its class, the size of an element in bytes, what its numbers are, and whether it is a text of varying length."""

    kind: int
    size: int
    numbers: NumberType
    is_varying_text: bool = False

    @property
    def is_opaque(self) -> bool:
        """Whether the elements are bytes that only an attribute explains."""
        return self.kind == _OPAQUE


def datatype(fields: Fields, depth: int = 0) -> Datatype:
    """Return the type that these fields describe, which may have types in it."""
    head, bits, size = fields.uint(), fields.uint(3), fields.uint(4)
    kind, version = head & 15, head >> 4
    if depth > limits.RECURSION:
        raise fields.space.error("is damaged: types in types without end", fields.address)
    if kind == _INTEGER:
        return Datatype(kind, size, _integer(fields, bits, size))
    if kind == _FLOAT:
        return Datatype(kind, size, _float(fields, bits, size))
    if kind == _ENUM:
        return Datatype(kind, size, _enumeration(fields, bits, version, depth))
    if kind == _COMPOUND:
        return Datatype(kind, size, _compound(fields, bits & 0xFFFF, size, version, depth))
    if kind == _VARYING:
        base = datatype(fields, depth + 1)
        is_text = bits & 15 == 1 or (base.kind == STRING and base.size == 1)  # MATLAB has lists of letters
        return Datatype(kind, size, NumberType(UNKNOWN, "<", _NAMES[STRING if is_text else kind]), is_text)
    if kind == _ARRAY:
        rank = fields.uint()
        fields.take(4 * rank if version >= 3 else 3 + 8 * rank)  # without the permutation of version 2
        datatype(fields, depth + 1)
    fields.take({_TIME: 2, _BITS: 4, _OPAQUE: bits & 0xFF}.get(kind, 0))
    name = f"opaque {size}" if kind == _OPAQUE else _NAMES.get(kind, "an unknown type")
    return Datatype(kind, size, NumberType(UNKNOWN, "<", name))


def _order(bits: int) -> str:
    return ">" if bits & 1 else "<"


def _integer(fields: Fields, bits: int, size: int) -> NumberType:
    first, precision = fields.uint(2), fields.uint(2)
    word = f"{'int' if bits & 8 else 'uint'}{size * 8}"
    if first or precision != size * 8 or word not in ITEMSIZES:
        return NumberType(UNKNOWN, "<", f"integers of {precision} bits")
    return NumberType(word, _order(bits), word)


def _float(fields: Fields, bits: int, size: int) -> NumberType:
    first, precision = fields.uint(2), fields.uint(2)
    layout = (bits >> 8 & 0xFF, *(fields.uint() for _ in range(4)), fields.uint(4))
    word = _FLOATS.get(layout, "")
    if first or not word or itemsize(word) != size or precision != size * 8 or bits & 64:  # 64: the order of VAX
        return NumberType(UNKNOWN, "<", f"a float of {precision} bits")
    return NumberType(word, _order(bits), word)


def _enumeration(fields: Fields, bits: int, version: int, depth: int) -> NumberType:
    base = datatype(fields, depth + 1)
    count = bits & 0xFFFF
    names = [fields.text(1 if version >= 3 else 8) for _ in range(count)]  # without padding
    fields.take(count * base.size)
    word, order, _ = base.numbers
    is_bool = word == "int8" and names[:3] == [b"FALSE", b"TRUE"]
    return NumberType("bool" if is_bool else word, order, f"enum of {word}")


def _compound(fields: Fields, count: int, size: int, version: int, depth: int) -> NumberType:
    members = [_member(fields, size, version, depth) for _ in range(count)]
    if [name for name, _, _ in members] in _COMPLEX:
        (_, start, real), (_, next_, imaginary) = members
        word = {"float32": "complex64", "float64": "complex128"}.get(real.numbers.dtype, UNKNOWN)
        dense = start == 0 and next_ * 2 == size == itemsize(word)
        if word != UNKNOWN and dense and real == imaginary:
            return NumberType(word, real.numbers.order, f"compound of {members[0][0].decode()} and {members[1][0].decode()}")
    return NumberType(UNKNOWN, "<", f"a compound of {count} fields")


def _member(fields: Fields, size: int, version: int, depth: int) -> tuple[bytes, int, Datatype]:
    """Return the name, the offset and the type of a member, which before version 2 may have a shape of its own."""
    name = fields.text(1 if version >= 3 else 8)  # without padding
    start = fields.uint(4 if version < 3 else (size.bit_length() + 7) // 8)
    fields.take(28 if version == 1 else 0)
    return name, start, datatype(fields, depth + 1)
