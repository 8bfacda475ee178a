"""Bounds of sums of products: layers with kernels, averages, and factors of channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.bound.bounded import DOUBLE, Bounded, Roundings
from steelyard.device.program.linear import Affine, Conv, ConvTranspose, Dense, Prelu

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.program.resampling import Resample
    from steelyard.device.program.windows import GlobalPool, Pool


def kernel(operation: Dense | Conv | ConvTranspose, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of a layer with a kernel, which is itself of the absolute values."""
    (x,) = inputs
    size, count = operation.kernel, prod(operation.kernel.shape[1:])
    if isinstance(operation, ConvTranspose):
        count = len(size) // operation.groups * prod(size.shape[2:])
    bare = operation._replace(kernel=absolute(size), bias=None)
    whole = bare if operation.bias is None else bare._replace(bias=absolute(operation.bias))
    rounding = roundings.summed(count + 1) + roundings.cast(size, operation.bias)
    error = bare.run([x.error], DOUBLE) + rounding * whole.run([x.reach], DOUBLE) + count * roundings.tiny
    return Bounded(operation.run([x.value], DOUBLE), error)


def resample(operation: Resample, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of an axis in another length."""
    (x,) = inputs
    count = operation.shares.shape[1]
    along = operation._replace(shares=absolute(operation.shares))
    rounding = roundings.summed(count + 1) + roundings.cast(operation.shares)
    error = along.run([x.error], DOUBLE) + rounding * along.run([x.reach], DOUBLE) + count * roundings.tiny
    return Bounded(operation.run([x.value], DOUBLE), error)


def affine(operation: Affine, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of a factor and an offset for each channel."""
    (x,) = inputs
    scale, offset = absolute(operation.scale), absolute(operation.offset)
    rounding = roundings.summed(2) + roundings.cast(operation.scale, operation.offset)
    spread = Affine(scale, offset * 0, operation.axis).run([x.error], DOUBLE)
    reach = Affine(scale, offset, operation.axis).run([x.reach], DOUBLE)
    return Bounded(operation.run([x.value], DOUBLE), spread + rounding * reach + roundings.tiny)


def prelu(operation: Prelu, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of an activation with slopes."""
    import numpy as np

    (x,) = inputs
    slope = np.maximum(absolute(operation.slope), 1)
    along = Affine(slope, slope * 0, operation.axis)
    rounding = roundings.growth(1) + roundings.cast(operation.slope)
    error = along.run([x.error], DOUBLE) + rounding * along.run([x.reach], DOUBLE) + roundings.tiny
    return Bounded(operation.run([x.value], DOUBLE), error)


def pool(operation: Pool, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of a maximum, the largest error of its window, or of an average."""
    return _pooled(operation, inputs[0], prod(operation.size), roundings)


def global_pool(operation: GlobalPool, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of a maximum or an average of each channel."""
    shape = inputs[0].value.shape[1:]
    return _pooled(operation, inputs[0], prod(shape[1:] if operation.channels == "first" else shape[:-1]), roundings)


def _pooled(operation: Pool | GlobalPool, x: Bounded, count: int, roundings: Roundings) -> Bounded:
    import numpy as np

    error = np.maximum(operation.run([x.error], DOUBLE), 0)
    if operation.word != "max":
        error = error + roundings.summed(count) * operation.run([x.reach], DOUBLE) + roundings.tiny
    return Bounded(operation.run([x.value], DOUBLE), error)


def absolute(array: Array) -> Array:
    """Return absolute values in float64."""
    import numpy as np

    made: Array = np.abs(array.astype(np.float64))
    return made
