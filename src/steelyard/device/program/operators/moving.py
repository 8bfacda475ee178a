"""Operators that move numbers: reshapes, orders of axes, selections, and joins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.program.operators.tensors import BATCH, Call, Data, count
from steelyard.device.program.shaping import Concatenate, Constant, Permute, Reshape, Select

if TYPE_CHECKING:
    from steelyard.core.weight import Array


def reshaped(call: Call, data: Data, target: Sequence[int]) -> Data:
    """Return a tensor in another shape, in which `BATCH` is the number of examples and -1 the length that is left."""
    shape = call.shape(data)
    at = _examples(call, data, target)
    rest = [length for place, length in enumerate(target) if place != at]
    if rest.count(-1) == 1:
        whole = prod(length for length in rest if length != -1)
        rest[rest.index(-1)] = count(shape) // max(whole, 1)
    # where there is one example only, its numbers have their order wherever the axis of the examples is
    is_mixed = call.sizes != {1} and prod(rest[:at]) != prod(shape[: data.batch])
    if prod(rest) != count(shape) or min(rest, default=1) < 0 or is_mixed:
        call.refuse(f"makes the shape {_shown(target)} of {_shown(shape)}, which mixes the examples with other axes")
    held = call.building.shapes[data.place]
    return Data(data.place if tuple(rest) == held else call.add(Reshape(tuple(rest)), data.place), at)


def _examples(call: Call, data: Data, target: Sequence[int]) -> int:
    """Return the place of the number of examples in a target of a reshape."""
    listed = list(target)
    if listed.count(BATCH) == 1:
        return listed.index(BATCH)
    whole = count(call.shape(data))
    likely: list[int] = [min(data.batch, len(target) - 1), *range(len(target))]
    for at in likely if target else ():
        rest = [length for place, length in enumerate(target) if place != at]
        is_free = target[at] == -1 or target[at] in call.sizes
        if is_free and (prod(rest) == whole if -1 not in rest else at == data.batch):
            return at
    return call.refuse(f"makes the shape {_shown(target)} of {_shown(call.shape(data))}, whose axis of examples is not known")


def _shown(shape: Sequence[int]) -> str:
    return f"({', '.join('examples' if length == BATCH else str(length) for length in shape)})"


def permuted(call: Call, data: Data, order: Sequence[int]) -> Data:
    """Return a tensor with its axes in another order."""
    axes = range(len(call.shape(data)))
    if sorted(order) != list(axes):
        call.refuse(f"has the order {tuple(order)} for {len(axes)} axes")
    inner = tuple(axis + 1 if axis < data.batch else axis for axis in order if axis != data.batch)
    moved = data.place if list(inner) == sorted(inner) else call.add(Permute(inner), data.place)
    return Data(moved, list(order).index(data.batch))


def selected(call: Call, data: Data, parts: Mapping[int, int | slice]) -> Data:
    """Return a place or a range along some axes of a tensor; an axis of which one place is taken is dropped."""
    shape = call.shape(data)
    taken: list[int | slice] = []
    dropped = 0
    for axis, length in enumerate(shape):
        part = parts.get(axis)
        if axis == data.batch:
            if part is not None:
                call.refuse("selects some of the examples")
            continue
        if isinstance(part, int):
            if not -length <= part < length:
                call.refuse(f"selects place {part} of {length}")
            dropped += axis < data.batch
            taken.append(part % length)
        else:
            taken.append(_range(call, part, length))
    whole = [slice(0, length, 1) for length in call.building.shapes[data.place]]
    place = data.place if taken == whole else call.add(Select(tuple(taken)), data.place)
    return Data(place, data.batch - dropped)


def _range(call: Call, part: slice | None, length: int) -> slice:
    start, stop, step = (part or slice(None)).indices(length)
    if step < 1:
        call.refuse("selects backwards, which is not known")
    return slice(start, max(stop, start), step)


def joined(call: Call, tensors: Sequence[Data | Array], axis: int) -> Data:
    """Return tensors after one another along an axis."""
    first = next(each for each in tensors if isinstance(each, Data))
    own = call.own_axis(axis, first)
    places = []
    for each in tensors:
        if isinstance(each, Data):
            if each.batch != first.batch:
                call.refuse("joins tensors whose axes of examples differ")
            places.append(each.place)
        else:
            places.append(as_data(call, each, first))
    return Data(call.add(Concatenate(own), *places), first.batch)


def as_data(call: Call, values: Array, like: Data) -> int:
    """Return the number of a constant that is the same for all examples of a tensor, with as many axes."""
    import numpy as np

    rank = len(call.shape(like))
    if values.ndim > rank:
        call.refuse(f"combines a tensor of {rank} axes with a constant of {values.ndim}")
    whole = values.reshape((1,) * (rank - values.ndim) + values.shape)
    if whole.shape[like.batch] != 1:
        call.refuse(f"has a constant for {whole.shape[like.batch]} examples")
    if whole.dtype.kind not in "iuf":
        call.refuse(f"combines its input with numbers of {whole.dtype}")
    numbers = np.squeeze(whole, like.batch)
    numbers = numbers.astype("float64") if numbers.dtype.kind != "f" else numbers
    return call.add(Constant(call.building.shared(numbers)))
