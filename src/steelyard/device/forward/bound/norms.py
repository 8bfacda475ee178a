"""Bounds of norms over groups, and of softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.device.forward.bound.bounded import DOUBLE, Bounded, Roundings

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.program.norms import GroupNorm, LayerNorm, Softmax


def layer_norm(operation: LayerNorm, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of a norm over the last numbers."""
    (x,) = inputs
    rows = Bounded(x.value.reshape(-1, operation.size), x.error.reshape(-1, operation.size))
    error = _normalised(rows, operation.epsilon, roundings, centres=operation.centres)
    plain = operation._replace(scale=None, offset=None).run([x.value], DOUBLE).reshape(rows.value.shape)
    value = operation.run([x.value], DOUBLE)
    error = _scaled(Bounded(plain, error), operation.scale, operation.offset, roundings)
    return Bounded(value, error.reshape(value.shape))


def group_norm(operation: GroupNorm, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of a norm over groups of channels."""
    import numpy as np

    moved = [np.moveaxis(each, operation.axis, 1) for each in inputs[0]]
    groups = (moved[0].shape[0], operation.groups, -1)
    rows = Bounded(moved[0].reshape(groups), moved[1].reshape(groups))
    error = _normalised(rows, operation.epsilon, roundings, centres=True).reshape(moved[0].shape)
    plain = operation._replace(scale=None, offset=None).run([inputs[0].value], DOUBLE)
    shape = (-1, *[1] * (moved[0].ndim - 2))
    scale, offset = (None if each is None else each.reshape(shape) for each in (operation.scale, operation.offset))
    error = _scaled(Bounded(np.moveaxis(plain, operation.axis, 1), error), scale, offset, roundings)
    return Bounded(operation.run([inputs[0].value], DOUBLE), np.moveaxis(error, 1, operation.axis))


def _normalised(x: Bounded, epsilon: float, roundings: Roundings, *, centres: bool) -> Array:
    """Return the largest errors of numbers that are divided by their deviation, which cannot be above the root of the count."""
    import numpy as np

    count = x.value.shape[-1]
    rounding, one = roundings.summed(count + 1), roundings.summed(1)
    value, error = x
    if centres:
        value = value - value.mean(axis=-1, keepdims=True)
        error = error + (x.error + rounding * x.reach).mean(axis=-1, keepdims=True)
        error = error + one * (np.abs(value) + error)
    squares = (np.abs(value) + error) ** 2
    apart = (error * (2 * np.abs(value) + error) + rounding * squares).mean(axis=-1, keepdims=True)
    variance = (value * value).mean(axis=-1, keepdims=True) + epsilon
    apart = apart + 2 * one * (variance + apart) + roundings.tiny
    least = np.sqrt(np.maximum(variance - apart, 0))
    deviation = np.sqrt(variance)
    # 1 / a - 1 / b is (b - a) / (a b), and b - a is at most (b^2 - a^2) / b
    made: Array = error / least + np.abs(value) * apart / (least * deviation * deviation)
    made = made + 3 * one * (np.abs(value) / deviation + made) + roundings.tiny
    return np.minimum(np.nan_to_num(made, nan=np.inf), 2 * np.sqrt(count) * (1 + rounding))  # type: ignore[no-any-return]


def _scaled(x: Bounded, scale: Array | None, offset: Array | None, roundings: Roundings) -> Array:
    """Return the errors of numbers with the factors and offsets of their places."""
    import numpy as np

    factor = np.ones(1) if scale is None else np.abs(scale.astype(np.float64))
    shift = np.zeros(1) if offset is None else np.abs(offset.astype(np.float64))
    rounding = roundings.summed(2) + roundings.cast(scale, offset)
    made: Array = factor * x.error + rounding * (factor * x.reach + shift) + roundings.tiny
    return made


def softmax(operation: Softmax, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of a softmax, or of its logarithm."""
    import numpy as np

    (x,) = inputs
    value = operation.run([x.value], DOUBLE)
    shifted = np.maximum(x.value - x.value.max(axis=operation.axis, keepdims=True), -1e300)  # a mask has -inf
    worst = x.error.max(axis=operation.axis, keepdims=True)
    lowered = roundings.numbers * (np.abs(shifted) + x.error + worst) * (shifted > -1e300)
    power = np.expm1(lowered) + roundings.function * (1 + np.expm1(lowered))  # relative to each power
    added = power.max(axis=operation.axis, keepdims=True)
    whole = added + roundings.summed(x.value.shape[operation.axis]) * (1 + added)  # relative to their sum
    if operation.word == "log_softmax":
        log = np.where(whole < 1, -np.log1p(-np.minimum(whole, 1 - 1e-16)), np.inf)
        error = x.error + worst + lowered + log
        own = roundings.function + roundings.numbers
        size = np.log(x.value.shape[operation.axis]) + np.abs(value) + error
        return Bounded(value, error + own * size)
    moved = np.expm1(x.error + worst)  # a shift that is common to all changes nothing
    own = (power + whole) / np.maximum(1 - whole, 0) + 2 * roundings.numbers
    error = value * (moved + own * (1 + moved)) + roundings.tiny
    return Bounded(value, np.minimum(np.nan_to_num(error, nan=np.inf), 1 + roundings.numbers))
