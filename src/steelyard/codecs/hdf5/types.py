"""The numeric types of HDF5, and the dtypes that list them.

integer            sign and precision; all bits must be used
float              the sign bit, then start and length of the exponent, then those of the mantissa, in bits: _FLOATS
enum of int8       with the members FALSE and TRUE: bool, as h5py writes it
compound of r, i   two adjacent floats: complex, as h5py and PyTables write it
opaque             numbers of the type in the dataset's attribute `dtype`, as Keras writes bfloat16
"""

from __future__ import annotations

from typing import NamedTuple

from h5py import h5a, h5d, h5s, h5t

from steelyard.codecs import limits
from steelyard.dtypes import ITEMSIZES, itemsize

_FLOATS = {(15, 10, 5, 0, 10): "float16", (31, 23, 8, 0, 23): "float32", (63, 52, 11, 0, 52): "float64"}
_FLOATS[15, 7, 8, 0, 7] = "bfloat16"


class NumberType(NamedTuple):
    """A type of numbers: our name, the byte order, the file's name, and whether it is read without HDF5's conversion."""

    dtype: str
    order: str = "<"
    encoding: str = ""
    as_is: bool = False


def number_type(kind: h5t.TypeID) -> NumberType:
    """Return the type of numbers; "object" for any other type."""
    what, size = kind.get_class(), kind.get_size()
    if what == h5t.INTEGER:
        return _integer(kind, size * 8)
    if what == h5t.FLOAT:
        word = _FLOATS.get(tuple(kind.get_fields()), "") if size in (2, 4, 8) else ""
        return NumberType(word or "object", _order(kind), word or f"a float of {kind.get_precision()} bits", word == "bfloat16")
    if what == h5t.ENUM:
        return _enumeration(kind)
    if what == h5t.COMPOUND:
        return _complex(kind)
    names = {h5t.STRING: "text", h5t.OPAQUE: f"opaque {size}", h5t.VLEN: "lists of varying length", h5t.REFERENCE: "references"}
    return NumberType("object", "<", names.get(what, "arrays" if what == h5t.ARRAY else "an unknown type"))


def _integer(kind: h5t.TypeID, bits: int) -> NumberType:
    word = f"{'int' if kind.get_sign() else 'uint'}{bits}"
    if kind.get_precision() != bits or word not in ITEMSIZES:
        return NumberType("object", "<", f"integers of {kind.get_precision()} bits")
    return NumberType(word, _order(kind), word)


def _order(kind: h5t.TypeID) -> str:
    return ">" if kind.get_order() == h5t.ORDER_BE else "<"


def _enumeration(kind: h5t.TypeID) -> NumberType:
    word, order, _, _ = number_type(kind.get_super())
    names = [kind.get_member_name(at) for at in range(min(kind.get_nmembers(), 3))]
    return NumberType("bool" if word == "int8" and names == [b"FALSE", b"TRUE"] else word, order, f"enum of {word}", as_is=True)


def _complex(kind: h5t.TypeID) -> NumberType:
    fields = kind.get_nmembers()
    if fields == 2 and [kind.get_member_name(at) for at in (0, 1)] == [b"r", b"i"]:
        real, imaginary = (number_type(kind.get_member_type(at)) for at in (0, 1))
        word = {"float32": "complex64", "float64": "complex128"}.get(real.dtype, "object")
        dense = kind.get_member_offset(0) == 0 and kind.get_member_offset(1) * 2 == kind.get_size() == itemsize(word)
        if word != "object" and dense and real == imaginary:
            return NumberType(word, real.order, "compound of r and i")
    return NumberType("object", "<", f"a compound of {fields} fields")


def named_type(dataset: h5d.DatasetID, opaque: NumberType) -> NumberType:
    """Return the type in the attribute `dtype` of an opaque dataset, if it has the same size."""
    word = texts(h5a.open(dataset, b"dtype")) if h5a.exists(dataset, b"dtype") else ""
    if isinstance(word, str) and word != "object" and ITEMSIZES.get(word) == dataset.get_type().get_size():
        return NumberType(word, "<", opaque.encoding, as_is=True)
    return opaque


def texts(attribute: h5a.AttrID) -> str | list[str] | None:
    """Return the text or the list of texts in an attribute; None for any other type."""
    kind, space = attribute.get_type(), attribute.get_space()
    if kind.get_class() != h5t.STRING or attribute.get_storage_size() > limits.JSON or len(attribute.shape) > 1:
        return None
    if space.get_simple_extent_type() == h5s.NULL:
        return None
    import numpy as np

    block = np.empty(attribute.shape, attribute.dtype)
    attribute.read(block)
    items = [_text(item) for item in block.reshape(-1).tolist()]
    return items if attribute.shape else items[0]


def _text(item: object) -> str:
    return item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else str(item)
