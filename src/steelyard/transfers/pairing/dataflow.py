"""Where each layer stands in the flow of data: what two nets of one architecture have in common, whatever their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.core.graph import Graph, Layer
    from steelyard.transfers.layers.layer_weights import LayerWeights
    from steelyard.transfers.pairing.net import Net

ROUNDS = 8
"""How far around a layer its neighbours are looked at; its distance from both ends is known anyway."""


def places(net: Net, layers: list[LayerWeights], families: Mapping[int, int]) -> dict[int, Any] | None:
    """Return for each unit a label of its place in the flow, or None where the net does not say how its data flows.

    The label is made of the unit's family, how many layers lie before and behind it on the longest way, and the same
    of its neighbours, theirs, and so on: equal labels of two nets mean equal places.
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
    """Return the length of the longest way to each unit from an end, in order; a way back does not count."""
    found: dict[int, int] = {}
    for layer in order:
        found[layer] = 1 + max((found[each] for each in earlier[layer] if each in found), default=0)
    return found


def flowing_into(graph: Graph, layers: list[LayerWeights]) -> dict[int, list[int]] | None:
    """Return the units whose outputs flow into each, through any layers without weights."""
    ends = _last_units(layers)
    reach: dict[str, tuple[int, ...]] = {}
    for node in graph.layers:
        found = _reached(node, ends, reach)
        if found is not None:
            reach[node.name] = found
        elif node.name in ends:
            return None
    return _inside(layers, reach)


def _reached(node: Layer, ends: Mapping[str, tuple[int, ...]], reach: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the units that a layer's input comes from, None where a layer between them does not tell its own."""
    if node.inputs is None:
        return None
    found: dict[int, None] = {}
    for other in node.inputs:
        through = ends.get(other, reach.get(other))
        if through is None:
            return None
        found.update(dict.fromkeys(through))
    return tuple(found)


def _inside(layers: list[LayerWeights], reach: Mapping[str, tuple[int, ...]]) -> dict[int, list[int]] | None:
    """Say what lies before each unit; those of a stacked layer follow one another."""
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
    """Return the units that a layer's output comes from: of a stacked layer, its last."""
    rows: dict[str, list[LayerWeights]] = {}
    for layer in layers:
        if layer.graph_layer is not None:
            rows.setdefault(layer.graph_layer.name, []).append(layer)
    return {name: tuple(id(layer) for layer in each if _top(layer) == _top(each[-1])) for name, each in rows.items()}


def _top(layer: LayerWeights) -> str:
    """Return which level of a stacked layer a unit is of; the forward one of the first goes by the layer's name alone."""
    return layer.name.rpartition("(")[2].partition(" ")[0] if layer.name.endswith(")") else "0"
