"""Small floats in place of large ones: float8 (E4M3) with a scale for each cell, and float4 (E2M1) with a power of two.

float8    scale = absmax / 448, code = the nearest float8 of number / scale, which 448 bounds
MXFP4     scale = 2^(floor(log2(absmax)) - 2), as the microscaling formats of the OCP have it (version 1.0, section 6.3); code =
          the nearest of 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives, of two the one with an even last bit
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.weight import Array

LARGEST = 448.0
"""The largest float8 of E4M3."""
_E8M0_BIAS, _LARGEST_EXPONENT, _LOWEST = 127, 2, -127


def float8_scales(low: Array, high: Array, zero: float) -> Array:
    """Return the scales of cells of float8 in float32."""
    import numpy as np

    found = np.maximum(np.abs(low), np.abs(high)) / np.float32(LARGEST)
    return np.where(found == 0, np.float32(zero), found)


def float8_codes(values: Array, scale: Array) -> Array:
    """Return the float8 of numbers, by scales that broadcast with them."""
    import ml_dtypes
    import numpy as np

    found: Array = np.clip(values / scale, -LARGEST, LARGEST).astype(ml_dtypes.float8_e4m3fn)
    return found


def exponents(low: Array, high: Array) -> Array:
    """Return the exponents of the scales of cells of MXFP4 as bytes of E8M0; cells of zeros have the smallest."""
    import numpy as np

    largest = np.maximum(np.abs(low), np.abs(high)).astype(np.float64)
    _, exponent = np.frexp(largest)  # largest = mantissa * 2 ** exponent, where the mantissa is from 1/2 to 1
    found = np.where(largest > 0, exponent - 1 - _LARGEST_EXPONENT, _LOWEST)
    return (np.maximum(found, _LOWEST) + _E8M0_BIAS).astype(np.uint8)


def float4_codes(values: Array, exponent: Array) -> Array:
    """Return the codes of 4 bits of numbers, by exponents that broadcast with them; the sign is the highest bit."""
    import ml_dtypes
    import numpy as np

    scaled = np.ldexp(values, _E8M0_BIAS - exponent.astype(np.int32))
    found: Array = np.clip(scaled, -6, 6).astype(ml_dtypes.float4_e2m1fn).view(np.uint8)
    return found
