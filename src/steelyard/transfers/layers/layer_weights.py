"""The weights of a layer in a form common to all frameworks: one layer, one direction, its parts with canonical axes.

Two layers of one kind have the same parts under the same keys, so a net becomes a list of `LayerWeights`, and a
transfer writes each part where the other framework stores it. A framework's layer may become several: a stacked or
bidirectional recurrent layer becomes one for each level and direction, a separable convolution two convolutions.

| kind                  | parts by purpose                              | canonical axes                       |
|-----------------------|-----------------------------------------------|--------------------------------------|
| dense                 | kernel, bias                                  | (out, in)                            |
| conv                  | kernel, bias                                  | (out, in, *space)                    |
| conv transpose        | kernel, bias                                  | (in, out, *space)                    |
| embedding             | table                                         | (vocab, out)                         |
| norms                 | scale, offset, mean, variance                 | (channel)                            |
| prelu                 | slope                                         | (channel)                            |
| rnn, lstm, gru        | kernel, recurrent kernel, by gate             | (out, in)                            |
|                       | bias, or input bias and recurrent bias        | (channel)                            |
| attention             | q, k, v, out and their biases                 | (out, in), heads joined with dim     |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from steelyard.core.axes import Part, parts_of
from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError
from steelyard.transfers.layers.norms import ComputedPart, complete, norm_purpose

if TYPE_CHECKING:
    from steelyard.core.graph import Layer

PartKey = tuple[str, str]
"""The purpose of a part and its gate, blank without gates: ("kernel", "i"), ("bias", "")."""

_CANONICAL: dict[str, tuple[str, ...]] = {
    "conv": ("out", "in"),
    "conv transpose": ("in", "out"),
    "embedding": ("vocab", "out"),
}
"""The axes of a matrix by kind, followed by the spatial axes of a convolution; those of other kinds are (out, in)."""

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
_RANK = "rank"  # the axis that the two factors of an adapter inside a layer share
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
    """One layer in one direction: its `parts` by key, and the parts that are `computed` from them.

    `name` is the layer's name, with the level and direction if a layer was split. `direction` is "forward", "backward",
    or blank if it is not known. `graph_layer` is the layer of the graph, if there is one. `tied` names the layer
    that owns all of these weights, if another one does. `shapes` are the canonical shapes by purpose. `pattern` is the
    layer whose twin this is, if it has alternatives.
    """

    __slots__ = (
        "_alternatives",
        "computed",
        "direction",
        "graph_layer",
        "kind",
        "name",
        "parts",
        "pattern",
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
        self._alternatives: list[LayerWeights] | Callable[[], list[LayerWeights]] = []
        self.pattern: LayerWeights | None = None
        self.graph_layer: Layer | None = None
        self.tied = ""
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.computed: dict[PartKey, ComputedPart] = {}

    def __repr__(self) -> str:
        return f"LayerWeights({self.name!r}, {self.kind!r}, {self.parts})"

    def twin(self, name: str, members: Mapping[str, Weight]) -> LayerWeights:
        """Return a layer that differs from this one in its weights: each is given by the name of its counterpart here.

        `name` is put before the name of this layer, which is blank or a level and a direction.
        """
        known = str(self.settings.get("direction") or "")
        made = LayerWeights(name + self.name, self.kind, self.settings, known or _direction_of(name) or self.direction)
        weights = {leaf: with_facts(members[leaf], own.role, own.axes) for leaf, own in self.weights.items()}
        made.weights = {weight.name: weight for weight in weights.values()}
        made.parts = {key: part.of(weights[part.weight.name]) for key, part in self.parts.items()}
        made.shapes = self.shapes
        if self.computed:
            made.complete()
        if self._alternatives:
            made.pattern, made._alternatives = self, partial(self._twins, name, members)
        return made

    def _twins(self, name: str, members: Mapping[str, Weight]) -> list[LayerWeights]:
        return [other.twin(name, members) for other in self.alternatives]

    @property
    def alternatives(self) -> list[LayerWeights]:
        """The other interpretations of the same weights, if only their names and shapes are known.

        Those of a twin are made at the first access, since few callers need them.
        """
        if callable(self._alternatives):
            self._alternatives = self._alternatives()
        return self._alternatives

    @alternatives.setter
    def alternatives(self, others: list[LayerWeights]) -> None:
        self._alternatives = others

    @property
    def is_sure(self) -> bool:
        """Whether the kind is known: from a graph, or since there is only one interpretation."""
        return self.graph_layer is not None or not self._alternatives

    @property
    def interpretations(self) -> tuple[LayerWeights, ...]:
        """The layer itself and its alternatives."""
        return self, *self.alternatives

    @property
    def look(self) -> Hashable:
        """The same for layers that have the same kinds and shapes in all their interpretations, as long as these layers live."""
        return id(self) if self.graph_layer is not None else (id(self.shapes), self.kind, self.direction, id(self.pattern))

    def shape(self, purpose: str) -> tuple[int, ...]:
        """Return the canonical shape of the parts of one purpose, empty if there are none."""
        return self.shapes.get(purpose, ())

    def has(self, purpose: str) -> bool:
        """Whether there is a part of this purpose, of any gate."""
        return purpose in self.shapes

    def complete(self) -> None:
        """Add the kernels that are computed from several parts, and the shapes of all parts."""
        complete(self)
        self.shapes = {purpose: made.shape for (purpose, _), made in self.computed.items()}
        self.shapes |= {purpose: part.shape for (purpose, _), part in self.parts.items()}


def with_facts(weight: Weight, role: Role, axes: str) -> Weight:
    """Return a weight with this role and axes: itself if it has them."""
    return weight if weight.role is role and weight.axes == axes else weight.replace(role=role, axes=axes)


def weights_of_layer(
    name: str,
    kind: str,
    members: Iterable[tuple[str, Weight]],
    node: Layer | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[LayerWeights]:
    """Return the weights of one layer of known kind: several if it is stacked, bidirectional or separable.

    `members` are its weights by their names within the layer. Counters (`num_batches_tracked`) do not affect the
    outputs, and are left out. Raises `ShapeError` if a weight does not fit its axes.
    """
    settings = node.settings if node else settings or {}
    members = list(members)
    separable = any(leaf.startswith("pointwise_") for leaf, _ in members)
    layers: dict[str, LayerWeights] = {}
    for leaf, weight in members:
        if weight.role is Role.COUNT:
            continue
        for split, key, part in _parts(kind, leaf, weight, settings):
            place = _separable(leaf) if separable else split
            layer = layers.get(place)
            if layer is None:
                layer = layers[place] = _layer_named(name, kind, place, settings)
                layer.graph_layer = node
            layer.weights.setdefault(weight.name, weight)
            _add(layer, key, part)
    for layer in layers.values():
        layer.complete()
    return [layers[place] for place in sorted(layers, key=_level)] if kind in _RECURRENT else list(layers.values())


def _level(place: str) -> tuple[int, bool]:
    """Return the sort key of a stacked layer's parts: by level, each forward and then backward."""
    number, _, direction = place.partition(" ")
    return int(number), direction == "backward"


