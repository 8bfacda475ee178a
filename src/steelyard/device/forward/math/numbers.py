"""The twin in NumPy of our own elementary functions: the same operations in the same order, so the same bits as on a device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import TYPE_CHECKING

from steelyard.device.forward.math import coefficients as given

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weight import Array

    Function = Callable[[Array], Array]


def _of_float32(function: Function) -> Function:
    """Return a function that takes an array of any shape, and warns of no infinity and NaN, which are results."""

    @wraps(function)
    def checked(x: Array) -> Array:
        import numpy as np

        if x.dtype != np.float32:
            raise TypeError(f"our own functions take float32, not {x.dtype}")
        with np.errstate(all="ignore"):
            return function(np.atleast_1d(x)).reshape(x.shape)

    return checked


@_of_float32
def exp(x: Array) -> Array:
    """Return the exponential function of each number."""
    import numpy as np

    usual, k, r = _reduced(x, given.EXP_LEAST, given.EXP_LARGEST)
    made = _scaled(np.float32(1) + (r + r * r * _polynomial(r, given.EXP)), k)
    return np.where(usual, made, np.where(x > 0, np.float32(np.inf), np.where(x < 0, np.float32(0), x)))


@_of_float32
def expm1(x: Array) -> Array:
    """Return the exponential function of each number, minus 1."""
    import numpy as np

    usual, k, r = _reduced(x, given.EXPM1_LEAST, given.EXPM1_LARGEST)
    s = _scaled(np.ones_like(x), k)
    r = r + r * r * _polynomial(r, given.EXP)
    return np.where(usual, s * r + (s - np.float32(1)), exp(x) - np.float32(1))


@_of_float32
def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent of each number."""
    import numpy as np

    a, z = np.abs(x), x * x
    t = np.float32(1) - np.float32(2) / (exp(np.float32(2) * a) + np.float32(1))
    t = np.where(a > np.float32(given.TANH_LARGEST), np.float32(1), t)
    return np.where(a < np.float32(given.TANH_EDGE), x + x * z * _polynomial(z, given.TANH), np.where(x < 0, -t, t))


@_of_float32
def log(x: Array) -> Array:
    """Return the natural logarithm of each number."""
    import numpy as np

    usual = (x > 0) & (x < np.float32(np.inf))
    small = x < np.finfo(np.float32).tiny
    bits = np.where(small, x * np.float32(2**25), x).view(np.uint32)
    above = bits - np.uint32(given.ROOT_HALF_BITS) + np.uint32(0x40000000)
    k = np.where(small, np.float32(-25), np.float32(0)) + ((above >> np.uint32(23)).astype(np.int32) - 128).astype(np.float32)
    f = ((above & np.uint32(0x007FFFFF)) + np.uint32(given.ROOT_HALF_BITS)).view(np.float32) - np.float32(1)
    rest = f * f * f * _polynomial(f, given.LOG) + k * np.float32(given.LN2_LOW)
    made = (f + (rest - np.float32(0.5) * (f * f))) + k * np.float32(given.LN2_HIGH)
    odd = np.where(x == 0, np.float32(-np.inf), np.where(x < 0, np.float32(np.nan), x))
    return np.where(usual, made, odd)


@_of_float32
def log1p(x: Array) -> Array:
    """Return the natural logarithm of 1 + x for each number."""
    import numpy as np

    u = np.float32(1) + x
    usual = (x > -1) & (u < np.float32(np.inf))
    made = log(u)
    return np.where(u == 1, x, np.where(usual, made + (x - (u - np.float32(1))) / u, made))


@_of_float32
def erf(x: Array) -> Array:
    """Return the error function of each number."""
    import numpy as np

    a, z = np.abs(x), x * x
    t = np.float32(1) - exp(a * _polynomial(a, given.ERFC))
    t = np.where(a > np.float32(given.ERF_LARGEST), np.float32(1), t)
    return np.where(a < np.float32(given.ERF_EDGE), x + x * _polynomial(z, given.ERF), np.where(x < 0, -t, t))


def _reduced(x: Array, least: float, largest: float) -> tuple[Array, Array, Array]:
    """Return which numbers are inside a range, their powers of 2, and what is left of them."""
    import numpy as np

    usual = (x >= np.float32(least)) & (x <= np.float32(largest))
    inside = np.where(usual, x, np.float32(0))
    half = np.where(inside < 0, np.float32(-0.5), np.float32(0.5))
    k = (inside * np.float32(given.LOG2_E) + half).astype(np.int32)
    whole = k.astype(np.float32)
    return usual, k, (inside - whole * np.float32(given.LN2_HIGH)) - whole * np.float32(given.LN2_LOW)


def _scaled(y: Array, k: Array) -> Array:
    """Return y times 2 to the power of k, in two steps, since not all such powers are float32."""
    import numpy as np

    half = np.trunc(k / 2).astype(np.int32)
    first, second = (((each + 127).astype(np.uint32) << np.uint32(23)).view(np.float32) for each in (half, k - half))
    return y * first * second


def _polynomial(x: Array, coefficients: Sequence[float]) -> Array:
    import numpy as np

    *rest, last = coefficients
    total: Array = np.full_like(x, last)
    for coefficient in reversed(rest):
        total = np.float32(coefficient) + x * total
    return total
