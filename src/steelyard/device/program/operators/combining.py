"""Operators on several tensors number by number, and those that make one number of several."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.program.activations import Activation
from steelyard.device.program.attention import MatMul
from steelyard.device.program.elementary import reduced as reduction
from steelyard.device.program.linear import Dense
from steelyard.device.program.operators.moving import as_data, permuted, reshaped
from steelyard.device.program.operators.tensors import BATCH, Call, Data
from steelyard.device.program.shaping import Combine, Reshape, Scale

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_COMMUTE = ("add", "multiply", "maximum", "minimum")


def combined(call: Call, word: str, places: Sequence[int] = (0, 1)) -> Data:
    """Return the inputs at some places combined by a word of `Combine`; constants are the same for all examples."""
    tensors = [call.known(place) if call.is_known(place) else call.data(place) for place in places]
    ends = [each for each in tensors if isinstance(each, Data)]
    ranks = [len(call.shape(each)) for each in ends]
    like = ends[ranks.index(max(ranks))]
    if any(rank - each.batch != max(ranks) - like.batch for each, rank in zip(ends, ranks, strict=True)):
        call.refuse("combines tensors whose axes of examples differ")
    single = next((each for each in tensors if not isinstance(each, Data) and each.size == 1), None)
    is_second = len(tensors) == 2 and (not isinstance(tensors[1], Data) or word in _COMMUTE)
    if single is not None and is_second and single.ndim <= max(ranks):
        return Data(call.add(Scale(word, float(single.reshape(-1)[0])), like.place), like.batch)
    rank = max((getattr(each, "ndim", 0) for each in tensors), default=0)
    if rank > max(ranks):
        call.refuse(f"combines a tensor of {max(ranks)} axes with a constant of {rank}")
    shapes = call.building.shapes
    most = max(len(shapes[each.place]) for each in ends)
    made = []
    for each in tensors:
        place = each.place if isinstance(each, Data) else as_data(call, each, like)
        missing = most - len(shapes[place])
        made.append(call.add(Reshape((1,) * missing + shapes[place]), place) if missing else place)
    return Data(call.add(Combine(word), *made), like.batch)


def with_bias(call: Call, data: Data, bias: Array) -> Data | None:
    """Return a dense layer without a bias with one; None if the tensor is not one, or other operators take it too."""
    building = call.building
    step = building.steps[-1] if building.steps else None
    if step is None or data.place != len(building.shapes) - 1 or not isinstance(step.operation, Dense):
        return None
    kernel = step.operation.kernel
    if step.operation.bias is not None or bias.size != len(kernel) or bias.shape[-1:] != (len(kernel),) or bias.dtype.kind != "f":
        return None
    if bias.ndim > len(call.shape(data)):
        return None
    bias = building.shared(bias.reshape(-1))
    building.steps[-1] = step._replace(operation=Dense(kernel, bias))
    return data


def multiplied(call: Call, first: Data, kernel: Array, bias: Array | None = None) -> Data:
    """Return a dense layer on the last axis of a tensor, with a kernel (out, in)."""
    shape = call.shape(first)
    if first.batch == len(shape) - 1:
        call.refuse("has a product along the axis of the examples")
    if kernel.ndim != 2 or kernel.shape[1] != shape[-1]:
        call.refuse(f"has a kernel of shape {kernel.shape} for an input of {shape[-1]} features")
    shared = call.building.shared
    return Data(call.add(Dense(shared(kernel), None if bias is None else shared(bias)), first.place), first.batch)


def product(call: Call, first: Data, second: Data) -> Data:
    """Return the product of two computed matrices of each example."""
    ranks = {len(call.shape(each)) for each in (first, second)}
    if first.batch != second.batch or len(ranks) > 1 or first.batch >= min(ranks) - 2:
        call.refuse("has a product of matrices along the axis of the examples")
    return Data(call.add(MatMul(), first.place, second.place), first.batch)


def reduced(call: Call, data: Data, axes: Sequence[int], word: str, *, keeps: bool) -> Data:
    """Return the "average", "sum" or "max" over some axes of each example."""
    listed = sorted({call.axis(axis, data) for axis in axes})
    if data.batch in listed:
        call.refuse("makes one number of several examples")
    shape = call.shape(data)
    own = [axis + 1 if axis < data.batch else axis for axis in listed]
    held = call.building.shapes[data.place]
    place = reduction(call.add, call.building.shapes, data.place, own, word)
    kept = tuple(1 if axis in own else held[axis - 1] for axis in range(1, len(shape)) if keeps or axis not in own)
    made = place if call.building.shapes[place] == kept else call.add(Reshape(kept), place)
    return Data(made, data.batch if keeps else data.batch - sum(axis < data.batch for axis in listed))


def activated(call: Call, word: str, settings: dict[str, float] | None = None, data: Data | None = None) -> Data:
    """Return an activation of each number."""
    given = call.data() if data is None else data
    return Data(call.add(Activation(word, settings or {}), given.place), given.batch)


def moved_back(call: Call, data: Data, order: Sequence[int]) -> Data:
    """Return a tensor whose axes were put in an order with them in their own."""
    return permuted(call, data, [list(order).index(axis) for axis in range(len(order))])


def flattened(call: Call, data: Data, axis: int) -> Data:
    """Return a tensor of two axes: the examples, and all others."""
    shape = call.shape(data)
    if axis != data.batch + 1 or data.batch != 0:
        call.refuse("makes one axis of the examples and another, which is not known")
    return reshaped(call, data, (BATCH, prod(shape[1:])))
