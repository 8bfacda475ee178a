"""Numbers with the largest error of each, and how much rounding adds to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.program.arithmetic import Arithmetic

if TYPE_CHECKING:
    from steelyard.core.weight import Array

DOUBLE = Arithmetic("float64", "float64")
MATH_ULPS = 4.0
"""The largest error of an elementary function: NumPy's, with SIMD, have at most 4 ulps, those of glibc and newlib fewer."""
_REFERENCE = 2.0**-53
_TINY = {"float32": 2.0**-126, "float64": 2.0**-1022}
"""The least normal number of a type, since many devices flush smaller ones to zero."""


class Bounded(NamedTuple):
    """Numbers `value` as float64 has them, and the largest `error` of each number that a device has instead."""

    value: Array
    error: Array

    @property
    def reach(self) -> Array:
        """The largest absolute value that the device's number can have."""
        import numpy as np

        made: Array = np.abs(self.value) + self.error
        return made


class Roundings(NamedTuple):
    """The unit roundoffs of the numbers between operations and of sums, and the largest error of an elementary function.

    `function` is that error relative to the function's value: an ulp is at most two unit roundoffs.
    """

    numbers: float
    sums: float
    function: float
    tiny: float

    @classmethod
    def of(cls, numbers: str, sums: str, ulps: float) -> Roundings:
        """Return the roundings of two types."""
        import numpy as np

        unit, wide = (float(np.finfo(each).eps) / 2 for each in (numbers, sums))
        return cls(unit, wide, 2 * ulps * unit, _TINY[numbers])

    def growth(self, count: int) -> float:
        """Return `g(count)` for roundings of numbers."""
        return _growth(count, self.numbers)

    def summed(self, count: int) -> float:
        """Return `g(count)` for a sum, with the rounding of the sum if it has another type, and the error of the reference."""
        own = 0.0 if self.sums == self.numbers else self.numbers
        return _growth(count, self.sums) + own + _growth(count, _REFERENCE)

    def cast(self, *arrays: Array | None) -> float:
        """Return the relative error of arrays that are rounded to the type of the numbers."""
        wide = any(each is not None and each.dtype.itemsize > 4 for each in arrays)
        return self.numbers if wide and self.numbers > _REFERENCE else 0.0

    def stored(self, array: Array) -> Bounded:
        """Return an array of a program or its input, which a device has in the type of its numbers."""
        import numpy as np

        if array.dtype.kind in "iub":
            return Bounded(array, np.zeros(array.shape))
        wide = array.astype(np.float64)
        return Bounded(wide, np.abs(wide) * self.cast(array) + self.tiny * bool(self.cast(array)))


def _growth(count: int, unit: float) -> float:
    share = count * unit
    return share / (1 - share) if share < 1 else float("inf")


def product(a: Bounded, b: Bounded, rounding: float) -> Bounded:
    """Return the products of numbers, which are rounded."""
    error = a.error * b.reach + abs(a.value) * b.error
    return Bounded(a.value * b.value, error + rounding * a.reach * b.reach)


def total(a: Bounded, b: Bounded, rounding: float) -> Bounded:
    """Return the sums of numbers, which are rounded."""
    return Bounded(a.value + b.value, a.error + b.error + rounding * (a.reach + b.reach))
