"""Calls of norms and softmax."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.calls.call import Call
from steelyard.device.forward.calls.linear import along

if TYPE_CHECKING:
    from steelyard.device.forward.calls.call import At
    from steelyard.device.program.norms import GroupNorm, LayerNorm, Softmax


def softmax(at: At, operation: Softmax) -> Iterator[Call]:
    """Yield the call of a softmax or its logarithm: the length of its axis, and the numbers of each of its places."""
    yield Call(operation.word, (at.input(), at.output, *along(at.step.shape, operation.axis)))


def layer_norm(at: At, operation: LayerNorm) -> Iterator[Call]:
    """Yield the call of a norm over the last numbers: how many, epsilon, and whether the mean is subtracted."""
    tables = at.table("scale"), at.table("offset")
    yield Call("layer_norm", (at.input(), at.output, *tables, operation.size, float(operation.epsilon), operation.centres))


def group_norm(at: At, operation: GroupNorm) -> Iterator[Call]:
    """Yield the call of a norm over groups: how many, numbers before, along and after the axis of channels, and epsilon."""
    shape, axis = at.step.shape, operation.axis
    sizes = (operation.groups, prod(shape[: axis - 1]), *along(shape, axis))
    yield Call("group_norm", (at.input(), at.output, at.table("scale"), at.table("offset"), *sizes, float(operation.epsilon)))
