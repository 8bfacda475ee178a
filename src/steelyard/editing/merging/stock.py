"""`model_stock`: the mean of fine-tuned models, drawn towards the base by the angles between them.

With the mean cosine c of all pairs of the N deltas, t = N c / (1 + (N - 1) c), and the result is t * mean + (1 - t) * base.
Source: Jang, Yun and Han, Model Stock (2024).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from steelyard.editing.merging.inputs import once
from steelyard.editing.merging.spherical import dot, mixed, owners

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.editing.merging.inputs import Block, Inputs, Options

_LEAST = 1e-6


def model_stock(inputs: Inputs, options: Options) -> Block:
    """Return the stock of at least two models; with `along` "row", each row has its own angle."""
    kind, count = inputs.dtype.type, len(inputs.models)

    def make() -> Block:
        owner, shares = _shares(inputs, options.along)

        def block(start: int, blocks: list[Array]) -> Array:
            base, mean = blocks[:2]
            for model in blocks[2:]:
                mean += model
            share = shares[owner(start, start + len(base))]
            mean *= share
            mean /= kind(count)
            return mixed(mean, base, kind(1), 1 - share)

        return block

    return once(make)


def _shares(inputs: Inputs, along: str) -> tuple[Callable[[int, int], Array], Array]:
    """Return the function that gives the number of the vector of each element, and t of each vector."""
    owner, vectors = owners(inputs.shape, along)
    models = range(len(inputs.models))
    pairs = [(at, at) for at in models] + list(combinations(models, 2))
    sums = np.zeros((len(pairs), vectors))
    for start, found in inputs.blocks():
        deltas = [delta.astype(np.float64) for delta in found]
        at = owner(start, start + len(deltas[0]))
        for nth, (i, j) in enumerate(pairs):
            sums[nth] += dot(deltas[i], deltas[j]) if vectors == 1 else np.bincount(at, deltas[i] * deltas[j], vectors)
    lengths = np.sqrt(sums[: len(models)])
    cosines = [
        np.clip(row / np.maximum(lengths[i] * lengths[j], _LEAST), -1, 1)
        for row, (i, j) in zip(sums[len(models) :], pairs[len(models) :], strict=True)
    ]
    mean = np.mean(cosines, 0)
    divisor = 1 + (len(models) - 1) * mean
    flat = np.abs(divisor) < _LEAST
    share = np.where(flat, 0, len(models) * mean / np.where(flat, 1, divisor))
    return owner, share.astype(inputs.dtype)
