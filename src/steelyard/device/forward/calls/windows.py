"""Calls of pools, padding and upsampling."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.calls.call import Buffer, Call, joined, strides_of
from steelyard.device.forward.calls.linear import layout, split, three

if TYPE_CHECKING:
    from steelyard.device.forward.calls.call import At
    from steelyard.device.program.windows import GlobalPool, Pad, Pool, Upsample


def pool(at: At, operation: Pool) -> Iterator[Call]:
    """Yield the call of a pool: channels, strides of channels and places, axes as of a convolution, and the divisor if known."""
    count, space = split(at.shape(), operation.channels)
    _, lengths = split(at.step.shape, operation.channels)
    before = [pair[0] for pair in operation.padding]
    axes = three(zip(space, operation.size, lengths, operation.strides, operation.dilation, before, strict=True))
    ways = (*layout(count, space, operation.channels), *layout(count, lengths, operation.channels))
    counts = () if operation.word == "max" else (prod(operation.size) if operation.count_padding else 0,)
    yield Call(f"pool_{operation.word}", (at.input(), at.output, count, ways, axes, *counts))


def global_pool(at: At, operation: GlobalPool) -> Iterator[Call]:
    """Yield the call of a pool over all places: channels, places, and their strides."""
    count, space = split(at.shape(), operation.channels)
    sizes = (count, prod(space), *layout(count, space, operation.channels))
    yield Call(f"global_{operation.word}", (at.input(), at.output, *sizes))


def pad(at: At, operation: Pad) -> Iterator[Call]:
    """Yield the calls that copy the input into the output, and give the places around it a value, or those of the image."""
    shape, ways = at.shape(), strides_of(at.step.shape)
    first = [before for before, _ in operation.padding]
    start = sum(before * way for before, way in zip(first, ways, strict=True))
    if operation.mode == "constant":
        yield Call("fill", (at.output, float(operation.value)))
    axes = list(zip(shape, strides_of(shape), ways, strict=True))
    yield Call("copy", (at.input(), _from(at, start), joined(axes)))
    if operation.mode != "constant":
        yield from _edges(at, operation)


def _edges(at: At, operation: Pad) -> Iterator[Call]:
    """Yield the calls that copy places of the output, one axis after another, so that corners follow from edges."""
    import numpy as np

    shape, whole, ways = at.shape(), at.step.shape, strides_of(at.step.shape)
    for axis, (before, after) in enumerate(operation.padding):
        taken = np.pad(np.arange(shape[axis]), (before, after), mode=operation.mode)  # type: ignore[call-overload]
        lengths = [*whole[:axis], 1, *shape[axis + 1 :]]
        start = sum(pair[0] * way for pair, way in zip(operation.padding[axis + 1 :], ways[axis + 1 :], strict=True))
        axes = joined([*zip(lengths, ways, ways, strict=True)])
        for place in (*range(before), *range(before + shape[axis], whole[axis])):
            given, made = (_from(at, start + each * ways[axis]) for each in (before + int(taken[place]), place))
            yield Call("copy", (given, made, axes))


def _from(at: At, start: int) -> Buffer:
    return Buffer(at.output.place, at.output.size - start, start)


def upsample(at: At, operation: Upsample) -> Iterator[Call]:
    """Yield the call that copies each place several times."""
    shape, first = at.shape(), operation.channels == "first"
    scales = (1, *operation.scale) if first else (*operation.scale, 1)
    pairs = zip(shape, scales, strides_of(shape), strides_of(at.step.shape), strict=True)
    axes = [each for length, times, x, y in pairs for each in ((length, x, y * times), (times, 0, y))]
    yield Call("copy", (at.input(), at.output, joined(axes)))
