"""What a layer is, in a few words, and names of repeated layers as one."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING

from steelyard.text.rows import span
from steelyard.text.table import TIMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.graph import Layer

_RANGE = re.compile(r"\[([0-9]+)-([0-9]+)\]")


def what(layer: Layer) -> str:
    """Describe a layer: its kind, or its class if that says more, its strides and its activation.

    >>> from steelyard.core.graph import Layer
    >>> what(Layer("a", "conv", "Conv2D", {"strides": (2, 2), "groups": 1, "activation": "relu"}))
    'conv /2, relu'
    >>> what(Layer("softmax", "softmax", "Softmax", {"activation": "softmax"}))
    'softmax'
    >>> what(Layer("b", "other", "Conv1D")), what(Layer("c", "activation", "ReLU", {"activation": "relu6"}))
    ('Conv1D', 'relu6')
    """
    settings = layer.settings
    activation = settings.get("activation")
    named = {"activation": activation, "merge": settings.get("merge"), "other": None}
    own = layer.class_name.lower() if layer.class_name.isupper() else layer.class_name  # those of TensorFlow Lite
    word = layer.kind if layer.kind not in named else str(named[layer.kind] or own or layer.kind)
    if settings.get("depthwise") or "depthwise" in own.lower():
        word = f"depthwise {word}"
    elif isinstance(groups := settings.get("groups"), int) and groups > 1:
        word = f"{word} in {groups:,} groups"
    if isinstance(pool := settings.get("pool"), str):
        word = f"{pool} {word}"
    if layer.kind == "dropout" and isinstance(rate := settings.get("rate"), float):
        word = f"{word} {rate:g}"
    parts = [f"{word}{_strides(settings.get('strides'))}"]
    if isinstance(heads := settings.get("heads"), int):
        parts.append(f"{heads:,} heads")
    if layer.kind not in ("activation", activation) and isinstance(activation, str) and activation != "linear":
        parts.append(activation)
    parts += [f"run {layer.calls:,} times"] if layer.calls > 1 else []
    return ", ".join([*parts, *(["unused"] if settings.get("unused") else [])])


def _strides(strides: object) -> str:
    """Format strides, of which equal ones are one; those of 1 go without saying."""
    steps = strides if isinstance(strides, tuple) else ()
    known = [step for step in steps if isinstance(step, int)]
    if not known or set(known) == {1}:
        return ""
    return f" /{known[0]}" if len(set(known)) == 1 else f" /{TIMES.join(map(str, known))}"


def name_of_run(names: Sequence[str]) -> str:
    """Return the name of layers that are alike: with their numbers as [0-11] if these are all, else the first and the last.

    >>> name_of_run(["h.0.fc", "h.1.fc"]), name_of_run(["dense", "dense_1", "dense_2"]), name_of_run(["n4", "n8"])
    ('h.[0-1].fc', 'dense … dense_2', 'n4 … n8')
    """
    first, last = names[0], names[-1]
    if first == last:
        return first
    joined = span(first, last)
    counts = prod(int(end) - int(begin) + 1 for begin, end in _RANGE.findall(joined))
    return joined if counts == len(set(names)) else f"{first} … {last}"


def common_part(names: Sequence[str]) -> str:
    """Return the beginning that names have in common, in whole words or up to the number that counts, with what separates it.

    >>> common_part(["h.[0-1].ln_1", "h.[0-1].ln_2"]), common_part(["block_[4-5]_conv", "block_[4-5]_bn"])
    ('h.[0-1].', 'block_[4-5]_')
    """
    first, last = min(names, default=""), max(names, default="")
    same = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    common = first[:same]
    number = common.rfind("]") + 1 if "]" in common[:-1] else -1
    return common[: max(common.rfind("."), common.rfind("/"), number) + 1]
