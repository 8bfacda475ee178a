"""What the names of Flax linen tell of its variables: a layer is called by its class and a number, `Conv_0`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from steelyard.core.graph import Layer
from steelyard.core.weight import Role, Weight
from steelyard.layers.flax import KINDS

_SPACES = ("k", "kh kw", "kd kh kw")
_AUTOMATIC = re.compile(r"([A-Z]\w*)_\d+")
_GATES_OF_STATE = re.compile(r".*(?:^|/)(?:\w*LSTMCell|GRUCell|SimpleCell|MGUCell)_\d+/h[a-z]?")
_AXES = {"bias": "out", "embedding": "vocab out"}


def with_linen_facts(weights: Iterable[Weight]) -> list[Weight]:
    """Return the variables of a linen module with what their names tell; the collection "params" is what is trained."""
    listed = list(weights)
    norms = {path_of(w.layer) for w in listed if w.role in (Role.SCALE, Role.MEAN)}
    return [_explained(w, is_norm=path_of(w.layer) in norms) for w in listed]


def path_of(layer: str) -> str:
    """Return the name of a layer without its collection."""
    return layer.partition("/")[2]


def _explained(weight: Weight, *, is_norm: bool) -> Weight:
    collection, _, path = weight.name.partition("/")
    layer, _, leaf = path.rpartition("/")
    role = Role.OFFSET if is_norm and leaf == "bias" else weight.role
    if role is Role.KERNEL and _GATES_OF_STATE.fullmatch(layer):
        role = Role.RECURRENT_KERNEL
    axes = "channel" if is_norm and role is not Role.OTHER else _axes(layer, leaf, len(weight.shape))
    fits = len(axes.split()) == len(weight.shape)
    return weight.replace(role=role, axes=axes if fits else "", trainable=collection == "params")


def _axes(layer: str, leaf: str, ndim: int) -> str:
    """Every kernel of two axes is (in, out); of more axes the class in the layer's name tells."""
    if leaf != "kernel":
        return _attention(layer, "heads dim", "out") if leaf == "bias" and ndim == 2 else _AXES.get(leaf, "")
    if ndim == 2:
        return "in out"
    kind = _AUTOMATIC.fullmatch(layer.rpartition("/")[2])
    if kind and kind[1] == "Conv" and 3 <= ndim <= 5:
        return f"{_SPACES[ndim - 3]} in out"
    return _attention(layer, "in heads dim", "heads dim out") if ndim == 3 else ""


def _attention(layer: str, inputs: str, output: str) -> str:
    above, _, part = layer.rpartition("/")
    kind = _AUTOMATIC.fullmatch(above.rpartition("/")[2])
    if not kind or not kind[1].startswith("MultiHead"):
        return ""
    return {"query": inputs, "key": inputs, "value": inputs, "out": output}.get(part, "")


def layers_of_names(weights: Iterable[Weight]) -> list[Layer]:
    """Return the layers whose names tell their class (`encoder/Conv_0`), in the order of their weights."""
    found: dict[str, Layer] = {}
    for weight in weights:
        words = path_of(weight.layer).split("/")
        for count, word in enumerate(words, 1):
            automatic = _AUTOMATIC.fullmatch(word)
            kind = KINDS.get(automatic[1]) if automatic else None
            if automatic and kind:
                name = "/".join(words[:count])
                found.setdefault(name, Layer(name, kind, automatic[1]))
                break  # what is inside are its parts
    return list(found.values())
