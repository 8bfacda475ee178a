"""Convert numbers to a weight's own dtype without silent losses.

Rounding a float to a narrower float is allowed, as in every framework. A fraction or NaN for an integer, an integer
out of range, and a finite number that would become infinite are refused.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

from steelyard.core.readers import dtype_word, require_unmasked
from steelyard.core.rounding import rounded
from steelyard.core.together import likeness, read_rows
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import FLOATS, SPELLINGS, is_floating, numpy_dtype
from steelyard.errors import LossyError, ShapeError, meant, printable, quoted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from steelyard.core.weight import Array, DType, Reader


def fitted(weight: Weight, value: ArrayLike) -> Array:
    """Return `value` as an array of `weight`'s shape and dtype, without a copy if it has these already.

    Raises `ShapeError` if the shape differs, and `LossyError` if a number would change by more than rounding.
    """
    import numpy as np

    require_unmasked(weight.name, value)
    try:
        array = np.asarray(value)
    except ValueError:
        raise ShapeError(
            f"the value for {printable(weight.name)} is a ragged list, not an array of shape {weight.shape}"
        ) from None
    if array.shape != weight.shape:
        raise ShapeError(
            f"{printable(weight.name)} has shape {weight.shape}, the value has {array.shape}; "
            f"pass an array of shape {weight.shape} (transpose or reshape it first)"
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
        result = rounded(array.real if array.dtype.kind == "c" and dtype.kind != "c" else array, dtype)
        if _is_within(array, dtype):
            return result
        lost = _lost(array, result)
    if lost.any():
        first = int(lost.argmax())
        index = [int(i) for i in np.unravel_index(start + first, lost.shape if shape is None else shape)]
        raise LossyError(
            f"{printable(name)}: {array.reshape(-1)[first]!s} at {index} does not fit into {dtype}; "
            "nothing was written; round, clip or replace it first"
        )
    return result


def _is_within(array: Array, dtype: DType) -> bool:
    """Whether floats are finite in another type of float, which a look at the largest and the smallest one shows."""
    import numpy as np

    if array.dtype.kind != "f" or not is_floating(dtype.name) or not array.size:
        return False
    if dtype.kind == "f" and dtype.isbuiltin == 1:
        largest = float(np.finfo(dtype).max)
    else:
        from ml_dtypes import finfo

        largest = float(finfo(dtype).max)
    return bool(array.max() <= largest and array.min() >= -largest)


def _lost(before: Array, after: Array) -> Array:
    """Mark the elements whose numbers were lost; rounding a float to a narrower float does not count."""
    import numpy as np

    # a complex number is lost if it has an imaginary part, or if its real part is lost
    if np.iscomplexobj(before) and not np.iscomplexobj(after):
        return np.asarray(before.imag != 0) | _lost(before.real, after)
    if np.iscomplexobj(after) and not np.iscomplexobj(before):
        return _lost(before, after.real)
    if not _fractional(before):  # integers must survive the round trip, even through a float
        # the signs differ where an unsigned type wraps around, and back again in the round trip
        return np.asarray((after.astype(before.dtype) != before) | ((after < 0) != (before < 0)))
    if not _fractional(after):
        return np.asarray(~np.isfinite(before) | (after.astype(before.dtype) != before))
    # a finite number that becomes Inf; NaN that a type without NaN turns into a number
    overflow = np.asarray(np.isfinite(after) != np.isfinite(before))
    if after.dtype.name.startswith(("float4_", "float6_")):  # these saturate: they have no infinity
        overflow |= np.abs(before) > after.dtype.type(127).astype(before.dtype)
    return overflow


def _fractional(array: Array) -> bool:
    return is_floating(array.dtype.name) or array.dtype.kind == "c"


def common_dtype(dtypes: Iterable[str]) -> DType:
    """Return the smallest dtype that represents all of `dtypes` exactly, by NumPy's promotion.

    NumPy has no correct common type for two types of ml_dtypes, nor for one and an integer. If types differ, each such
    type is promoted to the NumPy type that represents it: float32, int8 or uint8.

    >>> str(common_dtype(["bfloat16", "float16"])), str(common_dtype(["bfloat16"]))
    ('float32', 'bfloat16')
    """
    import numpy as np

    distinct = [numpy_dtype(word) for word in dict.fromkeys(dtypes)]
    if len(distinct) < 2:
        return distinct[0] if distinct else np.dtype(np.float32)
    return np.result_type(*map(standard, distinct))


def standard(dtype: DType) -> DType:
    """Return the NumPy dtype that represents every number of `dtype`."""
    import numpy as np

    if dtype.kind in "biufc":
        return dtype
    if is_floating(dtype.name):
        return np.dtype(np.float32)
    return np.dtype(np.uint8 if dtype.name.startswith("u") else np.int8)


def cast(weight: Weight, dtype: str) -> Weight:
    """Return a floating-point weight in another dtype, cast when it is read; other weights unchanged.

    Raises `ShapeError` for a dtype that is not floating-point, and `LossyError` when a number that is read does not fit.
    """
    if dtype not in FLOATS:
        raise ShapeError(
            f"floats cannot be cast to {quoted(dtype)}; the types are {', '.join(FLOATS)}{meant(dtype, FLOATS, SPELLINGS)}"
        )
    if not is_floating(weight.dtype) or weight.dtype == dtype or isinstance(weight.read, Refused):
        return weight
    from steelyard.core.stacked import relaid

    return weight.replace(dtype=dtype, encoding="", read=relaid(weight.read, casting(weight, dtype)))


def casting(weight: Weight, dtype: str) -> Reader:
    """Return a reader of a weight's numbers in another dtype."""
    return _Casting(weight, dtype)


class _Casting:
    """A reader of the numbers of a weight in another dtype."""

    __slots__ = ("dtype", "weight")

    def __init__(self, weight: Weight, dtype: str) -> None:
        self.weight = weight
        self.dtype = dtype

    def __call__(self, start: int, stop: int) -> Array:
        weight = self.weight
        return converted(weight.name, weight.read(start, stop), numpy_dtype(self.dtype), start, weight.shape)

    def likeness(self) -> Hashable:
        """Return what readers share that are read together; see `core.together`."""
        key = likeness(self.weight.read)
        return None if key is None else (self.weight.dtype, self.dtype, key)

    def rows(self, readers: Sequence[_Casting], _: int) -> Array | None:
        """Return the numbers of several weights as rows. Raises `LossyError`, which names the first, if one does not fit."""
        read = read_rows([reader.weight for reader in readers])
        return None if read is None else converted(self.weight.name, read, numpy_dtype(self.dtype))
