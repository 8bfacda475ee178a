"""What each kind of layer does with the labels of its inputs (see `flow`)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from steelyard.core.coupling import Axis, Couplings
from steelyard.core.weight import Role, Weight
from steelyard.editing.units.flow import Flow, sizes_of
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.graph import Graph, Layer
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.editing.units.flow import Rule

_NORMALISED = "{} normalises over them, and its mean and variance would change"
_JOINING = ("add", "subtract", "multiply", "average", "maximum", "minimum")


def couplings_of(weights: Weights, graph: Graph) -> Couplings:
    """Return the units that must go together.

    Raises `ShapeError` where it is not known what flows into a layer, or of which shape.
    """
    flow = Flow(weights, graph, RULES)
    for layer in graph.layers:
        if not layer.settings.get("unused"):
            flow.run(layer)
    flow.end()
    return flow.couplings


def _dense(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    kernels = flow.of_role(layer, Role.KERNEL)
    if len(kernels) != 1 or "equation" in layer.settings or len(kernels[0].shape) > 2:
        return None
    taken = _one_input(flow, layer, given)
    axes = range(taken.ndim - 1)
    flow.read(layer, kernels[0], flow.common(layer, taken, [*axes]))
    made = flow.axis(kernels[0], "out")
    flow.bind(layer, made, [Role.BIAS])
    flow.couplings.layers[layer.name] = made
    return made.reshape([*[1] * (taken.ndim - 1), -1])


def _one_input(flow: Flow, layer: Layer, given: list[Array]) -> Array:
    """Return the input of a layer; the two directions of a recurrent layer are concatenated, or else joined."""
    if len(given) == 1:
        return given[0]
    width = (layer.input_shape or (0,))[-1]
    if sum(labels.shape[-1] for labels in given) == width and len({labels.shape[:-1] for labels in given}) == 1:
        return np.concatenate(given, axis=-1)
    made = given[0]
    for labels in given[1:]:
        if labels.shape != made.shape:
            raise ShapeError(f"it is not known how the inputs of {printable(layer.name)} belong together, so no units can go")
        flow.couplings.join(made, labels)
    return made


def _conv(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    kernels = flow.of_role(layer, Role.KERNEL)
    taken = flow.channels(layer, _one_input(flow, layer, given))
    for kernel in kernels:
        words = kernel.axes.split()
        if "mult" in words:
            made = _depthwise(flow, kernel, taken)
        elif "in" in words and "out" in words and "-" not in kernel.axes:
            made = _convolved(flow, layer, kernel, taken)
        else:
            return None
        taken = made
    if not kernels:
        return None
    flow.bind(layer, taken, [Role.BIAS])
    flow.couplings.layers[layer.name] = taken
    return flow.spread(layer, taken)


def _depthwise(flow: Flow, kernel: Weight, taken: Array) -> Array:
    """A kernel that has its inputs as an axis, each with `mult` outputs: both go with their input."""
    ids = flow.axis(kernel, "in")
    flow.couplings.join(taken, ids)
    times = kernel.shape[kernel.axes.split().index("mult")]
    return np.repeat(np.broadcast_to(taken, ids.shape) if (ids < 0).any() else ids, times)


def _convolved(flow: Flow, layer: Layer, kernel: Weight, taken: Array) -> Array:
    inside = kernel.shape[kernel.axes.split().index("in")]
    channels = _channels(layer, flow.graph.channels)
    groups = channels // inside if channels and inside and layer.kind == "conv" else 1
    made = flow.axis(kernel, "out")
    if groups > 1 and inside == 1:  # depthwise
        flow.couplings.join(np.repeat(np.broadcast_to(taken, (groups,)), made.size // groups), made)
        return made
    if "separable" in layer.settings:
        groups = 1
    flow.read(layer, kernel, taken, groups)
    if groups > 1:
        ids = flow.axis(kernel, "in", groups)
        flow.couplings.even += [ids.reshape(groups, -1), made.reshape(groups, -1)]
    return made


def _channels(layer: Layer, where: str) -> int:
    shape = layer.input_shape or ()
    return (shape[0 if where == "first" and len(shape) > 1 else -1] or 0) if shape else 0


def _batch_norm(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    axis = layer.settings.get("axis", (-1,))
    if not isinstance(axis, tuple) or len(axis) != 1 or not isinstance(axis[0], int) or axis[0] >= 0:
        return None
    labels = _one_input(flow, layer, given)
    place = labels.ndim + axis[0]
    made = flow.common(layer, labels, [each for each in range(labels.ndim) if each != place])
    for weight in flow.members[layer.name]:
        if len(weight.shape) == 1 and weight.shape[0] == made.size > 1:
            flow.couplings.join(flow.couplings.axis(Axis(weight.name, 0), made.size), made.reshape(-1))
    return labels


def _whole_norm(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    axis = layer.settings.get("axis", (-1,))
    labels = _one_input(flow, layer, given)
    axes = [each % labels.ndim for each in axis if isinstance(each, int)] if isinstance(axis, tuple) else [labels.ndim - 1]
    flow.common(layer, labels, axes, _NORMALISED)
    return labels


def _group_norm(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    groups, labels = layer.settings.get("groups"), _one_input(flow, layer, given)
    place = flow.place(labels.ndim)
    made = flow.common(layer, labels, [each for each in range(labels.ndim) if each != place], _NORMALISED).reshape(-1)
    if layer.kind == "group norm":
        if not isinstance(groups, int) or made.size % groups:
            return None
        together = made.reshape(groups, -1)
        flow.couplings.join(together, together[:, :1])
    for weight in flow.members[layer.name]:
        flow.couplings.join(flow.couplings.axis(Axis(weight.name, 0), weight.size), made)
    return labels


def _prelu(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    labels = _one_input(flow, layer, given)
    for weight in flow.members[layer.name]:
        if len(weight.shape) != labels.ndim:
            return None
        for axis, length in enumerate(weight.shape):
            thin = [1] * labels.ndim
            thin[axis] = length
            others = [each for each in range(labels.ndim) if each != axis]
            if length > 1 and not _is_constant(labels, axis):
                ids = flow.couplings.axis(Axis(weight.name, axis), length)
                flow.couplings.join(flow.common(layer, labels, others), ids.reshape(thin))
    return labels


def _is_constant(labels: Array, axis: int) -> bool:
    return bool((labels == labels.take([0], axis)).all())


def _same(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    return _one_input(flow, layer, given)


def _softmax(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    labels = _one_input(flow, layer, given)
    flow.common(layer, labels, range(labels.ndim))
    return labels


def _flatten(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    turned = layer.settings.get("data_format") == "channels_first" and given[0].ndim > 1
    return None if turned else _one_input(flow, layer, given).reshape(-1)


def _reshape(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    labels, axes = _one_input(flow, layer, given), layer.settings.get("axes")
    if isinstance(axes, tuple):
        return labels.transpose([each - 1 for each in axes if isinstance(each, int)])
    shape = sizes_of(layer.output_shape or ())
    return labels.reshape(shape) if prod(shape) == labels.size else None


def _spatial(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    labels = _one_input(flow, layer, given)
    return flow.spread(layer, flow.channels(layer, labels)) if labels.ndim > 1 else None


def _merge(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    word, axis = layer.settings.get("merge"), layer.settings.get("axis", -1)
    if word == "concatenate" and isinstance(axis, int) and axis < 0:
        return np.concatenate(given, axis=axis)
    if word not in _JOINING:
        return None
    made, *others = np.broadcast_arrays(*given)
    for labels in others:
        flow.couplings.join(made, labels)
    return made


def _embedding(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    tables = flow.of_role(layer, Role.EMBEDDING)
    if len(tables) != 1:
        return None
    made = flow.axis(tables[0], "out")
    flow.couplings.layers[layer.name] = made
    return made.reshape([*[1] * given[0].ndim, -1])


def _recurrent(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    kernels, own = flow.of_role(layer, Role.KERNEL), flow.of_role(layer, Role.RECURRENT_KERNEL)
    if len(kernels) != 1 or len(own) != 1 or len(kernels[0].shape) > 2:
        return None
    units = min(own[0].shape)
    labels = _one_input(flow, layer, given)
    flow.read(layer, kernels[0], flow.common(layer, labels, range(labels.ndim - 1)))
    made = flow.axis(own[0], "out")[:units]
    for weight in (*kernels, *own, *flow.of_role(layer, Role.BIAS)):
        gates = flow.axis(weight, "out")
        flow.couplings.join(gates.reshape(-1, units), made)
    flow.read(layer, own[0], made)
    flow.couplings.layers[layer.name] = made
    return made.reshape([*[1] * (len(layer.output_shape or ()) - 1), -1])


def _attention(flow: Flow, layer: Layer, given: list[Array]) -> Array | None:
    members = flow.members[layer.name]
    heads = layer.settings.get("heads")
    if heads != layer.settings.get("key_heads") or not all(weight.axes for weight in members):
        return None
    ids: Array | None = None
    made: Array | None = None
    for weight in members:
        words = weight.axes.split()
        if "heads" in words:
            own = flow.axis(weight, "heads")
            ids = own if ids is None else ids
            flow.couplings.join(own, ids)
        if "in" in words:
            nth = min(next((n for n, w in enumerate(("query", "value", "key")) if f"/{w}/" in weight.name), 0), len(given) - 1)
            flow.read(layer, weight, flow.common(layer, given[nth], range(given[nth].ndim - 1)), fed=nth)
        if "out" in words:
            own = flow.axis(weight, "out")
            made = own if made is None else made
            flow.couplings.join(own, made)
            if "heads" in words:
                flow.couplings.reads.add(Axis(weight.name, words.index("heads")))
    if ids is None or made is None:
        return None
    flow.couplings.layers[layer.name] = ids
    return made.reshape([*[1] * (len(layer.output_shape or ()) - 1), -1])


RULES: Mapping[str, Rule] = {
    "dense": _dense,
    **dict.fromkeys(("conv", "conv transpose"), _conv),
    "batch norm": _batch_norm,
    **dict.fromkeys(("layer norm", "rms norm"), _whole_norm),
    **dict.fromkeys(("group norm", "instance norm"), _group_norm),
    "prelu": _prelu,
    **dict.fromkeys(("activation", "dropout"), _same),
    "softmax": _softmax,
    "flatten": _flatten,
    "reshape": _reshape,
    **dict.fromkeys(("pool", "upsample", "pad", "global pool"), _spatial),
    "merge": _merge,
    "embedding": _embedding,
    **dict.fromkeys(("lstm", "gru", "rnn"), _recurrent),
    "attention": _attention,
}
"""What each kind of layer does with the labels of its inputs; None where this is not known."""
