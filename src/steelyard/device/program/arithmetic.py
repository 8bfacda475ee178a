"""The arithmetic of a program: the type of its numbers, and that of its sums, whose terms are added one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Array


class Arithmetic(NamedTuple):
    """The dtypes of the numbers between operations and of the sums inside them; a sum is rounded once, when it is complete."""

    numbers: str = "float32"
    sums: str = "float32"

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
