"""The position of each layer in the data flow, which two nets of one architecture have in common whatever their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.core.graph import Graph
    from steelyard.transfers.layers.layer_weights import LayerWeights
    from steelyard.transfers.pairing.net import Net

ROUNDS = 8
"""Neighbours up to this distance are part of a layer's label, which also includes its distance from both ends."""


def places(net: Net, layers: list[LayerWeights], families: Mapping[int, int]) -> dict[int, Any] | None:
    """Return a label of each layer's position in the data flow, by the layer's id, or None if the data flow is not known.

    The label is a hash of the layer's family, of the length of the longest path to it and from it, and of the labels of
    its neighbours, as in the refinement of Weisfeiler and Lehman (1968); equal labels in two nets mean equal positions.
    """
    if net.graph is None:
        return None
    before = flowing_into(net.graph, layers)
    if before is None:
        return None
    behind: dict[int, list[int]] = {id(layer): [] for layer in layers}
    for layer, earlier in before.items():
        for each in earlier:
            behind[each].append(layer)
    order = [id(layer) for layer in layers]
    depth, height = _longest(order, before), _longest(order[::-1], behind)
    label: dict[int, Any] = {
        layer: hash((families.get(layer, -1), depth[layer], height[layer], _direction(each)))
        for layer, each in zip(order, layers, strict=True)
    }
    for _ in range(ROUNDS):
        label = {
            layer: hash(
                (label[layer], *sorted(label[each] for each in before[layer]), 0, *sorted(label[each] for each in behind[layer]))
            )
            for layer in order
        }
    return label


def _direction(layer: LayerWeights) -> bool:
    return layer.direction == "backward"


def _longest(order: Iterable[int], earlier: Mapping[int, Iterable[int]]) -> dict[int, int]:
    """Return the length of the longest path to each layer from an end, in order; back edges do not count."""
    lengths: dict[int, int] = {}
    for layer in order:
        lengths[layer] = 1 + max((lengths[each] for each in earlier[layer] if each in lengths), default=0)
    return lengths


def flowing_into(graph: Graph, layers: list[LayerWeights]) -> dict[int, list[int]] | None:
    """Return the ids of the layers whose outputs flow into each, through any layers without weights; None if unknown."""
    ends = _last_units(layers)
    reach: dict[str, tuple[int, ...]] = {}
    for node in graph.layers:
        ends_before = _reached(graph.feeding(node), ends, reach)
        if ends_before is not None:
            reach[node.name] = ends_before
        elif node.name in ends:
            return None
    return _inside(layers, reach)


def _reached(
    feeding: tuple[str, ...] | None, ends: Mapping[str, tuple[int, ...]], reach: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...] | None:
    """Return the layers from which a layer's input comes, or None if the inputs of a layer between them are unknown."""
    if feeding is None:
        return None
    reached: dict[int, None] = {}
    for other in feeding:
        through = ends.get(other, reach.get(other))
        if through is None:
            return None
        reached.update(dict.fromkeys(through))
    return tuple(reached)


def _inside(layers: list[LayerWeights], reach: Mapping[str, tuple[int, ...]]) -> dict[int, list[int]] | None:
    """Return the layers before each; the levels of a stacked layer are consecutive."""
    before: dict[int, list[int]] = {}
    rows: dict[str, list[list[LayerWeights]]] = {}
    for layer in layers:
        if layer.graph_layer is None:
            return None
        stack = rows.setdefault(layer.graph_layer.name, [])
        fresh = not stack or layer.direction == stack[-1][0].direction or layer.kind.startswith("conv")
        if fresh:
            stack.append([layer])
        else:
            stack[-1].append(layer)
        earlier = [id(each) for each in stack[-2]] if len(stack) > 1 else list(reach[layer.graph_layer.name])
        before[id(layer)] = earlier
    return before


def _last_units(layers: Iterable[LayerWeights]) -> dict[str, tuple[int, ...]]:
    """Return the layers that produce the output of each layer of the graph: for a stacked one, its last level."""
    rows: dict[str, list[LayerWeights]] = {}
    for layer in layers:
        if layer.graph_layer is not None:
            rows.setdefault(layer.graph_layer.name, []).append(layer)
    return {name: tuple(id(layer) for layer in each if _top(layer) == _top(each[-1])) for name, each in rows.items()}


def _top(layer: LayerWeights) -> str:
    """Return the level of a stacked layer, from its name; the first level in forward direction has just the layer's name."""
    return layer.name.rpartition("(")[2].partition(" ")[0] if layer.name.endswith(")") else "0"
