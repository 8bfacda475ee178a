"""Calls of layers with kernels, tables, and factors of channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.calls.call import Call

if TYPE_CHECKING:
    from steelyard.device.forward.calls.call import At
    from steelyard.device.program.linear import Affine, Conv, ConvTranspose, Dense, Embedding, Prelu
    from steelyard.device.program.resampling import Resample


def dense(at: At, operation: Dense) -> Iterator[Call]:
    """Yield the call of a dense layer: rows, outputs, inputs."""
    outs, ins = operation.kernel.shape
    sizes = (at.output.size // outs, outs, ins)
    yield Call("dense", (at.input(), at.output, at.table("kernel"), at.table("bias"), *sizes))


def conv(at: At, operation: Conv) -> Iterator[Call]:
    """Yield the call of a convolution: groups, outputs and inputs of each, strides of channels and places, and its axes.

    Each axis has the length of the input, of the kernel, and of the output, then step, gap, and zeros before.
    """
    _, lengths = split(at.step.shape, operation.channels)
    _, space = split(at.shape(), operation.channels)
    outs, ins = operation.kernel.shape[:2]
    before = [pair[0] for pair in operation.padding]
    axes = three(zip(space, operation.kernel.shape[2:], lengths, operation.strides, operation.dilation, before, strict=True))
    sizes = (operation.groups, outs // operation.groups, ins)
    ways = (*layout(ins * operation.groups, space, operation.channels), *layout(outs, lengths, operation.channels))
    yield Call("conv", (at.input(), at.output, at.table("kernel"), at.table("bias"), sizes, ways, axes))


def conv_transpose(at: At, operation: ConvTranspose) -> Iterator[Call]:
    """Yield the call of a transposed convolution, as that of a convolution; each axis ends with the places cropped."""
    _, lengths = split(at.step.shape, operation.channels)
    _, space = split(at.shape(), operation.channels)
    ins, outs = operation.kernel.shape[0] // operation.groups, operation.kernel.shape[1]
    given = (operation.strides, operation.dilation, operation.cropped)
    axes = three(zip(space, operation.kernel.shape[2:], lengths, *given, strict=True))
    ways = (
        *layout(ins * operation.groups, space, operation.channels),
        *layout(outs * operation.groups, lengths, operation.channels),
    )
    yield Call(
        "conv_transpose",
        (at.input(), at.output, at.table("kernel"), at.table("bias"), (operation.groups, outs, ins), ways, axes),
    )


def affine(at: At, operation: Affine) -> Iterator[Call]:
    """Yield the call of a factor and an offset for each place along an axis: its length, and the numbers after it."""
    tables = at.table("scale"), at.table("offset")
    yield Call("affine", (at.input(), at.output, *tables, *along(at.step.shape, operation.axis)))


def prelu(at: At, operation: Prelu) -> Iterator[Call]:
    """Yield the call of an activation with slopes."""
    yield Call("prelu", (at.input(), at.output, at.table("slope"), *along(at.step.shape, operation.axis)))


def embedding(at: At, operation: Embedding) -> Iterator[Call]:
    """Yield the call that takes rows of a table."""
    yield Call("embedding", (at.input(), at.output, at.table("table"), operation.table.shape[1]))


def resample(at: At, operation: Resample) -> Iterator[Call]:
    """Yield the call of an axis in another length: terms of each sum, the length of the axis, and the numbers after a place."""
    shape, tables = at.shape(), (at.table("places"), at.table("shares"))
    yield Call("resample", (at.input(), at.output, *tables, operation.shares.shape[1], *along(shape, operation.axis)))


def along(shape: Sequence[int], axis: int) -> tuple[int, int]:
    """Return the length of an axis, counted from 1, and the numbers of each of its places."""
    return shape[axis - 1], prod(shape[axis:])


def split(shape: Sequence[int], channels: str) -> tuple[int, tuple[int, ...]]:
    """Return the number of channels and the spatial axes."""
    return (shape[0], tuple(shape[1:])) if channels == "first" else (shape[-1], tuple(shape[:-1]))


def layout(count: int, space: Sequence[int], channels: str) -> tuple[int, int]:
    """Return how far apart channels and places are."""
    return (prod(space), 1) if channels == "first" else (1, count)


def three(axes: Iterator[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Return three spatial axes; those that are missing have length 1, one position, and step 1."""
    listed = [tuple(int(number) for number in axis) for axis in axes]
    return (*[(1, 1, 1, 1, 1, 0)] * (3 - len(listed)), *listed)
