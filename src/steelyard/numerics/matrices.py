"""Weights as matrices: outputs against all the rest, whole, in part, or row by row."""

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
"""Where the largest eigenvalue of random matrices lies but for one in a thousand on either side, in units of its spread."""


def matrix_shape(weight: Weight) -> tuple[int, int] | None:
    """Return rows and columns of a weight as a matrix, None for one that is none: fewer than two axes, or empty.

    A convolution is unfolded: its outputs against inputs and space, whichever axis they are. Rows and columns are
    those of the numbers as they lie, so a kernel whose outputs come last has them as columns.

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
    """Yield the number of a first row and some rows in float64, in order."""
    step = max(sizes.MATRIX_BLOCK // shape[1], 1) * shape[1]
    for at, block in blocks_of(weight, 0, weight.size, step):
        yield at // shape[1], as_float64(block).reshape(-1, shape[1])


def sample(weight: Weight, shape: tuple[int, int], side: int) -> Array:
    """Return `side` rows and columns of a weight, the same for each of that shape, in float64.

    Rows are drawn where they can be read one by one, and follow one another elsewhere.
    """
    rows, columns = shape
    height, width = min(side, rows), min(side, columns)
    chance = np.random.default_rng([rows, columns])
    left = int(chance.integers(columns - width + 1))
    if isinstance(weight.read, (Stored, Live)):
        picked = np.sort(chance.choice(rows, height, replace=False))
        runs = [weight.read(int(row) * columns + left, int(row) * columns + left + width) for row in picked]
        return as_float64(np.stack(runs))
    height = max(min(height, 4 * sizes.MATRIX_BLOCK // columns), 1)
    top = int(chance.integers(rows - height + 1))
    block = weight.read(top * columns, (top + height) * columns).reshape(height, columns)
    return as_float64(block[:, left : left + width])


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keep BLAS to one thread where threadpoolctl is installed: on a busy machine its threads wait for one another."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    limited: AbstractContextManager[Any] = threadpool_limits(1)
    return limited


def share_of(values: Array, rank: int) -> float:
    """Return which share of the sum of squares the first `rank` singular values hold."""
    squares = values * values
    total = float(squares.sum())
    return float(squares[:rank].sum()) / total if total else 0.0


def chance_range(shape: tuple[int, ...], frobenius: float) -> tuple[float, float]:
    """Return where the largest singular value of a random matrix of this shape and l2 norm lies, 998 times of a thousand.

    Johnstone's approximation: the largest eigenvalue has its centre at (sqrt(n - 1) + sqrt(p))^2 variances, a
    spread, and the distribution of Tracy and Widom.
    """
    rows, columns = shape
    variance = frobenius * frobenius / (rows * columns)
    one, other = max(rows - 1, 1) ** 0.5, columns**0.5
    spread = (one + other) * (1 / one + 1 / other) ** (1 / 3)
    low, high = ((variance * max((one + other) ** 2 + unit * spread, 0.0)) ** 0.5 for unit in TRACY_WIDOM)
    return low, high
