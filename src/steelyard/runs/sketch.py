"""The sketch of many numbers: 1,021 sums with random signs, from which distances and angles follow.

It is a count sketch (Charikar, Chen and Farach-Colton, 2002): number i of a weight is added to entry (i + a) mod 1021 with a
random sign. The dot product of two sketches is then on average that of the vectors, and a distance is off by some percent of
itself. 1,021 is a prime, so that no row or column of a matrix falls into a few entries alone. The signs are those of a block,
which are used for all blocks, times one sign for each block.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from steelyard.runs.layout import SKETCH

if TYPE_CHECKING:
    from steelyard.core.weight import Array

WIDTH = 1021
ROWS = 256
BLOCK = WIDTH * ROWS
"""The numbers that are added at a time; a weight is cut into blocks from its first number on."""


class Signs:
    """The random signs and entries of the weights of these sizes; equal for equal sizes and seeds, on every machine."""

    __slots__ = ("_block", "_flips", "_starts", "_turns")

    def __init__(self, sizes: Sequence[int], seed: int) -> None:
        blocks = [-(-size // BLOCK) for size in sizes]
        self._starts = [0, *accumulate(blocks)]
        self._block = _block(seed)
        bits = np.random.PCG64([seed, 1])
        self._turns = (bits.random_raw(len(sizes)) % np.uint64(WIDTH)).astype(int).tolist()
        self._flips = _signs(bits, self._starts[-1]).tolist()

    def add(self, total: Array, rank: int, block: int, numbers: Array) -> None:
        """Add a block of the weight of this rank to a sketch, `total`, in float64."""
        rows, rest = divmod(len(numbers), WIDTH)
        sums = np.einsum("ij,ij->j", numbers[: rows * WIDTH].reshape(rows, WIDTH), self._block[:rows]).astype(np.float64)
        if rest:
            sums[:rest] += numbers[rows * WIDTH :] * self._block[rows, :rest]
        sums *= self._flips[self._starts[rank] + block]
        turn = self._turns[rank]
        total[turn:WIDTH] += sums[: WIDTH - turn]
        total[:turn] += sums[WIDTH - turn :]


@cache
def _block(seed: int) -> Array:
    return _signs(np.random.PCG64(seed), BLOCK).reshape(ROWS, WIDTH)


def _signs(bits: np.random.PCG64, count: int) -> Array:
    """Return random signs, made of raw bits, which are the same in all versions of NumPy."""
    raw: Array = bits.random_raw(count // 64 + 1).astype("<u8").view(np.uint8)
    return np.unpackbits(raw)[:count].astype(np.float32) * 2 - 1


def empty() -> Array:
    """Return the sketch of no numbers."""
    return np.zeros(SKETCH)
