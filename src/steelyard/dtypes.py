"""Words for the types of numbers, as NumPy and ml_dtypes spell them.

A weight's dtype is a word, so that listing a file needs no NumPy and JSON needs no translation.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

UNKNOWN = "object"
"""The dtype of a weight whose numbers cannot be given, and whose type is not known."""
ITEMSIZES = {
    "bool": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
    "bfloat16": 2,
    "float8_e3m4": 1,
    "float8_e4m3": 1,
    "float8_e4m3b11fnuz": 1,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "float6_e2m3fn": 1,
    "float6_e3m2fn": 1,
    "float4_e2m1fn": 1,
    "int2": 1,
    "int4": 1,
    "uint2": 1,
    "uint4": 1,
    "float128": 16,
    "object": 8,
}
"""The size of one element in memory, in bytes. Types under 8 bits take a byte each, as in ml_dtypes."""

SPELLINGS = {
    **dict.fromkeys(("fp16", "f16", "half"), "float16"),
    **dict.fromkeys(("fp32", "f32", "float", "single"), "float32"),
    **dict.fromkeys(("fp64", "f64", "double"), "float64"),
    **dict.fromkeys(("bf16", "brain", "bfloat"), "bfloat16"),
    **dict.fromkeys(("fp8", "f8", "float8", "e4m3", "fp8_e4m3", "f8_e4m3", "fp8_e4m3fn"), "float8_e4m3fn"),
    **dict.fromkeys(("e5m2", "fp8_e5m2", "f8_e5m2"), "float8_e5m2"),
}
"""Other words for these types, as people and other libraries write them; an error suggests the word that is known."""


def itemsize(dtype: str) -> int:
    """Return the size of one element of `dtype` in memory, in bytes.

    >>> itemsize("bfloat16")
    2
    """
    return ITEMSIZES[dtype]


@lru_cache
def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """Return the NumPy dtype that the word `dtype` names; ml_dtypes is imported for its own words only.

    >>> numpy_dtype("bfloat16").itemsize
    2
    """
    import numpy as np

    try:
        return np.dtype(dtype)
    except TypeError:
        import ml_dtypes

        made: np.dtype[Any] = np.dtype(getattr(ml_dtypes, dtype))
        return made


def is_floating(dtype: str) -> bool:
    """Whether `dtype` holds real numbers with a fraction.

    >>> is_floating("float8_e4m3fn"), is_floating("int8")
    (True, False)
    """
    return dtype.startswith(("float", "bfloat"))


def is_inexact(dtype: str) -> bool:
    """Whether `dtype` holds real or complex numbers with a fraction.

    >>> is_inexact("complex64"), is_inexact("bool")
    (True, False)
    """
    return is_floating(dtype) or dtype.startswith("complex")


FLOATS = tuple(w for w in ITEMSIZES if is_floating(w) and not w.startswith(("float4_", "float6_", "float128", "float8_e8m0")))
"""The types that floats can be cast to."""


def may_be_packed(dtype: str) -> bool:
    """Whether the numbers of packed weights may be stored in this type.

    >>> may_be_packed("uint8"), may_be_packed("float8_e4m3fn"), may_be_packed("int64")
    (True, True, False)
    """
    return dtype in _CODES or dtype.startswith("float8")


_CODES = frozenset(("int8", "uint8", "int16", "uint16", "int32", "uint32"))
