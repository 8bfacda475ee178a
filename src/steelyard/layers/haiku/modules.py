"""Roles, axes and layers in the trees of Haiku, by the names of its modules and the shapes of their parameters.

A tree has two levels, {module: {parameter: array}}. Haiku names a module by its class in snake case and a number
(`conv2_d_1`), and puts "~" between a module and those that it makes in its constructor.

| module | parameter | axes |
|---|---|---|
| linear, and any with a "w" of two axes | w, b | in out, out |
| conv1_d, conv2_d, conv3_d, depthwise_conv2_d | w, b | kh kw in out, out |
| conv2_d_transpose, whose kernel is flipped | w, b | -kh -kw out in, out |
| norms, whose leading axes have length one | scale, offset | 1 1 1 channel |
| batch_norm/~/mean_ema, var_ema | average | 1 1 1 channel |
| gru, whose update gate is the complement of that of others | w_i, w_h, b | blank |
| below `__layer_stack`, and in trees made by vmap | all | layer, and then those above |

A kernel under a name of the user's own is a convolution if its bias fits only one of its axes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from steelyard.core.graph import Layer
from steelyard.core.weight import Role, Weight
from steelyard.layers.roles import REVERSED, SPATIAL, stacked_axes

_KINDS = {
    "linear": "dense",
    **dict.fromkeys(("conv1_d", "conv2_d", "conv3_d"), "conv"),
    **dict.fromkeys(("depthwise_conv1_d", "depthwise_conv2_d", "depthwise_conv3_d"), "conv"),
    **dict.fromkeys(("conv1_d_transpose", "conv2_d_transpose", "conv3_d_transpose"), "conv transpose"),
    "embed": "embedding",
    "batch_norm": "batch norm",
    "layer_norm": "layer norm",
    "rms_norm": "rms norm",
    "group_norm": "group norm",
    "instance_norm": "instance norm",
}
_OTHERS = ("gru", "vanilla_rnn", "lstm", "multi_head_attention", "mlp", "bias")
_NUMBER = re.compile(r"_\d+$")
_STACK = "__layer_stack"
_AVERAGE = re.compile(r"(.*_ema|exponential_moving_average)(_\d+)?")
_STATISTICS = {"mean_ema": Role.MEAN, "var_ema": Role.VARIANCE}
_KERNELS = {"w": Role.KERNEL, "w_i": Role.KERNEL, "w_h": Role.RECURRENT_KERNEL}


def is_haiku(tree: object) -> bool:
    """Whether a tree, or the first of a pair of parameters and state, has the names that Haiku gives its modules.

    >>> is_haiku({"mlp/~/linear_0": {"w": 1.0}}), is_haiku({"fc": {"w": 1.0}})
    (True, False)
    """
    if is_pair(tree):
        tree = tree[0] or tree[1]  # type: ignore[index]
    if not isinstance(tree, Mapping) or not all(_is_module(name, held) for name, held in tree.items()):
        return False
    return any(_is_own(word) for name in tree for word in name.split("/"))


def is_pair(tree: object) -> bool:
    """Whether a tree is a tuple of parameters and state, as `init` of a transformed function with state returns them."""
    return isinstance(tree, tuple) and len(tree) == 2 and all(isinstance(part, Mapping) for part in tree)


def is_state(name: str, *, paired: bool) -> bool:
    """Whether a name is that of state: of the second tree of a pair, or of the moving average of a norm.

    >>> is_state("1/net/mask", paired=True), is_state("norm/~/var_ema/hidden", paired=False), is_state("fc/w", paired=False)
    (True, True, False)
    """
    return name.startswith("1/") if paired else _AVERAGE.fullmatch(name.split("/")[-2:][0]) is not None


def _is_module(name: object, held: object) -> bool:
    return isinstance(name, str) and isinstance(held, Mapping) and not any(isinstance(each, Mapping) for each in held.values())


def _is_own(word: str) -> bool:
    return word == "~" or word.startswith(_STACK) or (known := _NUMBER.sub("", word)) in _KINDS or known in _OTHERS


def with_haiku_facts(weights: Iterable[Weight], *, paired: bool) -> list[Weight]:
    """Return the weights with their roles and axes; the statistics of a norm belong to its layer.

    With `paired` the names begin with the place in the pair, which is not a part of the name of a layer.
    """
    listed = [weight.replace(layer=_module_of(weight.name, paired)) for weight in weights]
    biases = {weight.layer: weight for weight in listed if weight.name.endswith("/b")}
    return [_explained(weight, biases.get(weight.layer)) for weight in listed]


def _module_of(name: str, paired: bool) -> str:
    module = name.rpartition("/")[0]
    return module.partition("/")[2] if paired else module


def _explained(weight: Weight, bias: Weight | None) -> Weight:
    leaf = weight.name.rpartition("/")[2]
    above, _, part = weight.layer.rpartition("/~/")
    shape = weight.shape
    if part in _STATISTICS and leaf == "average":
        return weight.replace(layer=above, role=_STATISTICS[part], axes=_channel(shape))
    if leaf in ("scale", "offset"):
        role = Role.SCALE if leaf == "scale" else Role.OFFSET
        return weight.replace(role=role, axes=_channel(shape, lead=int(_STACK in weight.layer)))
    lead = _lead(weight, bias)
    role = _KERNELS.get(leaf, Role.BIAS if leaf == "b" else weight.role)
    return weight.replace(role=role, axes=stacked_axes(_axes(weight, leaf, bias, lead), shape, shape[:lead]))


def _channel(shape: tuple[int, ...], lead: int = 0) -> str:
    """Return the axes of a norm's array, all but the last of which have length one."""
    inner = shape[lead:]
    return (
        stacked_axes("1 " * (len(inner) - 1) + "channel", shape, shape[:lead])
        if inner and max(inner[:-1], default=1) == 1
        else ""
    )


