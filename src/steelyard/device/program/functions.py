"""Elementary functions as NumPy and Python have them: `arithmetic.Functions`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.weight import Array


def exp(x: Array) -> Array:
    """Return the exponential function of each number."""
    import numpy as np

    made: Array = np.exp(x)
    return made


def expm1(x: Array) -> Array:
    """Return the exponential function of each number, minus 1."""
    import numpy as np

    made: Array = np.expm1(x)
    return made


def log(x: Array) -> Array:
    """Return the natural logarithm of each number."""
    import numpy as np

    made: Array = np.log(x)
    return made


def log1p(x: Array) -> Array:
    """Return the natural logarithm of 1 + x for each number."""
    import numpy as np

    made: Array = np.log1p(x)
    return made


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent of each number."""
    import numpy as np

    made: Array = np.tanh(x)
    return made


def erf(x: Array) -> Array:
    """Return the error function of each number, in float64 and rounded, since NumPy has none."""
    import numpy as np

    made: Array = np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, x.size).reshape(x.shape).astype(x.dtype)
    return made
