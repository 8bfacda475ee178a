"""The units of a net that must go together, from its graph: the data flow between its layers, and the axes of their weights.

Beside the output of each layer go labels of its shape, without the batch: the unit that each number belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from steelyard.core.coupling import INPUT, NEUTRAL, OUTPUT, Axis, Couplings
from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.graph import Graph, Layer, Shape
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights

    Rule = Callable[["Flow", Layer, list[Array]], Array | None]
    """What a kind of layer does with the labels of its inputs; None where this is not known."""

_MIXED = "{} computes one number from all of them"


class Flow:
    """Follows labels through the layers of a graph, in their order; `rules` has that of each kind of layer."""

    __slots__ = ("_given", "_rules", "_taken", "couplings", "graph", "members", "shaped")

    def __init__(self, weights: Weights, graph: Graph, rules: Mapping[str, Rule]) -> None:
        if graph.output_names is None and not graph.is_sequential:
            raise ShapeError(
                "it is not known which layers give the outputs of the net, and their units must stay; no units can go"
            )
        self._rules = rules
        self.couplings = Couplings()
        self.graph = graph
        self.members = {layer.name: [*_weights_of(weights, layer.name)] for layer in graph.layers}
        self._given: dict[str, Array] = {}
        self._taken: set[str] = set()
        self.shaped = {layer.name for layer in graph.layers if layer.kind == "reshape" and "shape" in layer.settings}
        for nth, name in enumerate(graph.input_names):
            shape = (graph.input_shapes or ())[nth : nth + 1]
            self._given[name] = self._fixed(sizes_of(shape[0]) if shape else (), INPUT)

    def run(self, layer: Layer) -> None:
        """Find the labels of the output of one layer."""
        again = layer.calls > 1  # then it may take its own output, and those of later layers
        if layer.inputs is None or (not again and any(name not in self._given for name in layer.inputs)):
            raise ShapeError(f"it is not known what flows into {printable(layer.name)}, so no units can go")
        self._taken.update(layer.inputs)
        given = [self._given[name] for name in layer.inputs if name in self._given]
        rule = self._rules.get(layer.kind) if layer.calls == 1 and layer.output_shape is not None else None
        made = rule(self, layer, given) if rule and given else None
        self._given[layer.name] = self.unknown(layer, given) if made is None else self._fitted(layer, made)

    def _fitted(self, layer: Layer, labels: Array) -> Array:
        shape = sizes_of(layer.output_shape or ())
        if layer.settings.get("activation") in ("softmax", "log_softmax") and layer.kind != "softmax":
            self.common(layer, labels, (labels.ndim - 1,))
        return np.broadcast_to(labels, shape) if labels.size and _fits(labels.shape, shape) else self.unknown(layer, [labels])

    def unknown(self, layer: Layer, given: Sequence[Array]) -> Array:
        """Keep the units that reach a layer whose effect on them is not known."""
        times = f"runs {layer.calls} times" if layer.calls > 1 else "takes them"
        reason = f"{printable(layer.name)} ({printable(layer.class_name)}) {times}"
        for labels in given:
            self.couplings.fix(labels, reason)
        made = self._fixed(sizes_of(layer.output_shape or ()), reason)
        if self.members[layer.name]:
            self.couplings.layers.setdefault(layer.name, made.reshape(-1)[:1])
        return made

    def _fixed(self, shape: tuple[int, ...], reason: str) -> Array:
        ids = self.couplings.new(1)
        self.couplings.fix(ids, reason)
        return np.broadcast_to(ids, shape) if shape else ids

    def end(self) -> None:
        """Keep the units of the outputs of the net, also of those that no layer takes."""
        named = self.graph.output_names or ()
        for name, labels in self._given.items():
            if name not in self._taken or name in named:
                self.couplings.fix(labels, OUTPUT)
            if name in self.shaped:
                self.couplings.shaped[name] = np.array(labels)

    def axis(self, weight: Weight, word: str, groups: int = 1) -> Array:
        """Return the ids of the axis of a weight that has a word; none where it has no such axis, or one of length one."""
        words = weight.axes.split()
        place = next((nth for nth, each in enumerate(words) if each.split("*")[-1] == word), None)
        if place is None:
            return np.full(1, NEUTRAL)
        length = weight.shape[place] * groups
        if length < 2:
            return np.full(length, NEUTRAL)
        return self.couplings.axis(_place(weight, place, groups), length)

    def read(self, layer: Layer, weight: Weight, taken: Array, groups: int = 1, word: str = "in", fed: int = 0) -> None:
        """Let a kernel take in the units of some channels."""
        ids = self.axis(weight, word, groups)
        if (ids >= 0).any():
            axis = _place(weight, weight.axes.split().index(word), groups)
            self.couplings.reads.add(axis)
            self.couplings.fed[axis] = (layer.inputs or ("",))[fed]
        if taken.size in (1, ids.size):
            self.couplings.join(taken.reshape(-1), ids)
        else:
            self.couplings.fix(taken, f"{printable(layer.name)} takes them in an order that is not known")

    def common(self, layer: Layer, labels: Array, axes: Sequence[int], reason: str = _MIXED) -> Array:
        """Return the one label along some axes, with the length one."""
        return self.couplings.common(labels, tuple(axes), reason.format(printable(layer.name)))

    def channels(self, layer: Layer, labels: Array) -> Array:
        """Return the label of each channel of an image or sequence."""
        place = self.place(labels.ndim)
        return self.common(layer, labels, [axis for axis in range(labels.ndim) if axis != place]).reshape(-1)

    def place(self, rank: int) -> int:
        """Return the axis of the channels."""
        return 0 if self.graph.channels == "first" and rank > 1 else rank - 1

    def spread(self, layer: Layer, channels: Array) -> Array:
        """Return labels of the shape of a layer's output, the channels where they belong."""
        shape = sizes_of(layer.output_shape or ())
        thin = [1] * len(shape)
        thin[self.place(len(shape))] = channels.size
        return channels.reshape(thin)

    def of_role(self, layer: Layer, *roles: Role) -> list[Weight]:
        """Return the weights of a layer with some roles."""
        return [weight for weight in self.members[layer.name] if weight.role in roles]

    def bind(self, layer: Layer, ids: Array, roles: Sequence[Role], word: str = "out") -> None:
        """Join the units of a layer with its weights that have one number for each."""
        for weight in self.of_role(layer, *roles):
            self.couplings.join(self.axis(weight, word), ids)


def _place(weight: Weight, place: int, groups: int) -> Axis:
    return Axis(weight.name, place, groups, weight.axes.split().index("out") if groups > 1 else 0)


def _weights_of(weights: Weights, name: str) -> Iterator[Weight]:
    for weight in weights.values():
        if weight.layer == name or weight.layer.startswith((f"{name}/", f"{name}.")):
            yield weight


def sizes_of(shape: Shape) -> tuple[int, ...]:
    """Return a shape in which axes of variable length have the length one."""
    return tuple(length or 1 for length in shape)


def _fits(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    return len(shape) == len(full) and all(mine in (1, theirs) for mine, theirs in zip(shape, full, strict=True))
