"""Singular values of a matrix that is read row by row: all of a small matrix, the largest of a large one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard import sizes

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Blocks = Callable[[], Iterator[tuple[int, Array]]]
    """Yields blocks: the index of the first row, and the rows."""

MORE = 16
"""Extra vectors beyond those requested, which make the last requested values accurate."""
POWERS = 3
"""Number of power iterations, which suppress the small singular values."""
NEAR_SINGULAR = 1e-10
"""Where the least eigenvalue of the products is a smaller share of the greatest, its root has lost too many digits."""
LEAST_SQUARE = 1e-250
"""Below it, squares have lost digits on their own."""


class Singular(NamedTuple):
    """Singular values, the largest first, the method, and a bound on the error of each."""

    values: Array
    method: str
    error: float


def singular_values(blocks: Blocks, shape: tuple[int, int], exact: int, largest: int, *, quick: bool = False) -> Singular:
    """Return all singular values if the shorter side is at most `exact`, else the `largest` ones.

    Small matrices are decomposed directly. For long matrices the eigenvalues of the Gram matrix are computed, which makes
    small values less exact. For large matrices the largest values are computed by random projection (Halko, Martinsson and
    Tropp, 2011); each is within `error` of a true one. `quick` uses the Gram matrix of small matrices too, in a third of the
    time, unless one is so near to singular that its rank would be in doubt.
    """
    if min(shape) > exact:
        return _randomised(blocks, shape, largest)
    if shape[0] * shape[1] <= sizes.WHOLE_MATRIX:
        matrix = np.concatenate([block for _, block in blocks()])
        if quick and (found := _by_products(matrix)) is not None:
            return found
        values = np.linalg.svd(matrix, compute_uv=False)
        return Singular(values, "exact", float(max(shape) * np.finfo(np.float64).eps * values[0]))
    gram = _gram(blocks, shape)
    squares = np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)
    values = np.sqrt(squares)
    return Singular(values, "exact, by products", float(np.sqrt(max(shape) * np.finfo(np.float64).eps) * values[0]))


def of_stack(matrices: Array) -> list[Singular]:
    """Return all singular values of each of some small matrices of one shape: a call for each would take most of the time."""
    error = max(matrices.shape[1:]) * np.finfo(np.float64).eps
    return [Singular(values, "exact", float(error * values[0])) for values in np.linalg.svd(matrices, compute_uv=False)]


def _by_products(matrix: Array) -> Singular | None:
    """Return the roots of the eigenvalues of the Gram matrix; None where the least of them would be too inexact.

    An eigenvalue is off by at most max(shape) * eps times the greatest, so its root by that divided by the least root.
    """
    rows = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    with np.errstate(over="ignore", invalid="ignore"):
        gram = rows @ rows.conj().T
    if not np.isfinite(gram).all():
        return None
    squares = np.linalg.eigvalsh(gram)[::-1]
    if not squares[-1] > max(NEAR_SINGULAR * squares[0], LEAST_SQUARE):
        return None
    values = np.sqrt(squares)
    return Singular(values, "exact, by products", float(max(matrix.shape) * np.finfo(np.float64).eps * squares[0] / values[-1]))


def _gram(blocks: Blocks, shape: tuple[int, int]) -> Array:
    """Return the Gram matrix of the columns, or of the rows if there are fewer."""
    if shape[1] <= shape[0]:
        return np.asarray(sum(block.conj().T @ block for _, block in blocks()))
    rows = np.concatenate([block for _, block in blocks()])  # only few rows, though they may be long
    return np.asarray(rows @ rows.conj().T)


def _randomised(blocks: Blocks, shape: tuple[int, int], largest: int) -> Singular:
    width = min(largest + MORE, *shape)
    basis = np.random.default_rng(0).standard_normal((shape[1], width))
    for _ in range(POWERS):
        basis, _ = np.linalg.qr(_back(blocks, np.linalg.qr(_through(blocks, basis))[0], shape[1]))
    inside = _through(blocks, basis)
    left, values, right = np.linalg.svd(inside, full_matrices=False)
    vectors = basis @ right.conj().T
    keep = min(largest, width)
    residual = _back(blocks, left[:, :keep], shape[1]) - vectors[:, :keep] * values[:keep]
    error = float(np.linalg.norm(residual, axis=0).max(initial=0.0))
    return Singular(values[:keep], f"randomised, the {keep} largest", error)


def _through(blocks: Blocks, vectors: Array) -> Array:
    """Return the product of the matrix and some vectors."""
    return np.concatenate([block @ vectors for _, block in blocks()])


def _back(blocks: Blocks, vectors: Array, columns: int) -> Array:
    """Return the product of the transposed matrix and some vectors."""
    summed = np.zeros((columns, vectors.shape[1]), vectors.dtype)
    for first, block in blocks():
        product = block.conj().T @ vectors[first : first + len(block)]
        summed = summed + product if np.iscomplexobj(product) else np.add(summed, product, out=summed)
    return summed
