"""Roles and layers by the names of Flax linen, which names a layer by its class and a number, `Conv_0`.

Cells and attentions are also recognised by the layers inside, under any name: the cell of an LSTM has `ii` to `ho`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from steelyard.core.graph import Layer
from steelyard.core.weight import Role, Weight
from steelyard.layers.flax.kinds import KINDS
from steelyard.layers.flax.stacks import class_in, stacks_of
from steelyard.layers.roles import SPATIAL, general_axes, stacked_axes

_AUTOMATIC = re.compile(r"([A-Z]\w*)_\d+")
_AXES = {"embedding": "vocab out"}
SUBLAYERS: dict[frozenset[str], tuple[str, str]] = {  # the layers inside a layer -> its kind, its class
    frozenset(("ii", "if", "ig", "io", "hi", "hf", "hg", "ho")): ("lstm", "LSTMCell"),
    frozenset(("ir", "iz", "in", "hr", "hz", "hn")): ("gru", "GRUCell"),
    frozenset(("if", "in", "hf", "hn")): ("other", "MGUCell"),
    frozenset("ih"): ("rnn", "SimpleCell"),
    frozenset(("query", "key", "value", "out")): ("attention", "MultiHeadDotProductAttention"),
}
_NORM_OF_KERNEL = "/kernel/scale"
"""The end of the key, which contains slashes, under which a weight norm keeps the norms of another layer's kernel."""


def with_linen_facts(weights: Iterable[Weight]) -> list[Weight]:
    """Return the variables of a linen module with their roles and axes; those in the collection "params" are trainable."""
    listed = list(weights)
    norms = {path_of(w.layer) for w in listed if w.role in (Role.SCALE, Role.MEAN)}
    held = _held(listed)
    biases = {path_of(w.layer): len(w.shape) for w in listed if w.name.endswith("bias")}
    stacks = stacks_of(listed)
    return [
        _explained(w, path_of(w.layer) in norms, held, biases.get(path_of(w.layer), 0), stacks.get(path_of(w.layer), ()))
        for w in listed
    ]


def path_of(layer: str) -> str:
    """Return the name of a layer without its collection."""
    return layer.partition("/")[2]


def _held(weights: Iterable[Weight]) -> dict[str, tuple[str, str]]:
    """Return the kind and the class of each layer that is recognised by the layers inside."""
    parts: dict[str, set[str]] = {}
    for weight in weights:
        above, _, part = path_of(weight.layer).rpartition("/")
        if part:
            parts.setdefault(above, set()).add(part)
    return {above: SUBLAYERS[frozenset(sublayers)] for above, sublayers in parts.items() if frozenset(sublayers) in SUBLAYERS}


def _explained(weight: Weight, is_norm: bool, held: Mapping[str, tuple[str, str]], biased: int, stack: tuple[int, ...]) -> Weight:
    collection, _, path = weight.name.partition("/")
    layer, _, leaf = path.rpartition("/")
    above, _, part = layer.rpartition("/")
    cell = held.get(above, ("", ""))[0] if part else ""
    role = Role.OFFSET if is_norm and leaf == "bias" else weight.role
    if path.endswith(_NORM_OF_KERNEL):
        axes = "out"
    elif cell in ("lstm", "gru", "rnn", "other"):
        role = Role.RECURRENT_KERNEL if leaf == "kernel" and part.startswith("h") else role
        axes = _gate(part[1:], leaf)
    elif is_norm and role is not Role.OTHER:
        axes = "channel"
    else:
        axes = _axes(layer, leaf, len(weight.shape) - len(stack), cell, biased - len(stack))
    return weight.replace(role=role, axes=stacked_axes(axes, weight.shape, stack), trainable=collection == "params")


def _gate(letter: str, leaf: str) -> str:
    """Return the axes of a layer that holds one gate, or of a cell without gates."""
    out = f"[{letter}]*out" if letter else "out"
    return {"kernel": f"in {out}", "bias": out}.get(leaf, "")


def _axes(layer: str, leaf: str, ndim: int, kind: str, biased: int) -> str:
    """Return the axes: a kernel of two is (in, out); one of more needs the class in the layer's name, or its siblings."""
    made = class_in(layer)
    if kind == "attention":
        last = layer.endswith("out")
        return {"kernel": "heads dim out" if last else "in heads dim", "bias": "out" if last else "heads dim"}.get(leaf, "")
    if leaf == "bias" and ndim > 1:
        return general_axes(0, ndim) if made == "DenseGeneral" else ""
    if leaf != "kernel":
        return "out" if leaf == "bias" else _AXES.get(leaf, "")
    if ndim == 2:
        return "in out"
    if made == "Conv" and 3 <= ndim <= 5:
        return f"{SPATIAL[ndim - 2]} in out"
    return general_axes(ndim - biased, biased) if made == "DenseGeneral" and 0 < biased < ndim else ""


def layers_of_names(weights: Iterable[Weight]) -> list[Layer]:
    """Return the layers whose class their names (`encoder/Conv_0`) or parts reveal, in the order of their weights."""
    listed = list(weights)
    held, layers = _held(listed), {}
    for weight in listed:
        name, kind, made_by = _outermost(path_of(weight.layer), held)
        if kind and name not in layers:
            layers[name] = Layer(name, kind, made_by)
    return list(layers.values())


def _outermost(path: str, held: Mapping[str, tuple[str, str]]) -> tuple[str, str, str]:
    """Return name, kind and class of the outermost layer in a path whose class is known; deeper layers are its parts."""
    words = path.split("/")
    for count in range(len(words) + 1):
        name = "/".join(words[:count])
        automatic = _AUTOMATIC.fullmatch(words[count - 1]) if count else None
        if automatic and automatic[1] in KINDS:
            return name, KINDS[automatic[1]], automatic[1]
        if name in held and count < len(words):
            return (name, *held[name])
    return "", "", ""
