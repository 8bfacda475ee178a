"""The words for PyTorch's types of numbers, and the dtypes that list them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from steelyard.codecs.pickle.values import Global
from steelyard.dtypes import ITEMSIZES, itemsize
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Pickled

_STORAGES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Char": "int8",
    "Byte": "uint8",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
    "QInt8": "qint8",
    "QUInt8": "quint8",
    "QInt32": "qint32",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
    "Untyped": "",
}
_NAMES = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32", "short": "int16"}
_NAMES |= {"cfloat": "complex64", "cdouble": "complex128", "chalf": "complex32"}
_CARRIED = {  # the dtype that lists a type which NumPy lacks; its own name is in `encoding`
    "qint8": "int8",
    "quint8": "uint8",
    "qint32": "int32",
    "float4_e2m1fn_x2": "uint8",
    "bits8": "uint8",
    **{f"{sign}int{bits}": f"{sign}int8" for sign in ("", "u") for bits in range(1, 8)},
    "complex32": "complex64",
    "quint4x2": "uint8",
    "quint2x4": "uint8",
    "": "uint8",
}
PACKED = {"quint4x2": 2, "quint2x4": 4}
"""Types with several numbers in a byte, the first in the lowest bits, and how many; their rows follow each other without gaps."""
KNOWN = {word: (size, word) for word, size in ITEMSIZES.items() if word != "object"}
KNOWN |= {word: (itemsize(listed), listed) for word, listed in _CARRIED.items()} | {"complex32": (4, "complex64")}
"""For each of torch's types, the bytes of an element and the dtype that lists it."""


def storage_dtype(kind: Global) -> str:
    """Return the type of the elements of a storage class; "" for one that has none.

    >>> storage_dtype(Global("torch", "FloatStorage"))
    'float32'
    """
    name = kind.name.rpartition(".")[2].removesuffix("Storage")
    if kind.module.partition(".")[0] != "torch" or name not in _STORAGES:
        raise FormatError("the pickle", f"its storage is a {printable(kind.text)}, whose type is not known")
    return _STORAGES[name]


def dtype_of(value: Pickled) -> str:
    """Return the word of `torch.float8_e4m3fn` and the like."""
    if not isinstance(value, Global) or value.module != "torch":
        raise FormatError("the pickle", f"is of type {printable(value, 60)}, which is not a type of torch")
    word = _NAMES.get(value.name, value.name)
    size_of(word)
    return word


def size_of(word: str) -> int:
    """Return the bytes of an element of one of torch's types."""
    return (KNOWN.get(word) or unknown(word))[0]


def unknown(word: str) -> NoReturn:
    """Refuse a type that torch lacks, or that is not supported."""
    raise FormatError("the pickle", f"is of type {printable(word)}, which is not known")


def listed_as(word: str) -> str:
    """Return the dtype that lists one of torch's types."""
    return _CARRIED.get(word, word)
