"""Changes of the rows of a weight in float64: products of low rank, norms, rotations, and rows that are replaced.

Each returns a function of the rows before the change (`core.merging.Apply`), of which a band of columns can be asked for. What
they need of an adapter is read when rows are, and kept while it is among what was used last; of a large factor only the rows and
columns that are needed are read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING

from steelyard.core.merging import part_of
from steelyard.core.recent import RecentBlocks
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from steelyard.core.merging import Apply, Rows
    from steelyard.core.weight import Array, Weight

    Numbers = Callable[[], Array]
    """Returns a whole array in float64."""

_KEPT = RecentBlocks()
_KEPT_BYTES = 1 << 26
_ONE_THREAD = 1 << 18
"""Products of two numbers up to which OpenBLAS multiplies matrices in the calling thread."""
_BAND = 1 << 16
"""Columns of a long row that are squared at a time."""
_ALL = slice(None)


class Stored:
    """A weight in float64, in another shape or with its axes exchanged: read whole, and kept for a while, or in parts."""

    __slots__ = ("_shape", "_transposed", "_weight", "_whole")

    def __init__(self, weight: Weight, shape: Sequence[int] | None = None, *, transposed: bool = False) -> None:
        self._weight = weight
        self._shape = weight.shape if shape is None else tuple(shape)
        self._transposed = transposed
        self._whole = kept(self._made)

    def __call__(self) -> Array:
        return self._whole()

    def part(self, rows: slice, columns: slice) -> Array:
        """Return some rows and columns of a matrix; of one that takes too much memory, no more is read."""
        if self._weight.size * 8 <= _KEPT_BYTES:
            return self._whole()[rows, columns]
        if self._transposed:
            return self._read(columns, rows).T
        return self._read(rows, columns)

    def _read(self, rows: slice, columns: slice) -> Array:
        (first, last, _), (low, high, _) = (each.indices(n) for each, n in zip((rows, columns), self._shape, strict=True))
        return part_of(self._weight, self._shape[1], first, last, slice(low, high))

    def _made(self) -> Array:
        import numpy as np

        array = self._weight.numpy().astype(np.float64).reshape(self._shape)
        return np.ascontiguousarray(array.T) if self._transposed else array


def numbers(weight: Weight, shape: Sequence[int] | None = None, *, transposed: bool = False) -> Stored:
    """Return what reads a weight in float64, in another shape or with its axes exchanged, and keeps it for a while."""
    return Stored(weight, shape, transposed=transposed)


def _part(matrix: Numbers, rows: slice, columns: slice) -> Array:
    return matrix.part(rows, columns) if isinstance(matrix, Stored) else matrix()[rows, columns]


def kept(make: Numbers) -> Numbers:
    """Return a function that makes an array when it is needed, and keeps it while it is among those used last."""
    key = object()
    return lambda: _KEPT.get(key, make, _KEPT_BYTES)


def plus(delta: Rows, scale: float = 1.0) -> Apply:
    """Add a multiple of other rows."""

    def change(before: Rows, _shape: tuple[int, ...]) -> Rows:
        def rows(first: int, last: int, columns: slice) -> Array:
            added = delta(first, last, columns) * scale
            added += before(first, last, columns)
            return added

        return rows

    return change


def product(left: Numbers, right: Numbers) -> Rows:
    """Return the rows of the product of two matrices."""
    return lambda first, last, columns: _multiplied(_part(left, slice(first, last), _ALL), _part(right, _ALL, columns))


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
    return lambda first, last, columns: one(first, last, columns) * other(first, last, columns)


def tucker(core: Numbers, left: Numbers, right: Numbers) -> Rows:
    """Return the rows of a Tucker product: sum over i and j of left[i, row] core[i, j, ...] right[j, column].

    The result has the axes row, column and those after the second of `core`.
    """

    def rows(first: int, last: int, columns: slice) -> Array:
        import numpy as np

        inner = np.tensordot(left()[:, first:last], core(), axes=(0, 0))  # row, j, ...
        return np.moveaxis(np.tensordot(inner, right(), axes=(1, 0)), -1, 1).reshape(last - first, -1)[:, columns]

    return rows


def kronecker(one: Numbers, other: Numbers) -> Rows:
    """Return the rows of a Kronecker product of matrices; the second may have more axes, which follow."""

    def rows(first: int, last: int, columns: slice) -> Array:
        import numpy as np

        places, inner = np.arange(first, last), other().reshape(len(other()), -1)
        pairs = one()[places // len(inner)][:, :, None] * inner[places % len(inner)][:, None, :]
        made: Array = pairs.reshape(last - first, -1)[:, columns]
        return made

    return rows


def stacked(left: Numbers, right: Numbers, height: int) -> Rows:
    """Return the rows of several products of matrices under each other, each with `height` rows: e, row, r times e, r, column."""

    def rows(first: int, last: int, columns: slice) -> Array:
        import numpy as np

        parts = []
        for block in range(first // height, -(-last // height)):
            top = block * height
            parts.append(_multiplied(left()[block, max(first - top, 0) : last - top], right()[block][:, columns]))
        return np.concatenate(parts)

    return rows


def times_rows(factors: Numbers) -> Apply:
    """Multiply each row by its own factor."""
    return lambda before, _shape: lambda first, last, columns: before(first, last, columns) * factors()[first:last, None]


def times_columns(factors: Numbers) -> Apply:
    """Multiply what belongs to each place of the second axis by its own factor."""
    return lambda before, shape: lambda first, last, columns: before(first, last, columns) * _spread(factors(), shape, columns)


def with_row_norms(norms: Numbers, epsilon: float = 0.0) -> Apply:
    """Give each row this Euclidean norm."""

    def change(before: Rows, shape: tuple[int, ...]) -> Rows:
        width = prod(shape[1:])
        all_squares = kept(lambda: _squares(before, shape[0], width))

        def rows(first: int, last: int, columns: slice) -> Array:
            import numpy as np

            values = before(first, last, columns)
            squares = np.einsum("ij,ij->i", values, values) if values.shape[1] == width else all_squares()[first:last]
            made: Array = values * (norms()[first:last] / (np.sqrt(squares) + epsilon))[:, None]
            return made

        return rows

    return change


def in_turn(first: Apply, second: Apply) -> Apply:
    """Change rows by one after the other."""
    return lambda before, shape: second(first(before, shape), shape)


def normed(change: Apply, norms: Weight, shape: tuple[int, ...], axis: int, epsilon: float = 0.0) -> Apply:
    """Return a change and then the norms of DoRA: those of the rows, or of the places of the second axis.

    Raises `ShapeError` for norms that are not as many.
    """
    if norms.size != shape[axis]:
        raise ShapeError(f"its norms have shape {list(norms.shape)}, and the weight {list(shape)}")
    give = with_column_norms if axis else with_row_norms
    return in_turn(change, give(numbers(norms, (norms.size,)), epsilon))


def _squares(before: Rows, height: int, width: int) -> Array:
    """Return the sum of the squares of each row, a band of columns after the other."""
    import numpy as np

    total = np.zeros(height)
    for row in range(height):
        for low in range(0, width, _BAND):
            values = before(row, row + 1, slice(low, min(low + _BAND, width)))
            total[row] += np.einsum("ij,ij->i", values, values)[0]
    return total


def with_column_norms(norms: Numbers, epsilon: float = 0.0) -> Apply:
    """Give each place of the second axis this Euclidean norm over all others."""

    def change(before: Rows, shape: tuple[int, ...]) -> Rows:
        def squares() -> Array:
            import numpy as np

            total = np.zeros(shape[1])
            step = max((1 << 16) // max(shape[1], 1), 1)
            for first in range(0, shape[0], step):
                values = before(first, min(first + step, shape[0]), _ALL).reshape(-1, shape[1], max(_inner(shape), 1))
                total += np.einsum("ijk,ijk->j", values, values)
            return total

        factors = kept(lambda: norms() / (squares() ** 0.5 + epsilon))
        return lambda first, last, columns: before(first, last, columns) * _spread(factors(), shape, columns)

    return change


def _inner(shape: tuple[int, ...]) -> int:
    return prod(shape[2:])


def _spread(factors: Array, shape: tuple[int, ...], columns: slice) -> Array:
    """Repeat the factors of the second axis for the numbers of the axes after it, and return those of some columns."""
    return (factors.repeat(_inner(shape)) if len(shape) > 2 else factors)[columns]


def with_rows(places: Sequence[int], values: Numbers) -> Apply:
    """Replace some rows by others."""
    ordered = sorted((place, at) for at, place in enumerate(places))

    def change(before: Rows, _shape: tuple[int, ...]) -> Rows:
        def rows(first: int, last: int, columns: slice) -> Array:
            made = before(first, last, columns)
            for place, at in ordered[bisect_left(ordered, (first, 0)) : bisect_left(ordered, (last, 0))]:
                made[place - first] = values()[at].reshape(-1)[columns]
            return made

        return rows

    return change


def rotated_rows(rotations: Numbers) -> Apply:
    """Replace each block of rows by the transpose of its own matrix times them."""

    def change(before: Rows, shape: tuple[int, ...]) -> Rows:
        def rows(first: int, last: int, columns: slice) -> Array:
            import numpy as np

            matrices = rotations()
            size = matrices.shape[1]
            low, high = first // size, -(-last // size)
            blocks = before(low * size, high * size, columns).reshape(high - low, size, -1)
            made: Array = np.matmul(matrices[low:high].transpose(0, 2, 1), blocks)
            return made.reshape((high - low) * size, -1)[first - low * size : last - low * size]

        return rows

    return change


def rotated_columns(rotations: Numbers) -> Apply:
    """Replace each block of columns by them times the transpose of its own matrix."""

    def change(before: Rows, _shape: tuple[int, ...]) -> Rows:
        def rows(first: int, last: int, columns: slice) -> Array:
            import numpy as np

            matrices = rotations()
            blocks = before(first, last, _ALL).reshape(last - first, len(matrices), -1).transpose(1, 0, 2)
            made: Array = np.matmul(blocks, matrices.transpose(0, 2, 1)).transpose(1, 0, 2)
            return made.reshape(last - first, -1)[:, columns]

        return rows

    return change
