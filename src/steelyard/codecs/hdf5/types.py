"""The types of HDF5: which of them hold numbers, and how these are called here."""

from __future__ import annotations

from typing import Any, NamedTuple

from h5py import h5a, h5s, h5t

from steelyard.codecs import limits
from steelyard.dtypes import ITEMSIZES, itemsize

_FLOATS = {(15, 10, 5, 0, 10): "float16", (31, 23, 8, 0, 23): "float32", (63, 52, 11, 0, 52): "float64"}
_FLOATS[15, 7, 8, 0, 7] = "bfloat16"


class Number(NamedTuple):
    """A type of numbers: its word, its byte order, the file's own word, and whether HDF5 must not convert it."""

    dtype: str
    order: str = "<"
    encoding: str = ""
    as_is: bool = False


def number(kind: Any) -> Number:
    """Return what a type holds; "object" for what is no number."""
    what, size = kind.get_class(), kind.get_size()
    if what == h5t.INTEGER:
        return _integer(kind, size * 8)
    if what == h5t.FLOAT:
        word = _FLOATS.get(tuple(kind.get_fields()), "") if size in (2, 4, 8) else ""
        return Number(word or "object", _order(kind), word or f"a float of {kind.get_precision()} bits", word == "bfloat16")
    if what == h5t.ENUM:
        return _enumeration(kind)
    if what == h5t.COMPOUND:
        return _complex(kind)
    names = {h5t.STRING: "text", h5t.OPAQUE: f"opaque {size}", h5t.VLEN: "runs of several lengths", h5t.REFERENCE: "references"}
    return Number("object", "<", names.get(what, "arrays" if what == h5t.ARRAY else "an unknown type"))


def _integer(kind: Any, bits: int) -> Number:
    word = f"{'int' if kind.get_sign() else 'uint'}{bits}"
    if kind.get_precision() != bits or word not in ITEMSIZES:
        return Number("object", "<", f"integers of {kind.get_precision()} bits")
    return Number(word, _order(kind), word)


def _order(kind: Any) -> str:
    return ">" if kind.get_order() == h5t.ORDER_BE else "<"


def _enumeration(kind: Any) -> Number:
    word, order, _, _ = number(kind.get_super())
    names = [kind.get_member_name(at) for at in range(min(kind.get_nmembers(), 3))]
    return Number("bool" if word == "int8" and names == [b"FALSE", b"TRUE"] else word, order, f"enum of {word}", as_is=True)


def _complex(kind: Any) -> Number:
    """Two floats called r and i, one behind the other, as h5py and PyTables keep complex numbers."""
    fields = kind.get_nmembers()
    if fields == 2 and [kind.get_member_name(at) for at in (0, 1)] == [b"r", b"i"]:
        real, imaginary = (number(kind.get_member_type(at)) for at in (0, 1))
        word = {"float32": "complex64", "float64": "complex128"}.get(real.dtype, "object")
        dense = kind.get_member_offset(0) == 0 and kind.get_member_offset(1) * 2 == kind.get_size() == itemsize(word)
        if word != "object" and dense and real == imaginary:
            return Number(word, real.order, "compound of r and i")
    return Number("object", "<", f"a compound of {fields} fields")


def named_type(dataset: Any, found: Number) -> Number:
    """Return the type that an attribute `dtype` names, as Keras marks bfloat16, if it is of that size."""
    word = texts(h5a.open(dataset, b"dtype")) if h5a.exists(dataset, b"dtype") else ""
    fits = isinstance(word, str) and word != "object" and ITEMSIZES.get(word) == dataset.get_type().get_size()
    return Number(word, "<", found.encoding, as_is=True) if fits else found


def texts(attribute: Any) -> Any:
    """Return the text or the list of texts that an attribute holds; None for anything else."""
    kind, space = attribute.get_type(), attribute.get_space()
    if kind.get_class() != h5t.STRING or attribute.get_storage_size() > limits.JSON or len(attribute.shape) > 1:
        return None
    if space.get_simple_extent_type() == h5s.NULL:
        return None
    import numpy as np

    block = np.empty(attribute.shape, attribute.dtype)
    attribute.read(block)
    found = [_text(item) for item in block.reshape(-1).tolist()]
    return found if attribute.shape else found[0]


def _text(item: Any) -> str:
    return item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else str(item)
