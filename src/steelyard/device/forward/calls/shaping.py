"""Calls of activations, of what moves numbers, and of what combines them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.device.forward.calls.call import Buffer, Call, Curve, Pairs, joined, repeated, strides_of

if TYPE_CHECKING:
    from steelyard.device.forward.calls.call import At
    from steelyard.device.program.activations import Activation
    from steelyard.device.program.shaping import Combine, Concatenate, Constant, Permute, Reshape, Scale, Select


def activation(at: At, operation: Activation) -> Iterator[Call]:
    """Yield the call of an activation of each number."""
    yield Call("each", (at.input(), at.output, Curve(operation.word, operation.settings)))


def scale(at: At, operation: Scale) -> Iterator[Call]:
    """Yield the call that combines each number with one value."""
    yield Call("each", (at.input(), at.output, Curve(operation.word, {"value": operation.value})))


def reshape(at: At, operation: Reshape) -> Iterator[Call]:
    """Yield the call that copies all numbers."""
    yield Call("copy", (at.input(), at.output, ((at.output.size, 1, 1),)))


def constant(at: At, operation: Constant) -> Iterator[Call]:
    """Yield the call that copies a table."""
    yield Call("copy", (at.table("values"), at.output, ((at.output.size, 1, 1),)))


def permute(at: At, operation: Permute) -> Iterator[Call]:
    """Yield the call that copies numbers into another order of the axes."""
    ways = strides_of(at.shape())
    given = [ways[axis - 1] for axis in operation.axes]
    axes = list(zip(at.step.shape, given, strides_of(at.step.shape), strict=True))
    yield Call("copy", (at.input(), at.output, joined(axes)))


def select(at: At, operation: Select) -> Iterator[Call]:
    """Yield the call that copies what is selected."""
    shape, source = at.shape(), at.input()
    taken = [
        range(part, part + 1) if isinstance(part, int) else range(length)[part]
        for part, length in zip(operation.parts, shape, strict=True)
    ]
    lengths = [len(each) for each in taken]
    ways = [way * each.step for each, way in zip(taken, strides_of(shape), strict=True)]
    start = sum(each.start * way for each, way in zip(taken, strides_of(shape), strict=True))
    axes = list(zip(lengths, ways, strides_of(lengths), strict=True))
    source = source._replace(offset=source.offset + start)
    if isinstance(source, Buffer):
        source = source._replace(size=source.size - start)
    yield Call("copy", (source, at.output, joined(axes)))


def concatenate(at: At, operation: Concatenate) -> Iterator[Call]:
    """Yield the calls that copy each input to its place, unless it is there already."""
    ways, start = strides_of(at.step.shape), 0
    for nth in range(len(at.step.inputs)):
        shape = at.shape(nth)
        axes = list(zip(shape, strides_of(shape), ways, strict=True))
        given, target = at.input(nth), Buffer(at.output.place, at.output.size - start, start)
        if not isinstance(given, Buffer) or given.place != target.place.after(start):
            yield Call("copy", (given, target, joined(axes)))
        start += shape[operation.axis - 1] * ways[operation.axis - 1]


def combine(at: At, operation: Combine) -> Iterator[Call]:
    """Yield the call that combines all inputs number by number: each with its axes, and the divisor of an average."""
    count = len(at.step.inputs)
    axes = [[*zip(at.step.shape, repeated(at.shape(nth), at.step.shape), strict=True)] for nth in range(count)]
    inputs = tuple((at.input(nth), joined(axes[nth], 2)) for nth in range(count))
    word = "add" if operation.word == "average" else operation.word
    yield Call("combine", (at.output, Pairs(inputs, word), float(count if operation.word == "average" else 1)))
