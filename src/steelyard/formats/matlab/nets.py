"""The nets of MatConvNet, which are plain structs: the weights among their settings, with roles and axes by their layers.

    net.layers{3}.type, net.layers{3}.weights{1}          a chain of layers; .filters and .biases before version beta 9
    net.params(3).name, net.params(3).value               a graph of layers, which name their parameters:
    net.layers(2).type, net.layers(2).params{1}           "dagnn.Conv", and the name of its first parameter

Source: the documentation of MatConvNet, `vl_simplenn` and `dagnn.DagNN.saveobj`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from steelyard.core.weight import Role, Weight

if TYPE_CHECKING:
    from steelyard.formats.matlab.items import Item

    Meaning = tuple[Role, str]

_CHAIN = re.compile(r"(.*?\blayers\{\d+\})\.(?:weights\{(\d+)\}|(filters|biases))$", re.DOTALL)
_VALUE = re.compile(r"(.*?\bparams(?:\(\d+\))?)\.value$", re.DOTALL)
_USED = re.compile(r"(.*?\blayers(?:\(\d+\))?)\.params\{(\d+)\}$", re.DOTALL)
_NET = re.compile(r"(.*?)\b(?:layers|params)(?:[{(]\d+[)}])?\.", re.DOTALL)

_NORM = {1: (Role.SCALE, ""), 2: (Role.OFFSET, "")}
_MEANINGS: Mapping[str, Mapping[int, Meaning]] = {
    "conv": {1: (Role.KERNEL, "kh kw in out"), 2: (Role.BIAS, "")},
    "convt": {1: (Role.KERNEL, "kh kw out in"), 2: (Role.BIAS, "")},
    "convtranspose": {1: (Role.KERNEL, "kh kw out in"), 2: (Role.BIAS, "")},
    "bnorm": _NORM,
    "batchnorm": _NORM,
}
_OLD = {"filters": 1, "biases": 2}


def model_weights(items: Sequence[Item]) -> list[Weight]:
    """Return the weights of a net, or all numbers where there is no net of MatConvNet; texts are left out."""
    texts = {item.weight.name: item.text for item in items if item.text is not None}
    known = {**_chain(items, texts), **_graph(items, texts)}
    nets = {match[1] for name in known if (match := _NET.match(name))}
    kept = []
    for item in items:
        weight, found = item.weight, known.get(item.weight.name)
        if found is not None:
            kept.append(found)
        elif item.text is None and not any(_is_part(weight.name, net) for net in nets):
            kept.append(weight)
    return kept


def _is_part(name: str, net: str) -> bool:
    """Whether an array is a setting of a net; one whose parts are variables of their own owns its layers alone."""
    return name.startswith(net) if net else _NET.match(name) is not None


def _chain(items: Sequence[Item], texts: Mapping[str, str | None]) -> dict[str, Weight]:
    found = {}
    for item in items:
        match = _CHAIN.match(item.weight.name)
        if match and item.text is None and f"{match[1]}.type" in texts:
            place = _OLD[match[3]] if match[3] else int(match[2])
            found[item.weight.name] = _explained(item.weight, texts[f"{match[1]}.type"], place, match[1])
    return found


def _graph(items: Sequence[Item], texts: Mapping[str, str | None]) -> dict[str, Weight]:
    used: dict[str | None, tuple[str, int]] = {}
    for name, word in texts.items():
        if match := _USED.match(name):
            used.setdefault(word, (match[1], int(match[2])))
    found = {}
    for item in items:
        match = _VALUE.match(item.weight.name)
        if match and item.text is None and f"{match[1]}.name" in texts:
            layer, place = used.get(texts[f"{match[1]}.name"], (match[1], 0))
            found[item.weight.name] = _explained(
                item.weight, texts.get(f"{layer}.type"), place, texts.get(f"{layer}.name") or layer
            )
    return found


def _explained(weight: Weight, kind: str | None, place: int, layer: str) -> Weight:
    word = (kind or "").lower().removeprefix("dagnn.")
    role, axes = _MEANINGS.get(word, {}).get(place, (Role.OTHER, ""))
    return weight.replace(role=role, axes=axes if len(axes.split()) == len(weight.shape) else "", layer=layer)
