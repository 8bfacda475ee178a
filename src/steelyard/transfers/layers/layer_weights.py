"""Nets as units that any framework has: one layer, one direction, its parts with canonical axes.

Two units of one kind hold the same things under the same words, so a net becomes a list of units, and moving it
into another framework is to write each part where the other keeps it. A layer may be several units: a stacked
or bidirectional recurrent layer is one for each layer and direction, a separable convolution is two convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.core.axes import Part, parts_of
from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError
from steelyard.transfers.layers.norms import ComputedPart, complete, norm_purpose

if TYPE_CHECKING:
    from steelyard.core.graph import Layer

PartKey = tuple[str, str]
"""What a part is for, and which gate of it: ("kernel", "i"), ("bias", "")."""

_CANONICAL: dict[str, tuple[str, ...]] = {
    "conv": ("out", "in"),
    "conv transpose": ("in", "out"),
    "embedding": ("vocab", "out"),
}
"""The axes of a matrix of each kind; a convolution's are followed by those of space. Others are (out, in)."""

_BY_ROLE = {
    Role.KERNEL: "kernel",
    Role.RECURRENT_KERNEL: "recurrent kernel",
    Role.BIAS: "bias",
    Role.SCALE: "scale",
    Role.OFFSET: "offset",
    Role.MEAN: "mean",
    Role.VARIANCE: "variance",
    Role.EMBEDDING: "table",
}
_SPACE = re.compile(r"k[dhw]?")
_RECURRENT = ("rnn", "lstm", "gru")
_STATE_KERNEL = re.compile(r"(?:h[ifgorzn]?|dense_h)/kernel")
_STACKED = re.compile(r"_l(\d+)(_reverse)?$")
_ATTENTION = re.compile(
    r"(?:^|_|/)(query|key|value|q|k|v|out|output|attention_output)(?:_dense|_proj)?(?:/|_weight|_bias|$|\.|_proj)"
)
_VECTORS = frozenset(
    {
        "bias",
        "scale",
        "offset",
        "mean",
        "variance",
        "slope",
        "input bias",
        "recurrent bias",
        "norm",
        "u vector",
        "v vector",
        "sigma",
    }
)


class LayerWeights:
    """One layer in one direction: `parts` by slot.

    `name` is the layer's own, with a word for the unit where a layer is several. `place` is its place in the order of
    the net. `direction` is "forward", "backward", or blank where it is not known. `layer` tells the settings, where
    the graph is known. `readings` are the other things that the same weights may be, for weights of which
    nothing but names and shapes is known.
    """

    __slots__ = (
        "alternatives",
        "computed",
        "direction",
        "graph_layer",
        "kind",
        "name",
        "parts",
        "place",
        "settings",
        "shapes",
        "tied",
        "weights",
    )

    def __init__(self, name: str, kind: str, settings: Mapping[str, Any] | None = None, direction: str = "") -> None:
        self.name = name
        self.kind = kind
        self.settings = dict(settings or {})
        self.direction = direction
        self.parts: dict[PartKey, Part] = {}
        self.weights: dict[str, Weight] = {}
        self.place = 0
        self.alternatives: list[LayerWeights] = []
        self.graph_layer: Layer | None = None
        self.tied = ""
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.computed: dict[PartKey, ComputedPart] = {}

    def __repr__(self) -> str:
        return f"Unit({self.name!r}, {self.kind!r}, {self.parts})"

    def shape(self, slot: str) -> tuple[int, ...]:
        """Return the canonical shape of the parts of a slot, blank where there are none."""
        return self.shapes.get(slot, ())

    def has(self, slot: str) -> bool:
        """Tell whether any gate of a slot is there."""
        return slot in self.shapes

    def complete(self) -> None:
        """Add what the parts make together, and note the shapes of all."""
        complete(self)
        self.shapes = {slot: made.shape for (slot, _), made in self.computed.items()}
        self.shapes |= {slot: part.shape for (slot, _), part in self.parts.items()}