def _lead(weight: Weight, bias: Weight | None) -> int:
    """Return the number of leading axes along which layers are stacked: a bias has one axis of its own."""
    if bias is not None and len(bias.shape) > 1 and weight.shape[: len(bias.shape) - 1] == bias.shape[:-1]:
        return len(bias.shape) - 1
    return int(_STACK in weight.layer)


def _word(layer: str) -> str:
    return _NUMBER.sub("", layer.rpartition("/")[2])


def _axes(weight: Weight, leaf: str, bias: Weight | None, lead: int) -> str:
    if _word(weight.layer) == "gru":
        return ""
    if leaf in ("b", "embeddings"):
        return "out" if leaf == "b" else "vocab out"
    shape = weight.shape[lead:]
    if leaf != "w" or len(shape) == 2:
        return "in out" if leaf == "w" else ""
    rank = len(shape) - 2
    kind = _kind_of_convolution(weight.layer, shape, bias.shape[-1] if bias is not None and bias.shape else None)
    if rank not in SPATIAL or not kind:
        return ""
    return f"{SPATIAL[rank]} in out" if kind == "conv" else f"{REVERSED[rank]} out in"


def _kind_of_convolution(layer: str, shape: tuple[int, ...], bias: int | None) -> str:
    """Return the kind of a kernel with spatial axes: by the class in its name, by its bias, or by the word "conv"."""
    word = _word(layer)
    if word in _KINDS:
        return _KINDS[word]
    fits = [kind for kind, length in (("conv", shape[-1]), ("conv transpose", shape[-2])) if length == bias]
    if len(fits) == 1:
        return fits[0]
    return "conv" if "conv" in word and "transpose" not in word else ""


def layers_of_modules(weights: Iterable[Weight]) -> list[Layer]:
    """Return the layers whose kind is known, by the names of modules or by their kernels, in the order of their weights."""
    layers: dict[str, Layer] = {}
    for weight in weights:
        kind = _KINDS.get(_word(weight.layer)) or _kind_of_kernel(weight)
        if kind and weight.layer not in layers and not weight.axes.startswith("layer"):
            layers[weight.layer] = Layer(weight.layer, kind, _word(weight.layer))
    return list(layers.values())


def _kind_of_kernel(weight: Weight) -> str:
    """Return the kind of a layer under a name of the user's own by the axes of its kernel; blank if they are unknown."""
    *spatial, first, second = weight.axes.split() if weight.role is Role.KERNEL and weight.axes else ("", "", "")
    if (first, second) == ("in", "out"):
        return "conv" if spatial else "dense"
    return "conv transpose" if spatial and (first, second) == ("out", "in") else ""
