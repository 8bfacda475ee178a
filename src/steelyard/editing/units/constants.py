"""The constants that removed units emit, moved into the biases of what reads them.

A unit whose kernel is zero still emits f(bias). Where that is one number, the next layer's bias can take it: then the smaller
net equals the net in which the kernels of the units are zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.weight import Role, Weight
from steelyard.editing.units.cutting import Cut, places, zeroed
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.coupling import Axis, Couplings
    from steelyard.core.graph import Graph
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights

_KERNELS = (Role.KERNEL, Role.RECURRENT_KERNEL, Role.EMBEDDING)


def without_kernels(weights: Weights, couplings: Couplings, indices: Mapping[Axis, Array]) -> dict[str, Array]:
    """Return the kernels that give the units, with zeros for these."""
    made: dict[str, Array] = {}
    for axis, gone in indices.items():
        weight = weights[axis.weight]
        if axis not in couplings.reads and weight.role in _KERNELS and axis.groups == 1:
            array = made.get(weight.name, weight.numpy())
            made[weight.name] = zeroed(array, [Cut(axis.axis, tuple(gone.tolist()))])
    return made


def shifted_biases(
    weights: Weights, graph: Graph | None, couplings: Couplings, indices: Mapping[Axis, Array], constants: Mapping[Axis, Array]
) -> dict[str, Array]:
    """Return the biases with what the removed units bring to them, in the weights' dtype, by name.

    `constants` has the number of each unit at each axis that reads it. Raises `ShapeError` where it is not one number: it varies
    with the inputs, or at the border of a padded image; and where the layer has no bias.
    """
    sums: dict[str, Array] = {}
    for axis, gone in indices.items():
        if axis not in couplings.reads:
            continue
        numbers = constants.get(axis, np.full(couplings.axes[axis].size, np.nan))[gone]
        if not numbers.any():
            continue
        kernel = weights[axis.weight]
        if not np.isfinite(numbers).all():
            raise ShapeError(
                f"the units that {printable(kernel.layer)} loses do not bring one constant to it, so fold cannot keep it"
            )
        if axis in couplings.padded or _is_padded(graph, kernel):
            raise ShapeError(
                f"{printable(kernel.layer)} pads its inputs, where the removed units bring nothing, so fold cannot keep them"
            )
        bias = _bias_of(weights, kernel)
        sums[bias.name] = sums.get(bias.name, 0.0) + _brought(kernel, axis, gone, numbers)
    return {name: _added(weights[name], added) for name, added in sums.items()}


def _is_padded(graph: Graph | None, kernel: Weight) -> bool:
    layer = next((each for each in graph.layers if each.name == kernel.layer), None) if graph else None
    if layer is None or len(kernel.shape) < 3 or layer.kind not in ("conv", "conv transpose"):
        return False
    return layer.kind == "conv transpose" or layer.settings.get("padding") != "valid"


def _bias_of(weights: Weights, kernel: Weight) -> Weight:
    """Return the bias of the layer of a kernel, of the inputs where a recurrent layer has two of them."""
    own = [weight for weight in weights.values() if weight.layer == kernel.layer and weight.role is Role.BIAS]
    same = [weight for weight in own if weight.name == kernel.name.replace("weight", "bias")]
    if not own:
        raise ShapeError(f"{printable(kernel.layer)} has no bias that could take the constants of the removed units")
    return (same or own)[0]


def _brought(kernel: Weight, axis: Axis, gone: Array, numbers: Array) -> Array:
    """Return what the constants bring to each output: the sum of the kernel's numbers that read them, times the constants."""
    array, words = kernel.numpy().astype(np.float64), kernel.axes.split()
    outward = next(nth for nth, word in enumerate(words) if word.split("*")[-1] in ("out", "heads"))
    brought: Any = np.zeros_like(array)
    for index, number in zip(gone.tolist(), numbers.tolist(), strict=True):
        for place in places(array.shape, [Cut(axis.axis, (index,), axis.groups, axis.across)]):
            brought[place] += array[place] * number
    kept = {nth for nth, word in enumerate(words) if word in ("heads", "dim") and "in" in words} | {outward}
    total: Array = brought.sum(axis=tuple(nth for nth in range(array.ndim) if nth not in kept))
    return total


def _added(bias: Weight, added: Array) -> Array:
    numbers: Any = bias.numpy().astype(np.float64)
    if numbers.ndim == 2 and added.ndim == 1:  # a GRU of Keras has one row for the inputs, one for the state
        numbers[0] += added
    else:
        numbers = numbers + added.reshape(numbers.shape)
    made: Array = numbers.astype(bias.numpy().dtype)
    return made
