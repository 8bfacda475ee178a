"""The rows of an embedding on its first principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError, printable
from steelyard.numerics.matrices import one_blas_thread, row_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from steelyard.core.weight import Array

    Blocks = Callable[[], Iterator[tuple[int, Array]]]
    """Yields blocks: the index of the first row, and the rows in float64."""

EXACT = 2048
"""The most columns of which the matrix of covariances is computed: 32 MiB."""
MORE, POWERS = 14, 4
"""For wider embeddings: extra vectors, and power iterations, as for singular values."""


class Components(NamedTuple):
    """The `points` of the rows, one column a component, NaN for rows with NaN or Inf, of which there are `lost`.

    `shares` are the parts of the variance along each component.
    """

    points: Array
    shares: Array
    lost: int


def components(weight: Weight, count: int = 2) -> Components:
    """Return the rows of a matrix on the first principal components of their differences from the mean row.

    Each component has the sign that makes the largest of its entries positive, so equal weights give equal points. The weight
    is read three times, in blocks; memory is that of a block, the points, and the covariances of at most 2,048 columns. Wider
    matrices are read seven times, and decomposed by random projection (Halko, Martinsson and Tropp, 2011).

    Raises `ShapeError` for a weight that is not a matrix with as many rows and columns as components, or has no finite row.

    Examples:
        >>> from steelyard.core.readers import from_array
        >>> found = components(from_array("wte", np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])), 1)
        >>> found.points.tolist(), found.shares.tolist()
        ([[-1.0], [0.0], [1.0]], [1.0])
    """
    if not has_components(weight) or min(weight.shape) < count:
        raise ShapeError(f"{printable(weight.name)} of shape {list(weight.shape)} is not a matrix with {count} components")
    rows, columns = weight.shape

    def blocks() -> Iterator[tuple[int, Array]]:
        return row_blocks(weight, (rows, columns))

    mean, total, kept = _mean(blocks, columns)
    if not kept:
        raise ShapeError(f"{printable(weight.name)} has no row without NaN or Inf; steelyard.check finds them")
    with one_blas_thread():
        axes = _exact(blocks, mean, count) if columns <= EXACT else _randomised(blocks, mean, count)
    axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], 0))
    points = np.concatenate([_centred(block, mean, np.nan) @ axes for _, block in blocks()])
    squares = np.nansum(np.square(points), axis=0)
    return Components(points, squares / total if total > 0 else np.zeros(count), rows - kept)


def has_components(weight: Weight) -> bool:
    """Whether a weight is a matrix of real numbers with more than one row and column."""
    return len(weight.shape) == 2 and min(weight.shape) > 1 and not weight.dtype.startswith("complex")


def is_embedding(weight: Weight) -> bool:
    """Whether a weight is an embedding: by its role, or by its name in a file that knows no roles."""
    named = weight.name.lower().rpartition(".weight")[0].rpartition(".")[2] or weight.name.lower()
    return has_components(weight) and (weight.role is Role.EMBEDDING or (weight.role is Role.OTHER and "embed" in named))


def _mean(blocks: Blocks, columns: int) -> tuple[Array, float, int]:
    """Return the mean of the finite rows, the sum of squares of their differences from it, and their number."""
    mean, total, kept = np.zeros(columns), 0.0, 0
    for _, block in blocks():
        rows = block[np.isfinite(block).all(axis=1)]
        if len(rows):  # the sums of two sets of rows, by Chan, Golub and LeVeque
            own = rows.mean(axis=0)
            apart = own - mean
            total += float(np.square(rows - own).sum() + np.square(apart).sum() * kept * len(rows) / (kept + len(rows)))
            mean += apart * (len(rows) / (kept + len(rows)))
            kept += len(rows)
    return mean, total, kept


def _centred(block: Array, mean: Array, lost: float = 0.0) -> Array:
    """Return rows less the mean row; those with NaN or Inf are `lost` throughout."""
    found: Array = np.where(np.isfinite(block).all(axis=1, keepdims=True), block - mean, lost)
    return found


def _exact(blocks: Blocks, mean: Array, count: int) -> Array:
    gram = np.zeros((len(mean), len(mean)))
    for _, block in blocks():
        rows = _centred(block, mean)
        gram += rows.T @ rows
    vectors: Array = np.linalg.eigh(gram)[1]
    return vectors[:, ::-1][:, :count].copy()


def _randomised(blocks: Blocks, mean: Array, count: int) -> Array:
    basis = np.random.default_rng(0).standard_normal((len(mean), min(count + MORE, len(mean))))
    for _ in range(POWERS):
        basis = np.linalg.qr(_squared(blocks, mean, basis))[0]
    inside = basis.T @ _squared(blocks, mean, basis)
    vectors = np.linalg.eigh((inside + inside.T) / 2)[1]
    found: Array = basis @ vectors[:, ::-1][:, :count]
    return found


def _squared(blocks: Blocks, mean: Array, vectors: Array) -> Array:
    """Return the product of the covariances, times the number of rows, and some vectors."""
    summed = np.zeros_like(vectors)
    for _, block in blocks():
        rows = _centred(block, mean)
        summed += rows.T @ (rows @ vectors)
    return summed
