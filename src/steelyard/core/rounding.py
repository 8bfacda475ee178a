"""Round float32 to float16 by the bits: NumPy's cast takes three times as long, and fifty times where results are subnormal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.weight import Array, DType

_FEW = 1 << 10  # fewer numbers are cast sooner than their bits are moved
_TILE = 1 << 16  # rounded at a time: several arrays of so many numbers stay in the cache
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
    flat = np.ascontiguousarray(values).reshape(-1)
    made = np.empty(flat.size, np.uint16)
    for start in range(0, flat.size, _TILE):
        made[start : start + _TILE] = _bits_of_halves(flat[start : start + _TILE])
    return made.view(np.float16).reshape(values.shape)


def _bits_of_halves(values: Array) -> Array:
    """Return the bits of the float16 numbers next to float32 ones."""
    import numpy as np

    bits = values.view(np.uint32)
    size = bits & np.uint32(0x7FFFFFFF)
    largest = int(size.max())
    if largest > _INFINITY:  # NaN
        return values.astype(np.float16).view(np.uint16)
    if largest > _TOO_LARGE:
        np.minimum(size, np.uint32(_TOO_LARGE), out=size)
    made = _halves(size)
    small = size < _SMALLEST
    count = int(np.count_nonzero(small))
    if count * 8 > size.size:
        differing: Array = made ^ _subnormal(size)
        differing &= small.view(np.int8).astype(np.uint16) * np.uint16(0xFFFF)  # all bits, where a branch would cost more
        made ^= differing
    elif count:
        at = np.flatnonzero(small)
        made[at] = _subnormal(size[at])
    signs = (bits >> np.uint32(16)).astype(np.uint16)
    signs &= np.uint16(0x8000)
    made |= signs
    return made


def _subnormal(size: Array) -> Array:
    """Return the bits of float16 of subnormal numbers without signs: their sums with 0.5 are rounded to its last bit."""
    import numpy as np

    return ((size.view(np.float32) + np.float32(0.5)).view(np.uint32) - np.uint32(_SUBNORMAL)).astype(np.uint16)


def _halves(size: Array) -> Array:
    """Return the bits of float16 of normal numbers without their signs; half of the last bit is added, and less if it is even."""
    import numpy as np

    moved = size >> np.uint32(13)
    moved &= np.uint32(1)
    moved += size
    moved += np.uint32(0xFFF + _REBIASED & 0xFFFFFFFF)
    moved >>= np.uint32(13)
    return moved.astype(np.uint16)
