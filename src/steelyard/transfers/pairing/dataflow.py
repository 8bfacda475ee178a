"""Where each layer stands in the flow of data: what two nets of one architecture have in common, whatever their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.core.graph import Graph, Layer
    from steelyard.transfers.layers.units import Unit
    from steelyard.transfers.pairing.nets import Net

ROUNDS = 8
"""How far around a layer its neighbours are looked at; its distance from both ends is known anyway."""


def places(net: Net, units: list[Unit], families: Mapping[int, int]) -> dict[int, Any] | None:
    """Return for each unit a label of its place in the flow, or None where the net does not say how its data flows.

    The label is made of the unit's family, how many layers lie before and behind it on the longest way, and the same
    of its neighbours, theirs, and so on: equal labels of two nets mean equal places.
    """
    if net.graph is None:
        return None
    before = flowing_into(net.graph, units)
    if before is None:
        return None
    behind: dict[int, list[int]] = {id(unit): [] for unit in units}
    for unit, earlier in before.items():
        for each in earlier:
            behind[each].append(unit)
    order = [id(unit) for unit in units]
    depth, height = _longest(order, before), _longest(order[::-1], behind)
    label: dict[int, Any] = {
        unit: hash((families.get(unit, -1), depth[unit], height[unit], _direction(each)))
        for unit, each in zip(order, units, strict=True)
    }
    for _ in range(ROUNDS):
        label = {
            unit: hash(
                (label[unit], *sorted(label[each] for each in before[unit]), 0, *sorted(label[each] for each in behind[unit]))
            )
            for unit in order
        }
    return label


def _direction(unit: Unit) -> bool:
    return unit.direction == "backward"


def _longest(order: Iterable[int], earlier: Mapping[int, Iterable[int]]) -> dict[int, int]:
    """Return the length of the longest way to each unit from an end, in order; a way back does not count."""
    found: dict[int, int] = {}
    for unit in order:
        found[unit] = 1 + max((found[each] for each in earlier[unit] if each in found), default=0)
    return found


def flowing_into(graph: Graph, units: list[Unit]) -> dict[int, list[int]] | None:
    """Return the units whose outputs flow into each, through any layers without weights."""
    ends = _last_units(units)
    reach: dict[str, tuple[int, ...]] = {}
    for layer in graph.layers:
        found = _reached(layer, ends, reach)
        if found is not None:
            reach[layer.name] = found
        elif layer.name in ends:
            return None
    return _inside(units, reach)


def _reached(layer: Layer, ends: Mapping[str, tuple[int, ...]], reach: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the units that a layer's input comes from, None where a layer between them does not tell its own."""
    if layer.inputs is None:
        return None
    found: dict[int, None] = {}
    for other in layer.inputs:
        through = ends.get(other, reach.get(other))
        if through is None:
            return None
        found.update(dict.fromkeys(through))
    return tuple(found)


def _inside(units: list[Unit], reach: Mapping[str, tuple[int, ...]]) -> dict[int, list[int]] | None:
    """Say what lies before each unit; those of a stacked layer follow one another."""
    before: dict[int, list[int]] = {}
    rows: dict[str, list[list[Unit]]] = {}
    for unit in units:
        if unit.layer is None:
            return None
        stack = rows.setdefault(unit.layer.name, [])
        fresh = not stack or unit.direction == stack[-1][0].direction or unit.kind.startswith("conv")
        if fresh:
            stack.append([unit])
        else:
            stack[-1].append(unit)
        earlier = [id(each) for each in stack[-2]] if len(stack) > 1 else list(reach[unit.layer.name])
        before[id(unit)] = earlier
    return before


def _last_units(units: Iterable[Unit]) -> dict[str, tuple[int, ...]]:
    """Return the units that a layer's output comes from: of a stacked layer, its last."""
    rows: dict[str, list[Unit]] = {}
    for unit in units:
        if unit.layer is not None:
            rows.setdefault(unit.layer.name, []).append(unit)
    return {name: tuple(id(unit) for unit in each if _top(unit) == _top(each[-1])) for name, each in rows.items()}


def _top(unit: Unit) -> str:
    """Return which level of a stacked layer a unit is of; the forward one of the first goes by the layer's name alone."""
    return unit.name.rpartition("(")[2].partition(" ")[0] if unit.name.endswith(")") else "0"