def _layer_named(name: str, kind: str, key: str, settings: Mapping[str, Any]) -> LayerWeights:
    direction = key.partition(" ")[2]
    known = str(settings.get("direction") or "")
    if key == "pointwise":
        settings = {word: value for word, value in settings.items() if word not in ("groups", "strides", "dilation", "padding")}
    shown = f"{name} ({key})" if key not in ("", "0", "0 forward") else name
    return LayerWeights(shown, kind, settings, known or _direction_of(name) or direction)


def _direction_of(name: str) -> str:
    """Return the direction in the name of a layer inside a bidirectional one; blank for other names."""
    if "forward" not in name and "backward" not in name:
        return ""  # most names; this is faster than a regular expression
    directions = re.findall(r"(?:^|[/._])(forward|backward)(?=[/._]|$)", name)
    return directions[-1] if directions else ""


def _add(layer: LayerWeights, key: PartKey, part: Part) -> None:
    if key in layer.parts:
        raise ShapeError(f"{layer.parts[key].weight.name} and {part.weight.name} are both the {key[0]} of {layer.name}")
    layer.parts[key] = part


def _parts(kind: str, leaf: str, weight: Weight, settings: Mapping[str, Any]) -> Iterator[tuple[str, PartKey, Part]]:
    """Yield the level and direction of each part, its key, and the part.

    The letters of a part identify it among the packed ones, in the order of the axes:

    dir       "f" or "b": the direction, a leading axis in ONNX
    [ih]      "i" or "h": the bias of the input or of the state
    [qkv]     "q", "k" or "v": the projection of attention
    [ifgo]    the gate
    """
    purpose, split = _purpose(kind, leaf, weight), _split(kind, leaf)
    axes = _axes(weight, purpose)
    known = {word: int(settings[name]) for word, name in (("group", "groups"), ("heads", "heads")) if settings.get(name)}
    for part in parts_of(weight, axes, _labels(kind, purpose, axes), known):
        letters = list(part.letters)
        if axes.startswith("dir"):
            split = f"0 {'backward' if letters.pop(0) == 'b' else 'forward'}"
        name = purpose
        if "[ih]" in axes:
            name = "input bias" if letters.pop(0) == "i" else "recurrent bias"
        if "[qkv]" in axes:
            name = letters.pop(0) + name.removeprefix("in")
        gate = "".join(letters)
        # h = tanh(W x + b_in + r * (U h + b_hn)): only the bias outside the product with r can be a single one
        if kind == "gru" and name == "bias" and gate == "n":
            name = "input bias"
        yield split, (name, gate), part


