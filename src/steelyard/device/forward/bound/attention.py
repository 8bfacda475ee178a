"""The bound of attention: two sums of products, in which both factors have errors, and a softmax between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.device.forward.bound.bounded import Bounded, Roundings
from steelyard.device.forward.bound.norms import softmax
from steelyard.device.program.norms import Softmax

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.program.attention import Attention, MatMul


def attention(operation: Attention, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of the weighted means for each step of the query."""
    import numpy as np

    counts = (operation.heads, operation.key_heads, operation.key_heads)
    q, k, v = (Bounded(*(_by_head(each, count) for each in x)) for x, count in zip(inputs, counts, strict=True))
    heads = q.value.shape[1]
    k, v = (Bounded(*(each.repeat(heads // each.shape[1], axis=1) for each in x)) for x in (k, v))
    scores = _products(q, Bounded(*(each.swapaxes(2, 3) for each in k)), roundings)
    root = math.sqrt(q.value.shape[3])
    error = scores.error / root + roundings.growth(2) * scores.reach / root
    allowed: Array = np.tri(*scores.value.shape[2:]) > 0 if operation.causal else np.ones(scores.value.shape[2:], bool)
    masked = Bounded(np.where(allowed, scores.value / root, -np.inf), np.where(allowed, error, 0))
    means = _products(softmax(Softmax("softmax", 3), [masked], roundings), v, roundings)
    return Bounded(*(_joined(each) for each in means)) if operation.heads else means


def matmul(operation: MatMul, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of a product of matrices."""
    first, second = inputs
    return _products(first, second, roundings)


def _products(a: Bounded, b: Bounded, roundings: Roundings) -> Bounded:
    count = a.value.shape[-1]
    error = a.error @ b.reach + abs(a.value) @ b.error + roundings.summed(count) * (a.reach @ b.reach)
    return Bounded(a.value @ b.value, error + count * roundings.tiny)


def _by_head(array: Array, heads: int) -> Array:
    return array.reshape(*array.shape[:2], heads, array.shape[2] // heads).swapaxes(1, 2) if heads else array


def _joined(array: Array) -> Array:
    return array.swapaxes(1, 2).reshape(len(array), array.shape[2], -1)
