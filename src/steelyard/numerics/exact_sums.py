"""Sums that do not depend on the order of their terms: fixed-point numbers of any length.

Every float64, and every product of two, is an integer multiple of 2**-2400. Python's integers have any length, so adding such
fixed-point numbers loses nothing, and partial sums give the same total, bit for bit, however the terms are split. The cost is
one addition of integers of some 2,400 bits for each block of numbers, not for each number.
"""

from __future__ import annotations

from math import isqrt

BITS = 2400  # fractional bits of a fixed-point number; the square of the smallest float64 is 2**-2148
_ROOT = 400  # bits appended before a root is taken: half of them are bits of the root

_RATIO = 128  # bits of a ratio before its root is taken: the root has more than a float64, and one bit says whether it is exact


def fixed_point(number: float, power: int = 0) -> int:
    """Return a finite number, times two to a power, as a fixed-point number.

    >>> rounded(fixed_point(0.1) + fixed_point(1e300) - fixed_point(1e300))
    0.1
    """
    top, below = number.as_integer_ratio()
    shift = BITS + power - (below.bit_length() - 1)
    return top << shift if shift >= 0 else top >> -shift


def square(value: float, power: int, count: int) -> int:
    """Return the square of a finite float64 times two to this power, divided by a count, as a fixed-point number.

    A float64 has 53 bits that count, so this takes a tenth of the time of squaring a fixed-point number.

    >>> square(3.0, 1, 4) == fixed_point(9.0)
    True
    """
    top, below = value.as_integer_ratio()
    shift = BITS + 2 * (power - below.bit_length() + 1)
    return (top * top << shift if shift >= 0 else top * top >> -shift) // count


def product(one: int, two: int) -> int:
    """Multiply two fixed-point numbers."""
    return (one * two) >> BITS


def rounded(number: int, count: int = 1) -> float:
    """Return a fixed-point number, divided by a count, as the nearest float64; infinity if it is too large."""
    try:
        return number / (count << BITS)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def root(number: int, count: int = 1) -> float:
    """Return the square root of a non-negative fixed-point number, divided by a count.

    >>> root(fixed_point(8.0), 2)
    2.0
    """
    scaled = isqrt((number << _ROOT) // count)
    try:
        return scaled / (1 << ((BITS + _ROOT) // 2))
    except OverflowError:
        return float("inf")


def root_of_ratio(top: int, below: int) -> float:
    """Return the square root of a ratio of non-negative integers, rounded once.

    >>> root_of_ratio(1, 2) == 0.5 ** 0.5
    True
    """
    shift = max(_RATIO - top.bit_length() + below.bit_length(), 0)
    shift += shift % 2
    ratio, rest = divmod(top << shift, below)
    found = isqrt(ratio)
    beyond = bool(rest) or found * found != ratio  # the root is between two integers, so it is rounded as one bit more says
    return (found << 1 | beyond) / (1 << (shift // 2 + 1))
