"""Sums that do not depend on the order in which they are made.

A float64 is a whole number of units of 2**-2400, and so are products of two. Whole numbers in Python have any length:
adding them loses nothing, so that the sums of parts make the sum of the whole, bit for bit, whichever parts these are.
"""

from __future__ import annotations

from math import isqrt

BITS = 2400
"""A unit is two to the power of minus this; the square of the least float64 is 2**252 of them."""
_ROOT = 400
"""Bits that are added before a root is taken: half of them are bits of the root."""


def units(number: float, power: int = 0) -> int:
    """Return a finite number, times two to a power, in units.

    >>> rounded(units(0.1) + units(1e300) - units(1e300))
    0.1
    """
    top, below = number.as_integer_ratio()
    shift = BITS + power - (below.bit_length() - 1)
    return top << shift if shift >= 0 else top >> -shift


def product(one: int, two: int) -> int:
    """Multiply two numbers in units."""
    return (one * two) >> BITS


def rounded(number: int, count: int = 1) -> float:
    """Return units, divided by a count, as the nearest float64; infinity where it is larger than any."""
    try:
        return number / (count << BITS)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def root(number: int, count: int = 1) -> float:
    """Return the square root of units that are not negative, divided by a count.

    >>> root(units(8.0), 2)
    2.0
    """
    found = isqrt((number << _ROOT) // count)
    try:
        return found / (1 << ((BITS + _ROOT) // 2))
    except OverflowError:
        return float("inf")
