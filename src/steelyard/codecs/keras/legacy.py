"""The HDF5 layout of Keras 1 and 2: a group for each layer, with names and order in attributes.

    model_weights (or the root)  attribute layer_names: the groups of the layers, in order
    model_weights/dense          attribute weight_names: the datasets of the layer, in order
    model_config                 attribute of the root: the config, as JSON

A list that is too long for an attribute is split into `weight_names0`, `weight_names1` and so on. Roles and axes come
from the config, where there is one, and from names.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.plain import from_json
from steelyard.core.roles import role_of
from steelyard.core.weight import Role, Weight
from steelyard.errors import printable
from steelyard.layers.keras.cudnn import with_cudnn_facts
from steelyard.layers.keras.kinds import class_and_config
from steelyard.layers.keras.roles import SUBLAYERS, VariableRole, einsum_roles, kind_of, variable_role

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.reading import Hdf5File
    from steelyard.codecs.plain import Config, Plain

WEIGHTS = "model_weights"

_KERAS1 = {
    "W": Role.KERNEL,
    "b": Role.BIAS,
    "U": Role.RECURRENT_KERNEL,
    "gamma": Role.SCALE,
    "beta": Role.OFFSET,
    "running_mean": Role.MEAN,
    "running_std": Role.VARIANCE,
}
_KERAS1_LEAF = re.compile(r"(?:.*_)?(W|b|U|gamma|beta|running_mean|running_std)(?:_[ifcozrh])?")
_KERAS1_AXES = {
    "Convolution1D": "k _ in out",
    "Convolution2D": "kh kw in out",
    "Convolution3D": "kd kh kw in out",
    "Dense": "in out",
}
_HEADS = ("query", "key", "value")


def is_layout(hdf5: Hdf5File) -> bool:
    """Whether a file lists its layers, in the root or in the group `model_weights`."""
    return _list(hdf5, WEIGHTS, "layer_names") is not None or _list(hdf5, "", "layer_names") is not None


def model_config(hdf5: Hdf5File) -> dict[str, Plain] | None:
    """Return the config of the model; None where there is none, or it is invalid."""
    text = hdf5.attribute("", "model_config")
    config = from_json(text) if isinstance(text, str) else None
    return config if isinstance(config, dict) else None


def model_weights(hdf5: Hdf5File) -> list[Weight]:
    """Return the weights layer by layer, under the names of Keras, without TensorFlow's `:0`.

    Where two layers have weights of the same name, the layer's name precedes that of the second.
    """
    top = WEIGHTS if _list(hdf5, WEIGHTS, "layer_names") is not None else ""
    layers = _layers(model_config(hdf5))
    weights: dict[str, Weight] = {}
    # weights that a subclassed model itself holds are in a group that no list names
    for layer in [*(_list(hdf5, top, "layer_names") or []), "top_level_model_weights"]:
        for name, weight in _of_layer(hdf5, f"{top}/{layer}".strip("/")):
            shown = distinct_name(name, layer, weights)
            weights[shown] = _explained(weight.replace(name=shown), layer, layers)
    return with_cudnn_facts(weights.values())


def with_layers(weights: Iterable[Weight], config: Config) -> list[Weight]:
    """Return weights that are named as this layout names them, with what the config of the model says of their layers."""
    layers = _layers(dict(config))
    return with_cudnn_facts([_explained(weight, weight.layer, layers) for weight in weights])


def distinct_name(name: str, layer: str, taken: Container[str]) -> str:
    """Return the name of a weight of a top-level layer, which precedes the name where another weight has it.

    >>> distinct_name("dense/kernel", "model_1", {"dense/kernel"})
    'model_1/dense/kernel'
    """
    shown = name if name not in taken else f"{layer}/{name}".strip("/")
    while shown in taken:
        shown += "#2"
    return shown


def missing_weights(hdf5: Hdf5File) -> list[str]:
    """Return a sentence for each weight that a layer lists and the file lacks."""
    top = WEIGHTS if _list(hdf5, WEIGHTS, "layer_names") is not None else ""
    groups = [f"{top}/{layer}".strip("/") for layer in _list(hdf5, top, "layer_names") or []]
    listed = ((group, name) for group in groups for name in _list(hdf5, group, "weight_names") or [])
    paths = {f"{group}/{name}".replace("//", "/"): name for group, name in listed}
    return [f"lacks the weight {printable(name)} of its list" for path, name in paths.items() if path not in hdf5.tensors]


def _of_layer(hdf5: Hdf5File, group: str) -> Iterator[tuple[str, Weight]]:
    names = _list(hdf5, group, "weight_names")
    if names is None:  # before Keras 1.0
        names = [path.removeprefix(f"{group}/") for path in hdf5.tensors if path.startswith(f"{group}/param_")]
    for name in dict.fromkeys(names):
        # a name of a weight may begin with a slash, which HDF5 ignores
        weight = hdf5.tensors.get(f"{group}/{name}".replace("//", "/"))
        if weight is not None:
            yield name.removesuffix(":0"), weight


def _list(hdf5: Hdf5File, group: str, name: str) -> list[str] | None:
    """Return a list of names, from one attribute or from several numbered ones."""
    # an attribute has at most 64 KiB: Keras splits a longer list
    whole = hdf5.attribute(group, name)
    if isinstance(whole, list):
        return whole
    names: list[str] = []
    for count in range(1000):
        piece = hdf5.attribute(group, f"{name}{count}")
        if not isinstance(piece, list):
            return names if count else _empty(hdf5, group, name)
        names += piece
    return names


def _empty(hdf5: Hdf5File, group: str, name: str) -> list[str] | None:
    """Return an empty list where the attribute exists: an empty list in HDF5 is not a list of texts."""
    return [] if hdf5.has_attribute(group, name) else None


def _layers(config: Plain) -> dict[str, Config]:
    """Return the config of each layer by its name, including inner layers."""
    configs: dict[str, Config] = {}
    stack: list[tuple[Plain, int]] = [(config, 0)]
    while stack:
        entry, depth = stack.pop()
        if isinstance(entry, dict) and isinstance(entry.get("class_name"), str) and depth <= limits.RECURSION:
            inner = entry.get("config")
            layers = inner.get("layers") if isinstance(inner, dict) else inner
            stack += [(below, depth + 1) for below in layers or []] if isinstance(layers, list) else []
            if isinstance(inner, dict):
                name = inner.get("name") or entry.get("name")
                configs.setdefault(str(name), {**inner, "class_name": entry["class_name"]})
                stack += [(inner.get(key), depth + 1) for key in ("layer", "backward_layer", "cell")]
    return configs


def _explained(weight: Weight, layer: str, layers: Mapping[str, Config]) -> Weight:
    """Return a weight with its role and axes, by the nearest layer in its path that the config or a name identifies."""
    words = weight.name.split("/")
    leaf = words[-1]
    config = next((layers[word] for word in [*reversed(words[:-1]), layer] if word in layers), {})
    # Bidirectional puts this word before the name of the layer that it copies
    kinds = [kind_of(re.sub(r"^(forward|backward)_", "", word)) for word in reversed(words[:-1])]
    wrapped, _ = class_and_config(config.get("layer"))
    kinds = [kind for kind in (*kinds[:1], str(config.get("class_name", "")), wrapped, *kinds[1:]) if kind]
    known = next((role for kind in kinds if (role := _known_role(kind, leaf, config, words))), None)
    ndim = len(weight.shape)
    frozen = config.get("trainable") is False or (known is not None and not known.trainable)
    return weight.replace(
        layer="/".join(words[:-1]) or layer,
        role=known.role if known else _role(leaf, ndim),
        axes=known.axes_for(ndim) if known else _keras1_axes(leaf, config, ndim),
        trainable=False if frozen else (True if known and config else None),
    )


def _known_role(kind: str, leaf: str, config: Config, words: list[str]) -> VariableRole | None:
    if ((kind.endswith("Attention") and kind in SUBLAYERS) or kind == "EinsumDense") and len(words) > 1:
        if words[-2] in _HEADS or words[-2] == "attention_output":
            return variable_role("HeadsDense" if words[-2] in _HEADS else "JoinedDense", leaf)
        roles = einsum_roles(str(config.get("equation", "")), str(config.get("bias_axes") or ""))
        return next((role for role in roles if role.leaf == leaf), None)
    return variable_role(kind, leaf)


def _role(leaf: str, ndim: int) -> Role:
    old = _KERAS1_LEAF.fullmatch(leaf)
    return _KERAS1[old[1]] if old else role_of(leaf, ndim)


def _keras1_axes(leaf: str, config: Config, ndim: int) -> str:
    """Return the axes of a kernel of Keras 1. In Theano's dimension ordering, filters come first."""
    axes = _KERAS1_AXES.get(str(config.get("class_name", "")), "")
    if not leaf.endswith("_W") or len(axes.split()) != ndim or "_ " in axes:
        return ""
    if config.get("dim_ordering") == "th":
        return "out in " + axes.removesuffix(" in out")
    return axes
