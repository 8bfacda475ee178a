"""Bounds of operations that move numbers, or combine those of several inputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from steelyard.device.forward.bound.bounded import DOUBLE, Bounded, Roundings, product
from steelyard.device.program.shaping import Combine, Concatenate, Constant, Permute, Reshape, Scale, Select

if TYPE_CHECKING:
    from steelyard.device.program.linear import Embedding
    from steelyard.device.program.windows import Pad, Upsample

    Moving = Reshape | Permute | Select | Concatenate | Upsample


def moved(operation: Moving, inputs: Sequence[Bounded], _: Roundings) -> Bounded:
    """Return numbers elsewhere, each with its error."""
    values, errors = [each.value for each in inputs], [each.error for each in inputs]
    return Bounded(operation.run(values, DOUBLE), operation.run(errors, DOUBLE))


def pad(operation: Pad, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return padded numbers; the value of the padding is rounded."""
    (x,) = inputs
    edge = operation._replace(value=abs(operation.value) * roundings.numbers)
    return Bounded(operation.run([x.value], DOUBLE), edge.run([x.error], DOUBLE))


def constant(operation: Constant, _: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the numbers of a constant, which are rounded."""
    return roundings.stored(operation.values[None])


def embedding(operation: Embedding, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return rows of a table, which are rounded."""
    table = roundings.stored(operation.table)
    rows = inputs[0].value.astype("int64")
    return Bounded(table.value[rows], table.error[rows])


def combine(operation: Combine, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of a combination of several inputs, in any order where that changes only the rounding."""
    import numpy as np

    rounding = roundings.growth(len(inputs))
    if operation.word in ("add", "subtract", "average"):
        # a difference has the error of a sum
        errors, reaches = (reduce(add, each) for each in zip(*((each.error, each.reach) for each in inputs), strict=True))
        error = (errors + rounding * reaches) / (len(inputs) if operation.word == "average" else 1)
    elif operation.word == "multiply":
        error = reduce(lambda a, b: product(a, b, rounding), inputs).error
    elif operation.word == "divide":
        error = reduce(lambda a, b: _quotient(a, b, rounding), inputs).error
    else:
        error = reduce(np.maximum, [each.error for each in inputs])
    return Bounded(operation.run([each.value for each in inputs], DOUBLE), error + roundings.tiny)


def scale(operation: Scale, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of a combination with one number, which is rounded."""
    import numpy as np

    value = np.full((1,) * inputs[0].value.ndim, operation.value)
    return combine(Combine(operation.word), [*inputs, Bounded(value, np.abs(value) * roundings.numbers)], roundings)


def _quotient(a: Bounded, b: Bounded, rounding: float) -> Bounded:
    """Return quotients; the bound is infinite where the divisor may be zero."""
    import numpy as np

    least = np.maximum(np.abs(b.value) - b.error, 0)
    value = a.value / b.value
    error = (a.error + np.abs(value) * b.error) / least
    return Bounded(value, error + rounding * (np.abs(value) + error))
