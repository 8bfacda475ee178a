"""Round float32 to float16 by the bits: NumPy's cast takes three times as long, and fifty times where results are subnormal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.weight import Array, DType

_FEW = 1 << 10  # fewer numbers are cast sooner than their bits are moved
_INFINITY, _TOO_LARGE = 0x7F800000, 0x47800000
"""The bits of float32 infinity, and those of 2^16, which float16 does not have."""
_SMALLEST, _SUBNORMAL = 0x38800000, 0x3F000000
"""The bits of the smallest normal number of float16, and those of 0.5, whose last bit is worth its smallest subnormal one."""
_REBIASED = -(112 << 23)  # the exponents of float32 begin lower by as much


def rounded(values: Array, dtype: DType) -> Array:
    """Return numbers in a dtype, the nearest or of two the even one; without a copy if they are in it already.

    >>> import numpy as np
    >>> rounded(np.full(2000, 1e-7, np.float32), np.dtype(np.float16))[0] == np.float16(1e-7)
    np.True_
    """
    import numpy as np

    if dtype != np.float16 or values.dtype != np.float32 or values.size < _FEW:
        return values.astype(dtype, copy=False)
    bits = np.ascontiguousarray(values).view(np.uint32)
    size = bits & np.uint32(0x7FFFFFFF)
    largest = int(size.max())
    if largest > _INFINITY:  # NaN
        return values.astype(dtype)
    signs = (bits >> np.uint32(16)).astype(np.uint16)
    signs &= np.uint16(0x8000)
    if largest > _TOO_LARGE:
        np.minimum(size, np.uint32(_TOO_LARGE), out=size)
    small = size < _SMALLEST
    made = _halves(size)
    if small.any():
        # the sum is rounded to the last bit of 0.5
        shifted = (size.view(np.float32) + np.float32(0.5)).view(np.uint32) - np.uint32(_SUBNORMAL)
        differing = shifted.astype(np.uint16)
        differing ^= made
        differing &= small.view(np.int8).astype(np.uint16) * np.uint16(0xFFFF)  # all bits, where a branch would cost more
        made ^= differing
    made |= signs
    return made.view(np.float16)


def _halves(size: Array) -> Array:
    """Return the bits of float16 of normal numbers without their signs; half of the last bit is added, and less if it is even."""
    import numpy as np

    moved = size >> np.uint32(13)
    moved &= np.uint32(1)
    moved += size
    moved += np.uint32(0xFFF + _REBIASED & 0xFFFFFFFF)
    moved >>= np.uint32(13)
    return moved.astype(np.uint16)
