"""The arithmetic of a program: the type of its numbers, and that of its sums, whose terms are added one by one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Array

_NUMPY, _OWN = "steelyard.device.program.functions", "steelyard.device.forward.math.numbers"
"""The modules of `Functions`."""


class Functions(Protocol):
    """The elementary functions of each number of an array, in its type."""

    def exp(self, x: Array, /) -> Array:
        """Return the exponential function."""

    def expm1(self, x: Array, /) -> Array:
        """Return the exponential function minus 1."""

    def log(self, x: Array, /) -> Array:
        """Return the natural logarithm."""

    def log1p(self, x: Array, /) -> Array:
        """Return the natural logarithm of 1 + x."""

    def tanh(self, x: Array, /) -> Array:
        """Return the hyperbolic tangent."""

    def erf(self, x: Array, /) -> Array:
        """Return the error function."""


class Arithmetic(NamedTuple):
    """The dtypes of the numbers between operations and of the sums inside them; a sum is rounded once, when it is complete.

    With `libm` false the elementary functions are our own, which have the same bits on every device, in float32 only.
    """

    numbers: str = "float32"
    sums: str = "float32"
    libm: bool = True

    @property
    def functions(self) -> Functions:
        """The elementary functions."""
        own = not self.libm and self.numbers == "float32"
        return cast("Functions", import_module(_OWN if own else _NUMPY))

    def cast(self, array: Array) -> Array:
        """Return an array in the type of the numbers."""
        return array.astype(self.numbers, copy=False)

    def widened(self, array: Array) -> Array:
        """Return an array as terms of a sum: rounded to the type of the numbers first."""
        return self.cast(array).astype(self.sums, copy=False)

    def started(self, shape: Sequence[int], bias: Array | None = None) -> Array:
        """Return sums that begin with the bias, which broadcasts to the shape, or with zero."""
        import numpy as np

        sums: Array = np.zeros(tuple(shape), self.sums)
        if bias is not None:
            sums += self.widened(bias)
        return sums

    def sum_along(self, array: Array, axis: int) -> Array:
        """Return the sum along an axis, one term after another; NumPy's own adds in pairs."""
        import numpy as np

        terms = np.moveaxis(array, axis, 0).astype(self.sums, copy=False)
        total: Array = np.zeros(terms.shape[1:], self.sums)
        for term in terms:
            total += term
        return total
