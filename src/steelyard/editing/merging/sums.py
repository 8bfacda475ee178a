"""`linear`: the weighted mean of several models; `passthrough`: one model, scaled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.editing.merging.inputs import Block, Inputs, Options


def linear(inputs: Inputs, options: Options) -> Block:
    """Return sum(w_i x_i) / sum(w_i), without the divisor where `divide` is False, or by the number of models with "count".

    Of equal weights, the sum is divided; others are divided first, so that the mean of one model has its bits. Weights whose
    sum is 0 make infinite numbers.
    """
    kind, given = inputs.dtype.type, options.weights
    total = {"weights": float(sum(given)), "count": float(len(given)), False: 1.0}[options.divide]
    is_equal = len(set(given)) == 1 and options.divide == "weights" and given[0] != 0
    factors = [1.0] * len(given) if is_equal else [each / (total or 1.0) for each in given]
    divisor = float(len(given)) if is_equal else 1.0 if total else 0.0

    def block(_: int, blocks: list[Array]) -> Array:
        for array, factor in zip(blocks, factors, strict=True):
            if factor != 1:
                np.multiply(array, kind(factor), out=array)
        mixed = blocks[0]
        for array in blocks[1:]:
            mixed += array
        if divisor != 1:
            mixed /= kind(divisor)
        return mixed if options.scale == 1 else np.multiply(mixed, kind(options.scale), out=mixed)

    return block


def passthrough(inputs: Inputs, options: Options) -> Block:
    """Return the only model times `scale`."""
    scale = inputs.dtype.type(options.scale)
    return lambda _, blocks: blocks[0] if scale == 1 else np.multiply(blocks[0], scale, out=blocks[0])