def weights_of_layer(
    name: str,
    kind: str,
    members: Iterable[tuple[str, Weight]],
    node: Layer | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[LayerWeights]:
    """Return the units of one layer, of which the kind is known.

    `members` are its weights by what their names say behind the layer's. Raises `ShapeError` where a weight does not
    fit its axes. Counters and what is no part of the function (`num_batches_tracked`) are passed over.
    """
    settings = node.settings if node else settings or {}
    members = list(members)
    separable = any(leaf.startswith("depthwise_") for leaf, _ in members) and len(members) > 1
    layers: dict[str, LayerWeights] = {}
    for leaf, weight in members:
        if weight.role is Role.COUNT:
            continue
        for key, slot, part in _parts(kind, leaf, weight, settings):
            place = _separable(leaf) if separable else key
            layer = layers.get(place)
            if layer is None:
                layer = layers[place] = _layer_named(name, kind, place, settings)
                layer.graph_layer = node
            layer.weights.setdefault(weight.name, weight)
            _add(layer, slot, part)
    for layer in layers.values():
        layer.complete()
    return [layers[key] for key in sorted(layers, key=_running)] if kind in _RECURRENT else list(layers.values())


def _running(key: str) -> tuple[int, bool]:
    """Return the order of a stacked layer's units: by layer, each forward and then backward."""
    number, _, direction = key.partition(" ")
    return int(number), direction == "backward"


def _layer_named(name: str, kind: str, key: str, settings: Mapping[str, Any]) -> LayerWeights:
    direction = key.partition(" ")[2]
    told = str(settings.get("direction") or "")
    if key == "pointwise":
        settings = {word: value for word, value in settings.items() if word not in ("groups", "strides", "dilation", "padding")}
    shown = f"{name} ({key})" if key not in ("", "0", "0 forward") else name
    return LayerWeights(shown, kind, settings, told or _direction_of(name) or direction)


def _direction_of(name: str) -> str:
    """Return the direction that a layer's name tells, as those inside a bidirectional one do."""
    found = re.findall(r"(?:^|[/._])(forward|backward)(?=[/._]|$)", name)
    return found[-1] if found else ""


def _add(layer: LayerWeights, slot: PartKey, part: Part) -> None:
    if slot in layer.parts:
        raise ShapeError(f"{layer.parts[slot].weight.name} and {part.weight.name} are both the {slot[0]} of {layer.name}")
    layer.parts[slot] = part


def _parts(kind: str, leaf: str, weight: Weight, settings: Mapping[str, Any]) -> Iterator[tuple[str, PartKey, Part]]:
    """Yield the unit that a part belongs to, its slot and the part."""
    slot, key = _slot(kind, leaf, weight), _key(kind, leaf)
    axes = _axes(weight, slot)
    known = {word: int(settings[name]) for word, name in (("group", "groups"), ("heads", "heads")) if settings.get(name)}
    for part in parts_of(weight, axes, _labels(kind, slot, axes), known):
        letters = list(part.letters)
        if axes.startswith("dir"):
            key = f"0 {'backward' if letters.pop(0) == 'b' else 'forward'}"
        name = slot
        if "[ih]" in axes:
            name = "input bias" if letters.pop(0) == "i" else "recurrent bias"
        if "[qkv]" in axes:
            name = letters.pop(0) + name.removeprefix("in")
        gate = "".join(letters)
        if kind == "gru" and name == "bias" and gate == "n":
            name = "input bias"
        yield key, (name, gate), part


def _key(kind: str, leaf: str) -> str:
    if kind in _RECURRENT:
        stacked = _STACKED.search(leaf)
        return f"{stacked[1]} {'backward' if stacked[2] else 'forward'}" if stacked else "0"
    return ""


def _separable(leaf: str) -> str:
    """Return which of the two convolutions of a separable one a weight belongs to; its bias is the second's."""
    return "depthwise" if leaf.startswith("depthwise") else "pointwise"


def _axes(weight: Weight, slot: str) -> str:
    """Return the axes of a weight; those of a vector need no words."""
    if weight.axes and len(weight.axes.split()) == len(weight.shape):
        return weight.axes
    if slot in _VECTORS or slot.endswith(" bias"):
        return " ".join(["channel"] * len(weight.shape))
    raise ShapeError(f"{weight.name} of shape {weight.shape} does not say what its axes are")


def _labels(kind: str, slot: str, axes: str) -> tuple[str, ...]:
    """Return the canonical axes of a slot."""
    if slot in _VECTORS or slot.endswith(" bias"):
        return ("channel",)
    space = [word.lstrip("-") for word in axes.split() if _SPACE.fullmatch(word.lstrip("-"))]
    return (*_CANONICAL.get(kind, ("out", "in")), *space)


def _slot(kind: str, leaf: str, weight: Weight) -> str:
    """Say what a weight of a layer is for."""
    if kind == "attention":
        return _attention_slot(leaf, weight)
    if kind == "prelu":
        return "slope"
    if normed := norm_purpose(leaf):
        return normed
    if kind in _RECURRENT and _STATE_KERNEL.match(leaf):
        return "recurrent kernel"
    slot = _BY_ROLE.get(weight.role, "")
    if slot == "bias" and kind in _RECURRENT:
        return _recurrent_bias(kind, leaf)
    return slot or leaf


def _recurrent_bias(kind: str, leaf: str) -> str:
    if leaf.startswith("bias_ih"):
        return "input bias"
    if leaf.startswith("bias_hh") or leaf == "bias_n" or (kind == "gru" and leaf.startswith("hn")):
        return "recurrent bias"
    return "bias"


def _attention_slot(leaf: str, weight: Weight) -> str:
    bias = " bias" if weight.role is Role.BIAS else ""
    if leaf.startswith("in_proj"):
        return f"in{bias}"
    found = _ATTENTION.search(leaf)
    if not found:
        return leaf
    word = found[1]
    return ("out" if word in ("out", "output", "attention_output") else word[0]) + bias
