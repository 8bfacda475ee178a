"""Convert numbers into a weight's own type without a silent loss.

Rounding a float to a shorter float is what every framework does, and is allowed. A fraction or NaN for an
integer, an integer out of range, and a finite number that would become infinite are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from steelyard.core.readers import dtype_word
from steelyard.core.weight import Weight
from steelyard.dtypes import FLOATS, is_floating, numpy_dtype
from steelyard.errors import LossyError, ShapeError, printable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from steelyard.core.weight import Array, DType, Reader


def fitted(weight: Weight, value: ArrayLike) -> Array:
    """Return `value` as an array of `weight`'s shape and dtype; no copy is made when it is one already.

    Raises `ShapeError` when the shape differs and `LossyError` when a number does not survive.
    """
    import numpy as np

    array = np.asarray(value)
    if array.shape != weight.shape:
        raise ShapeError(
            f"{printable(weight.name)} has shape {weight.shape}, the value has {array.shape}; "
            f"give an array of shape {weight.shape} (transpose or reshape it first)"
        )
    return converted(weight.name, array, numpy_dtype(weight.dtype))


def converted(name: str, array: Array, dtype: DType, start: int = 0, shape: tuple[int, ...] | None = None) -> Array:
    """Return `array` in `dtype`, or raise `LossyError` with the first number that would be lost.

    `array` may be a run of a weight of `shape`; `start` is its first element.
    """
    import numpy as np

    if array.dtype == dtype:
        return array
    dtype_word(name, array.dtype)
    with np.errstate(all="ignore"):
        result = (array.real if array.dtype.kind == "c" and dtype.kind != "c" else array).astype(dtype)
        lost = _lost(array, result)
    if lost.any():
        first = int(lost.argmax())
        index = [int(i) for i in np.unravel_index(start + first, lost.shape if shape is None else shape)]
        raise LossyError(
            f"{printable(name)}: {array.reshape(-1)[first]!s} at {index} does not fit into {dtype}; "
            "nothing was written; round, clip or replace it first"
        )
    return result


def _lost(before: Array, after: Array) -> Array:
    """Mark the elements whose number did not survive; rounding a float to a shorter float does not count."""
    import numpy as np

    if np.iscomplexobj(before) and not np.iscomplexobj(after):
        return np.asarray(before.imag != 0) | _lost(before.real, after)
    if np.iscomplexobj(after) and not np.iscomplexobj(before):
        return _lost(before, after.real)
    if not _fractional(before):  # integers must survive the round trip, also through a float
        return np.asarray((after.astype(before.dtype) != before) | ((after < 0) != (before < 0)))
    if not _fractional(after):
        return np.asarray(~np.isfinite(before) | (after.astype(before.dtype) != before))
    overflow = np.asarray(np.isfinite(after) != np.isfinite(before))
    if after.dtype.name.startswith(("float4_", "float6_")):  # these saturate: they have no infinity
        overflow |= np.abs(before) > after.dtype.type(127).astype(before.dtype)
    return overflow


def _fractional(array: Array) -> bool:
    return is_floating(array.dtype.name) or array.dtype.kind == "c"


def common_dtype(dtypes: Iterable[str]) -> DType:
    """Return the smallest type that holds all of `dtypes` exactly, as NumPy promotes them.

    NumPy has no sound common type for two short floats, nor for a short float and an integer; where
    types differ, each short type counts as the NumPy type that holds it: float32, int8 or uint8.

    >>> str(common_dtype(["bfloat16", "float16"])), str(common_dtype(["bfloat16"]))
    ('float32', 'bfloat16')
    """
    import numpy as np

    distinct = [numpy_dtype(word) for word in dict.fromkeys(dtypes)]
    if len(distinct) < 2:
        return distinct[0] if distinct else np.dtype(np.float32)
    return np.result_type(*map(standard, distinct))


def standard(dtype: DType) -> DType:
    """Return the NumPy type that holds every number of `dtype`."""
    import numpy as np

    if dtype.kind in "biufc":
        return dtype
    if is_floating(dtype.name):
        return np.dtype(np.float32)
    return np.dtype(np.uint8 if dtype.name.startswith("u") else np.int8)


def cast(weight: Weight, dtype: str) -> Weight:
    """Return a weight of floats in another type, cast when it is read; any other weight as it is.

    Raises `ShapeError` for a type that floats cannot be cast to, and `LossyError` when a number that is read does not fit.
    """
    if dtype not in FLOATS:
        raise ShapeError(f"floats cannot be cast to {printable(dtype)!r}; the types are {', '.join(FLOATS)}")
    if not is_floating(weight.dtype) or weight.dtype == dtype:
        return weight
    from steelyard.core.stacked import relaid

    return weight.replace(dtype=dtype, encoding="", read=relaid(weight.read, casting(weight, dtype)))


def casting(weight: Weight, dtype: str) -> Reader:
    """Return a reader of a weight's numbers in another type."""

    def read(start: int, stop: int) -> Array:
        return converted(weight.name, weight.read(start, stop), numpy_dtype(dtype), start, weight.shape)

    return read
