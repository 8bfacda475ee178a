"""Attention: each place of the query takes a mean of the values, weighted by how its query fits their keys."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.program.norms import Softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Array
    from steelyard.device.program.arithmetic import Arithmetic


MASKED = -1e30
"""What is added to numbers that a mask leaves out"""


class Attention(NamedTuple):
    """`softmax(q k' / sqrt(dim)) v` for each head, of query, key and value after their projections.

    The inputs are (steps, heads * dim) for `heads` heads of the query and `key_heads` of key and value, each of which serves
    several heads of the query. With `heads` 0 they are (heads, steps, dim), as is the output. With `causal` a step attends to
    itself and those before.
    """

    heads: int
    key_heads: int
    causal: bool

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the weighted means for each step of the query."""
        import numpy as np

        counts = (self.heads, self.key_heads, self.key_heads)
        q, k, v = (_by_head(arithmetic.widened(each), count) for each, count in zip(inputs, counts, strict=True))
        k, v = (each.repeat(q.shape[1] // each.shape[1], axis=1) for each in (k, v))
        sums = arithmetic.started((*q.shape[:3], k.shape[2]))
        for place in range(q.shape[3]):
            sums += q[:, :, :, place, None] * k[:, :, None, :, place]
        scores = arithmetic.cast(sums) / np.asarray(math.sqrt(q.shape[3]), arithmetic.numbers)
        if self.causal:
            scores = np.where(np.tri(*scores.shape[2:]) > 0, scores, np.asarray(-np.inf, scores.dtype))
        shares = arithmetic.widened(Softmax("softmax", 3).run([scores], arithmetic))
        means = arithmetic.started((*q.shape[:3], v.shape[3]))
        for step in range(v.shape[2]):
            means += shares[:, :, :, step, None] * v[:, :, None, step]
        made = arithmetic.cast(means)
        return made.swapaxes(1, 2).reshape(len(made), q.shape[2], q.shape[1] * v.shape[3]) if self.heads else made


def _by_head(array: Array, heads: int) -> Array:
    """Return (batch, heads, steps, dim)."""
    return array.reshape(*array.shape[:2], heads, array.shape[2] // heads).swapaxes(1, 2) if heads else array


class MatMul(NamedTuple):
    """The product of the last two axes of two inputs, `(..., m, k)` and `(..., k, n)`; other axes of length 1 are repeated."""

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the matrices (..., m, n)."""
        import numpy as np

        first, second = map(arithmetic.widened, inputs)
        if first.shape[-1] != second.shape[-2]:
            raise ValueError(f"{first.shape[-1]} columns for {second.shape[-2]} rows")
        before = np.broadcast_shapes(first.shape[:-2], second.shape[:-2])
        sums = arithmetic.started((*before, first.shape[-2], second.shape[-1]))
        for place in range(first.shape[-1]):
            sums += first[..., :, place, None] * second[..., None, place, :]
        return arithmetic.cast(sums)
