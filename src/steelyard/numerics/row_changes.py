"""Changes of the rows of a weight in float64: products of low rank, norms, rotations, and rows that are replaced.

Each returns a function of the rows before the change (`core.merging.Apply`). What they need of an adapter is read when rows
are, and kept while it is among what was used last.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING

from steelyard.core.recent import RecentBlocks

if TYPE_CHECKING:
    from steelyard.core.merging import Apply, Rows
    from steelyard.core.weight import Array, Weight

    Numbers = Callable[[], Array]
    """Returns a whole array in float64."""

_KEPT = RecentBlocks()
_KEPT_BYTES = 1 << 26
_ONE_THREAD = 1 << 18
"""Products of two numbers up to which OpenBLAS multiplies matrices in the calling thread."""


def numbers(weight: Weight, shape: Sequence[int] | None = None, *, transposed: bool = False) -> Numbers:
    """Return what reads a whole weight in float64, in another shape or with its axes exchanged, and keeps it for a while."""

    def made() -> Array:
        import numpy as np

        array = weight.numpy().astype(np.float64).reshape(weight.shape if shape is None else shape)
        return np.ascontiguousarray(array.T) if transposed else array

    return kept(made)


def kept(make: Numbers) -> Numbers:
    """Return a function that makes an array when it is needed, and keeps it while it is among those used last."""
    key = object()
    return lambda: _KEPT.get(key, make, _KEPT_BYTES)


def plus(delta: Rows, scale: float = 1.0) -> Apply:
    """Add a multiple of other rows."""

    def change(before: Rows, _shape: tuple[int, ...]) -> Rows:
        def rows(first: int, last: int) -> Array:
            added = delta(first, last) * scale
            added += before(first, last)
            return added

        return rows

    return change


def product(left: Numbers, right: Numbers) -> Rows:
    """Return the rows of the product of two matrices."""
    return lambda first, last: _multiplied(left()[first:last], right())


def _multiplied(left: Array, right: Array) -> Array:
    """Multiply two matrices in bands of columns, so small that BLAS starts no threads, which would mostly wait."""
    import numpy as np

    made = np.empty((left.shape[0], right.shape[1]))
    step = max(_ONE_THREAD // max(left.size, 1), 1)
    for first in range(0, right.shape[1], step):
        np.matmul(left, right[:, first : first + step], out=made[:, first : first + step])
    return made


def elementwise(one: Rows, other: Rows) -> Rows:
    """Return the rows of one array times those of another, number by number."""
    return lambda first, last: one(first, last) * other(first, last)


def tucker(core: Numbers, left: Numbers, right: Numbers) -> Rows:
    """Return the rows of a Tucker product: sum over i and j of left[i, row] core[i, j, ...] right[j, column].

    The result has the axes row, column and those after the second of `core`.
    """

    def rows(first: int, last: int) -> Array:
        import numpy as np

        inner = np.tensordot(left()[:, first:last], core(), axes=(0, 0))  # row, j, ...
        return np.moveaxis(np.tensordot(inner, right(), axes=(1, 0)), -1, 1).reshape(last - first, -1)

    return rows


def kronecker(one: Numbers, other: Numbers) -> Rows:
    """Return the rows of a Kronecker product of matrices; the second may have more axes, which follow."""

    def rows(first: int, last: int) -> Array:
        import numpy as np

        places, inner = np.arange(first, last), other().reshape(len(other()), -1)
        pairs = one()[places // len(inner)][:, :, None] * inner[places % len(inner)][:, None, :]
        made: Array = pairs.reshape(last - first, -1)
        return made

    return rows


def stacked(left: Numbers, right: Numbers, height: int) -> Rows:
    """Return the rows of several products of matrices under each other, each with `height` rows: e, row, r times e, r, column."""

    def rows(first: int, last: int) -> Array:
        import numpy as np

        parts = []
        for block in range(first // height, -(-last // height)):
            top = block * height
            parts.append(_multiplied(left()[block, max(first - top, 0) : last - top], right()[block]))
        return np.concatenate(parts)

    return rows


def times_rows(factors: Numbers) -> Apply:
    """Multiply each row by its own factor."""
    return lambda before, _shape: lambda first, last: before(first, last) * factors()[first:last, None]


def times_columns(factors: Numbers) -> Apply:
    """Multiply what belongs to each place of the second axis by its own factor."""
    return lambda before, shape: lambda first, last: before(first, last) * _spread(factors(), shape)


def with_row_norms(norms: Numbers, epsilon: float = 0.0) -> Apply:
    """Give each row this Euclidean norm."""

    def change(before: Rows, _shape: tuple[int, ...]) -> Rows:
        def rows(first: int, last: int) -> Array:
            import numpy as np

            values = before(first, last)
            lengths = np.sqrt(np.einsum("ij,ij->i", values, values)) + epsilon
            made: Array = values * (norms()[first:last] / lengths)[:, None]
            return made

        return rows

    return change


def with_column_norms(norms: Numbers, epsilon: float = 0.0) -> Apply:
    """Give each place of the second axis this Euclidean norm over all others."""

    def change(before: Rows, shape: tuple[int, ...]) -> Rows:
        def squares() -> Array:
            import numpy as np

            total = np.zeros(shape[1])
            step = max((1 << 16) // max(shape[1], 1), 1)
            for first in range(0, shape[0], step):
                values = before(first, min(first + step, shape[0])).reshape(-1, shape[1], max(_inner(shape), 1))
                total += np.einsum("ijk,ijk->j", values, values)
            return total

        factors = kept(lambda: norms() / (squares() ** 0.5 + epsilon))
        return lambda first, last: before(first, last) * _spread(factors(), shape)

    return change


def _inner(shape: tuple[int, ...]) -> int:
    return prod(shape[2:])


def _spread(factors: Array, shape: tuple[int, ...]) -> Array:
    """Repeat the factors of the second axis for the numbers of the axes after it."""
    return factors.repeat(_inner(shape)) if len(shape) > 2 else factors


def with_rows(places: Sequence[int], values: Numbers) -> Apply:
    """Replace some rows by others."""
    ordered = sorted((place, at) for at, place in enumerate(places))

    def change(before: Rows, _shape: tuple[int, ...]) -> Rows:
        def rows(first: int, last: int) -> Array:
            made = before(first, last)
            for place, at in ordered[bisect_left(ordered, (first, 0)) : bisect_left(ordered, (last, 0))]:
                made[place - first] = values()[at].reshape(-1)
            return made

        return rows

    return change


def rotated_rows(rotations: Numbers) -> Apply:
    """Replace each block of rows by the transpose of its own matrix times them."""

    def change(before: Rows, shape: tuple[int, ...]) -> Rows:
        def rows(first: int, last: int) -> Array:
            import numpy as np

            matrices = rotations()
            size = matrices.shape[1]
            low, high = first // size, -(-last // size)
            blocks = before(low * size, high * size).reshape(high - low, size, -1)
            made: Array = np.matmul(matrices[low:high].transpose(0, 2, 1), blocks)
            return made.reshape((high - low) * size, -1)[first - low * size : last - low * size]

        return rows

    return change


def rotated_columns(rotations: Numbers) -> Apply:
    """Replace each block of columns by them times the transpose of its own matrix."""

    def change(before: Rows, _shape: tuple[int, ...]) -> Rows:
        def rows(first: int, last: int) -> Array:
            import numpy as np

            matrices = rotations()
            blocks = before(first, last).reshape(last - first, len(matrices), -1).transpose(1, 0, 2)
            made: Array = np.matmul(blocks, matrices.transpose(0, 2, 1)).transpose(1, 0, 2)
            return made.reshape(last - first, -1)

        return rows

    return change
