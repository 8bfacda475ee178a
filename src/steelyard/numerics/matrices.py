"""Weights as matrices: outputs against all other axes; whole, sampled, or row by row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard import sizes
from steelyard.core.readers import Live
from steelyard.core.weight import Weight
from steelyard.numerics.blocks import blocks_of
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Array

TRACY_WIDOM = (-5.1, 3.2724)
"""The 0.1 % and 99.9 % quantiles of the Tracy-Widom distribution (beta = 1)."""


def matrix_shape(weight: Weight) -> tuple[int, int] | None:
    """Return the rows and columns of a weight as a matrix; None if it has fewer than two axes, or no elements.

    A convolution is unfolded: its outputs against inputs and space. The memory order stays as it is, so a kernel whose last
    axis is that of its outputs has them as columns.

    >>> from steelyard.core.readers import from_array
    >>> matrix_shape(from_array("w", np.zeros((3, 3, 8, 16)), axes="kh kw in out"))
    (72, 16)
    """
    shape = weight.shape
    if len(shape) < 2 or not weight.size:
        return None
    words = weight.axes.split()
    last = words[-1].endswith("out") if words else len(shape) > 2 and weight.name.endswith("kernel")
    return (prod(shape[:-1]), shape[-1]) if last else (shape[0], prod(shape[1:]))


def as_float64(numbers: Array) -> Array:
    """Return numbers as float64, complex ones as complex128."""
    return numbers.astype(np.complex128 if numbers.dtype.kind == "c" else np.float64)


def whole(weight: Weight) -> Array:
    """Return a weight as a matrix in float64."""
    rows, columns = matrix_shape(weight) or (1, weight.size)
    return as_float64(weight.read(0, weight.size)).reshape(rows, columns)


def row_blocks(weight: Weight, shape: tuple[int, int]) -> Iterator[tuple[int, Array]]:
    """Yield blocks of rows in float64, each with the index of its first row."""
    step = max(sizes.MATRIX_BLOCK // shape[1], 1) * shape[1]
    for at, block in blocks_of(weight, 0, weight.size, step):
        yield at // shape[1], as_float64(block).reshape(-1, shape[1])


def sample(weight: Weight, shape: tuple[int, int], side: int) -> Array:
    """Return `side` rows and columns of a weight in float64, the same sample for all weights of one shape.

    Rows are drawn at random where each can be read alone, else they are consecutive.
    """
    rows, columns = shape
    height, width = min(side, rows), min(side, columns)
    chance = np.random.default_rng([rows, columns])
    left = int(chance.integers(columns - width + 1))
    # other readers, such as those of compressed files, would decode a whole block for each row
    if isinstance(weight.read, (Stored, Live)):
        picked = np.sort(chance.choice(rows, height, replace=False))
        runs = [weight.read(int(row) * columns + left, int(row) * columns + left + width) for row in picked]
        return as_float64(np.stack(runs))
    height = max(min(height, 4 * sizes.MATRIX_BLOCK // columns), 1)
    top = int(chance.integers(rows - height + 1))
    block = weight.read(top * columns, (top + height) * columns).reshape(height, columns)
    return as_float64(block[:, left : left + width])


def one_blas_thread() -> AbstractContextManager[Any]:
    """Limit BLAS to one thread if threadpoolctl is installed: on a busy machine its threads wait for each other."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    limited: AbstractContextManager[Any] = threadpool_limits(1)
    return limited


def share_of(values: Array, rank: int) -> float:
    """Return the share of the first `rank` singular values in the sum of squares."""
    squares = values * values
    total = float(squares.sum())
    return float(squares[:rank].sum()) / total if total else 0.0


def chance_range(shape: tuple[int, ...], frobenius: float) -> tuple[float, float]:
    """Return the 99.8 % interval of the largest singular value of a random matrix of this shape and l2 norm.

    After Johnstone (2001): for n x p Gaussian entries of variance v, the largest eigenvalue of X'X is about v * (m + s * t),
    with m = (sqrt(n - 1) + sqrt(p))^2, s = sqrt(m) * (1 / sqrt(n - 1) + 1 / sqrt(p))^(1/3), and t of the distribution of
    Tracy and Widom.
    """
    rows, columns = shape
    variance = frobenius * frobenius / (rows * columns)
    one, other = max(rows - 1, 1) ** 0.5, columns**0.5
    spread = (one + other) * (1 / one + 1 / other) ** (1 / 3)
    low, high = ((variance * max((one + other) ** 2 + unit * spread, 0.0)) ** 0.5 for unit in TRACY_WIDOM)
    return low, high
