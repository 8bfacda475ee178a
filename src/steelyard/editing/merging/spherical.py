"""`slerp` and `nuslerp`: two models on the arc between them.

The angle th is that between the two vectors; the result is (sin((1-t) th) a + sin(t th) b) / sin(th), of the vectors as
they are, and linear where they are nearly parallel. Sums are made in float64, in one pass before the first number is read.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.editing.merging.inputs import deltas_of, once

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.editing.merging.inputs import Block, Inputs, Options

_PARALLEL = 0.9995
"""Cosines beyond this are merged linearly by `slerp`."""
_SHORT = 1e-8
"""A vector up to this length counts as one of length 1 in `slerp`."""
_SHORTEST = 1e-7
"""The least length by which `nuslerp` divides."""


def slerp(inputs: Inputs, options: Options) -> Block:
    """Return the point at `t` between the first model and the second, whose weight is one vector."""
    t, kind = options.t, inputs.dtype.type

    def make() -> Block:
        squares = _products(inputs)
        one, other = (float(np.sqrt(square)) for square in (squares[0], squares[2]))
        one, other = (1.0 if length <= _SHORT else length for length in (one, other))
        cosine = min(max(float(squares[1]) / one / other, -1.0), 1.0)
        angle = np.arccos(cosine)
        shares = (1 - t, t) if abs(cosine) > _PARALLEL else np.sin([(1 - t) * angle, t * angle]) / np.sin(angle)
        return lambda _, blocks: mixed(blocks[0], blocks[1], kind(shares[0]), kind(shares[1]))

    return once(make)


def mixed(one: Array, other: Array, first: Any, second: Any) -> Array:
    """Return first * one + second * other, in the memory of both."""
    one *= first
    other *= second
    one += other
    return one


def _products(inputs: Inputs) -> Array:
    """Return |a|^2, a.b and |b|^2."""
    sums = np.zeros(3)
    for _, (a, b) in inputs.blocks():
        x, y = a.astype(np.float64), b.astype(np.float64)
        sums += (dot(x, x), dot(x, y), dot(y, y))
    return sums


def dot(one: Array, other: Array) -> float:
    """Return the sum of products, in this thread: for blocks of this size the threads of BLAS would mostly wait."""
    return float(np.einsum("i,i->", one, other))


def nuslerp(inputs: Inputs, options: Options) -> Block:
    """Return the point at w_1 / (w_0 + w_1) between two models, or between their changes of a base, which are added to it.

    `along` is the part of a weight that is one vector: all of it, a row (its last axis), or a column (its first).
    """
    total = sum(options.weights)
    t = options.weights[1] / total if total else 0.5

    def make() -> Block:
        shares = _shares(inputs, options.along, t)

        def block(start: int, blocks: list[Array]) -> Array:
            first, second = shares(start, start + len(blocks[0]))
            one, other = deltas_of(blocks) if inputs.has_base else blocks
            made = mixed(one, other, first, second)
            return np.add(made, blocks[0], out=made) if inputs.has_base else made

        return block

    return once(make)


def _shares(inputs: Inputs, along: str, t: float) -> Callable[[int, int], tuple[Array, Array]]:
    """Return the function that gives the factors of both vectors for the elements [start, stop)."""
    owner, count = owners(inputs.shape, along)
    sums = np.zeros((3, count))
    for start, (one, other) in inputs.blocks():
        a, b = one.astype(np.float64), other.astype(np.float64)
        at = owner(start, start + len(a))
        for nth, product in enumerate((a * a, a * b, b * b)):
            sums[nth] += product.sum() if count == 1 else np.bincount(at, product, count)
    lengths = np.maximum(np.sqrt(sums[::2]), _SHORTEST)
    cosine = np.clip(sums[1] / lengths[0] / lengths[1], -1, 1)
    angle = np.arccos(cosine)
    parallel = 1 - cosine * cosine <= 1e-16
    sine = np.where(parallel, 1, np.sin(angle))
    first = np.where(parallel, 1 - t, np.sin((1 - t) * angle) / sine).astype(inputs.dtype)
    second = np.where(parallel, t, np.sin(t * angle) / sine).astype(inputs.dtype)
    return lambda start, stop: (first[owner(start, stop)], second[owner(start, stop)])


def owners(shape: tuple[int, ...], along: str) -> tuple[Callable[[int, int], Array], int]:
    """Return the function that gives the number of the vector of the elements [start, stop), and the count of vectors."""
    width = prod(shape[1:]) if shape else 1
    if along == "weight" or len(shape) < 2:
        return lambda *_: np.zeros(1, np.intp), 1
    if along == "column":
        return lambda start, stop: np.arange(start, stop) % width, width
    return lambda start, stop: np.arange(start, stop) // shape[-1], prod(shape[:-1])