def _split(kind: str, leaf: str) -> str:
    """Return the level and direction of a recurrent layer's weight, "0" if its name has neither; blank for other layers."""
    if kind in _RECURRENT:
        stacked = _STACKED.search(leaf)
        return f"{stacked[1]} {'backward' if stacked[2] else 'forward'}" if stacked else "0"
    return ""


def _separable(leaf: str) -> str:
    """Return which of the two convolutions of a separable one has this weight; the bias belongs to the second."""
    return "depthwise" if leaf.startswith("depthwise") else "pointwise"


def _axes(weight: Weight, purpose: str) -> str:
    """Return the axes of a weight; those of a vector may be unknown. Raises `ShapeError` for a matrix of unknown axes."""
    if weight.axes and len(weight.axes.split()) == len(weight.shape):
        return weight.axes
    if purpose in _VECTORS or purpose.endswith(" bias"):
        return " ".join(["channel"] * len(weight.shape))
    raise ShapeError(f"{weight.name} of shape {weight.shape} has unknown axes")


@lru_cache(maxsize=1024)
def _labels(kind: str, purpose: str, axes: str) -> tuple[str, ...]:
    """Return the canonical axes of the parts of one purpose; cached, since the layers of a net repeat them."""
    if purpose in _VECTORS or purpose.endswith(" bias"):
        return ("channel",)
    words = axes.split()
    space = [word.lstrip("-") for word in words if _SPACE.fullmatch(word.lstrip("-"))]
    rank = [_RANK] if _RANK in words else []
    return (*_CANONICAL.get(kind, ("out", "in")), *space, *rank)


def _purpose(kind: str, leaf: str, weight: Weight) -> str:
    """Return the purpose of a weight in its layer, or its leaf name if the purpose is not known."""
    if kind == "attention":
        return _attention_purpose(leaf, weight)
    if kind == "prelu":
        return "slope"
    # before the role: the pieces of a normed kernel have names that no role describes
    if normed := norm_purpose(leaf):
        return normed
    if kind in _RECURRENT and _STATE_KERNEL.match(leaf):
        return "recurrent kernel"
    purpose = _BY_ROLE.get(weight.role, "")
    if purpose == "bias" and kind in _RECURRENT:
        return _recurrent_bias(kind, leaf)
    return purpose or leaf


def _recurrent_bias(kind: str, leaf: str) -> str:
    if leaf.startswith("bias_ih"):
        return "input bias"
    if leaf.startswith("bias_hh") or leaf == "bias_n" or (kind == "gru" and leaf.startswith("hn")):
        return "recurrent bias"
    return "bias"


def _attention_purpose(leaf: str, weight: Weight) -> str:
    bias = " bias" if weight.role is Role.BIAS else ""
    if leaf.startswith("in_proj"):
        return f"in{bias}"
    match = _ATTENTION.search(leaf)
    if not match:
        return leaf
    word = match[1]
    return ("out" if word in ("out", "output", "attention_output") else word[0]) + bias
