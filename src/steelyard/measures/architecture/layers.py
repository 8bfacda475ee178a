"""The layers of a graph with their weights, and what makes two of them alike."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.roles import layer_of, plain_layer
from steelyard.measures.architecture.folding import Group, groups_of

if TYPE_CHECKING:
    from steelyard.core.graph import Graph, Layer
    from steelyard.core.weight import Weight
    from steelyard.measures.size.tally import Tally

    Counted = Iterable[tuple[Weight, Tally, bool | None]]
    """Weights with what they count, and whether they are parameters."""

_NUMBER = re.compile(r"[_#]?[0-9]+")


class Member(NamedTuple):
    """A layer of the graph, and its weights with what each counts."""

    layer: Layer
    weights: Mapping[str, tuple[Weight, Tally]]


def members_of(graph: Graph, counted: Counted) -> tuple[list[Member], list[Weight]]:
    """Return the layers with their weights, and the weights that belong to none of them."""
    by_name = {layer.name: layer for layer in graph.layers}
    listed = {name: layer.name for layer in graph.layers for name in layer.weight_names}
    held: dict[str, dict[str, tuple[Weight, Tally]]] = {name: {} for name in by_name}
    outside = []
    for weight, tally, _ in counted:
        owner = listed.get(weight.name) or _owner(plain_layer(weight.layer), by_name)
        if owner is None:
            outside.append(weight)
        else:
            held[owner][weight.name] = weight, tally
    return [Member(layer, held[layer.name]) for layer in graph.layers], outside


def _owner(name: str, layers: Mapping[str, Layer]) -> str | None:
    """Return the layer of this name, or the innermost one that it is in."""
    for _ in range(64):
        if name in layers:
            return name
        if not name:
            return None
        name = layer_of(name)
    return None


def folded(graph: Graph, members: Sequence[Member]) -> list[Group]:
    """Return the layers as groups of repeated runs.

    Layers are alike if their kinds, settings, shapes and weights are equal, their names differ in numbers alone, and they take
    their inputs from layers the same number of places before them, or from the same ones.
    """
    taken = _places_of_inputs(graph, members)

    def alike(one: int, other: int) -> bool:
        mine, theirs = taken[one], taken[other]
        if mine is None or theirs is None:
            return mine is theirs
        return len(mine) == len(theirs) and all(a == b or one - a == other - b for a, b in zip(mine, theirs, strict=True))

    return groups_of([_key(member) for member in members], alike)


def _places_of_inputs(graph: Graph, members: Sequence[Member]) -> list[tuple[int, ...] | None]:
    """Return the places of the layers from which each layer's inputs come; the net's inputs are before the first layer."""
    places = {name: -1 - nth for nth, name in enumerate(graph.input_names)}
    places |= {member.layer.name: nth for nth, member in enumerate(members)}
    unknown = -1 - len(graph.input_names)
    taken = (member.layer.inputs for member in members)
    return [None if names is None else tuple(places.get(name, unknown) for name in names) for names in taken]


def _key(member: Member) -> Hashable:
    layer = member.layer
    settings = {key: value for key, value in layer.settings.items() if key != "weights"}
    weights = [(_pattern(name), weight.shape, weight.dtype) for name, (weight, _) in member.weights.items()]
    facts = layer.kind, layer.class_name, layer.input_shape, layer.output_shape, layer.calls
    return _pattern(layer.name), *facts, repr(settings), tuple(weights)


def _pattern(name: str) -> str:
    """Return a name without its numbers: frameworks number layers of a class, from the second on.

    >>> _pattern("dense"), _pattern("dense_1"), _pattern("h.10.ln_1"), _pattern("add#2")
    ('dense', 'dense', 'h..ln', 'add')
    """
    return _NUMBER.sub("", name)
