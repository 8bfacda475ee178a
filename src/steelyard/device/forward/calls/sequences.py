"""Calls of recurrent layers and attention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.device.forward.calls.call import Call, Curve, joined, repeated

if TYPE_CHECKING:
    from steelyard.device.forward.calls.call import At
    from steelyard.device.program.attention import Attention, MatMul
    from steelyard.device.program.recurrent import Recurrent


def recurrent(at: At, operation: Recurrent) -> Iterator[Call]:
    """Yield the call of a recurrent layer: steps, inputs, units; whether it runs backward, gives all steps, and in its own order.

    The function is that of the kind; of a GRU there is one for each place of its reset gate.
    """
    steps, ins = at.shape()
    gate = {"alpha": 1 / 6, "beta": 0.5} if operation.recurrent_activation == "hard_sigmoid" else {}
    curves = (Curve(operation.activation, {}), Curve(operation.recurrent_activation, gate))
    inner = operation.kind == "gru" and operation.state_bias is not None
    tables = [at.table(field) for field in ("kernel", "recurrent_kernel", "bias", *["state_bias"] * inner)]
    sizes = (steps, ins, operation.kernel.shape[1])
    order = (operation.backward, operation.returns != "last", operation.backward and operation.returns == "all")
    name = f"{operation.kind}{'_inner' * inner}"
    yield Call(name, (at.input(), at.output, at.work, *tables, sizes, order, *curves[: 1 if operation.kind == "rnn" else 2]))


def attention(at: At, operation: Attention) -> Iterator[Call]:
    """Yield the call of attention: heads, how many share a key, steps of query and key, dims of key and value; strides; the root.

    The strides are those of heads and steps of query, key, value, and output.
    """
    shapes = [at.shape(nth) for nth in range(3)]
    if operation.heads:
        heads, shared = operation.heads, operation.heads // operation.key_heads
        counts = (operation.heads, operation.key_heads, operation.key_heads)
        dims = [shape[1] // count for shape, count in zip(shapes, counts, strict=True)]
        ways = [(dim, shape[1]) for dim, shape in zip(dims, shapes, strict=True)] + [(dims[2], operation.heads * dims[2])]
    else:
        heads, shared, dims = shapes[0][0], 1, [shape[2] for shape in shapes]
        steps = [shape[1] for shape in shapes] + [shapes[0][1]]
        ways = [(step * dim, dim) for step, dim in zip(steps, [*dims, dims[2]], strict=True)]
    sizes = (heads, shared, shapes[0][-2], shapes[1][-2], dims[0], dims[2])
    strides = tuple(number for way in ways for number in way)
    root = float(math.sqrt(dims[0]))
    inputs = (at.input(0), at.input(1), at.input(2))
    yield Call("attention", (*inputs, at.output, at.work, sizes, strides, root, operation.causal))


def matmul(at: At, operation: MatMul) -> Iterator[Call]:
    """Yield the call of a product of matrices: rows, terms, columns; and the axes before, with their strides in both inputs."""
    (*_, rows, terms), (*_, columns) = at.shape(0), at.shape(1)
    before = at.step.shape[:-2]
    ways = (repeated(at.shape(nth), (*before, *at.shape(nth)[-2:]))[: len(before)] for nth in range(2))
    axes = [(length, *both) for length, *both in zip(before, *ways, strict=True)]
    yield Call("matmul", (at.input(0), at.input(1), at.output, (rows, terms, columns), joined(axes)))
