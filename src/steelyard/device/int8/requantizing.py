"""Sums of products of integers to codes: multiplied by an integer of 31 bits, shifted, and rounded in one of two ways.

A factor between two scales is `multiplier * 2^(shift - 31)`, the multiplier being 2^30 to 2^31 - 1. For a sum s:

single   (s * multiplier + 2^(30 - shift)) >> (31 - shift): half upwards, once; TFLite's XNNPACK and CMSIS-NN's
         CMSIS_NN_USE_SINGLE_ROUNDING
double   (s * 2^shift * multiplier + 2^30) >> 31 for a shift above 0; else (s * multiplier + 2^30) >> 31, divided by 2^-shift
         and rounded again, half away from zero; TFLite's reference and built-in kernels, and CMSIS-NN by default
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Rounding = Literal["single", "double"]

ROUNDINGS = ("single", "double")
LOWEST, HIGHEST = -128, 127
"""The least and the greatest code."""
_SMALLEST_SHIFT, _GREATEST_SHIFT = -31, 30


class Multipliers(NamedTuple):
    """Factors between scales as integers: int32 `values`, and `shifts`, to the left where they are above 0."""

    values: Array
    shifts: Array

    @property
    def factors(self) -> Array:
        """The factors that the integers stand for, in float64."""
        import numpy as np

        made: Array = np.ldexp(self.values.astype(np.float64), self.shifts - 31)
        return made


def multipliers(factors: Array) -> Multipliers:
    """Return positive factors as integers, as TFLite's QuantizeMultiplier does. Raises `ShapeError` for 2^30 and above.

    >>> import numpy as np
    >>> multipliers(np.array([0.5, 0.3])).values.tolist(), multipliers(np.array([0.5, 0.3])).shifts.tolist()
    ([1073741824, 1288490189], [0, -1])
    """
    import numpy as np

    fractions, shifts = np.frexp(np.atleast_1d(np.asarray(factors, np.float64)))
    values = np.floor(fractions * 2.0**31 + 0.5).astype(np.int64)
    full = values == 1 << 31
    values, shifts = np.where(full, 1 << 30, values), np.where(full, shifts + 1, shifts)
    values, shifts = np.where(shifts < _SMALLEST_SHIFT, 0, values), np.where(shifts < _SMALLEST_SHIFT, 0, shifts)
    if (shifts > _GREATEST_SHIFT).any():
        raise ShapeError("the scale of an output is 2^30 times smaller than that of its sums; calibrate with other data")
    return Multipliers(values.astype(np.int32), shifts.astype(np.int32))


def scaled(sums: Array, by: Multipliers, rounding: str) -> Array:
    """Return integers times factors that broadcast with them, rounded to int64. A shift to the left must not leave 32 bits."""
    import numpy as np

    sums, values, shifts = sums.astype(np.int64), by.values.astype(np.int64), by.shifts.astype(np.int64)
    if rounding == "single":
        total = 31 - shifts
        made: Array = (sums * values + (np.int64(1) << (total - 1))) >> total
        return made
    high = ((sums << np.maximum(shifts, 0)) * values + (1 << 30)) >> 31
    return divided(high, np.maximum(-shifts, 0))


def divided(numbers: Array, exponent: Array) -> Array:
    """Return integers divided by powers of two, rounded half away from zero."""
    import numpy as np

    mask = (np.int64(1) << exponent) - 1
    made: Array = (numbers >> exponent) + ((numbers & mask) > (mask >> 1) + (numbers < 0))
    return made


def nearest(numbers: Array) -> Array:
    """Return float64 rounded to int64, half away from zero, as C's lround does.

    >>> import numpy as np
    >>> nearest(np.array([0.5, -0.5, 1.49])).tolist()
    [1, -1, 1]
    """
    import numpy as np

    whole = np.trunc(numbers)
    made: Array = (whole + np.copysign(np.abs(numbers - whole) >= 0.5, numbers)).astype(np.int64)
    return made


class Quantization(NamedTuple):
    """What codes stand for: `number = (code - zero_point) * scale`; the scale is a float32."""

    scale: float
    zero_point: int

    def codes(self, numbers: Array) -> Array:
        """Return the nearest codes, half away from zero, int8."""
        import numpy as np

        with np.errstate(over="ignore"):
            steps = (np.asarray(numbers, np.float32) / np.float32(self.scale)).astype(np.float64)
        return clipped(nearest(np.clip(steps, -1e9, 1e9)) + self.zero_point)

    def numbers(self, codes: Array) -> Array:
        """Return the numbers that codes stand for, float32."""
        import numpy as np

        made: Array = (codes.astype(np.int32) - self.zero_point).astype(np.float32) * np.float32(self.scale)
        return made


def clipped(codes: Array, lowest: int = LOWEST, highest: int = HIGHEST) -> Array:
    """Return codes inside a range as int8."""
    import numpy as np

    return np.clip(codes, lowest, highest).astype(np.int8)
