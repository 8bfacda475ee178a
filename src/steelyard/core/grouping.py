"""The weights of each layer, by names relative to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from steelyard.core.renaming import leaf_of
from steelyard.core.roles import plain_layer
from steelyard.core.stacked import is_stacked, split
from steelyard.errors import WeightNotFoundError

if TYPE_CHECKING:
    from steelyard.core.renaming import Names
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights


def by_layer(weights: Mapping[str, Weight]) -> dict[str, list[Weight]]:
    """Return the weights of each layer under their full names, in order."""
    groups: dict[str, list[Weight]] = {}
    for weight in weights.values():
        groups.setdefault(weight.layer, []).append(weight)
    return groups


def layers_of(weights: Weights) -> dict[str, Weights]:
    """Return the weights of each layer, as `Weights.layers` does."""
    return {name: _layer(weights, name, group) for name, group in by_layer(weights).items()}


def layer_of(weights: Weights, name: str) -> Weights:
    """Return the weights of one layer; raises `WeightNotFoundError` if there is none."""
    groups = by_layer(weights)
    if name not in groups:
        raise WeightNotFoundError(name, groups, "layer")
    return _layer(weights, name, groups[name])


def _layer(weights: Weights, layer: str, group: list[Weight]) -> Weights:
    """Return the weights of a layer by their names within it; a layer stored as one matrix is split, and cannot be assigned."""
    stacked = any(map(is_stacked, group))
    parts = [part for weight in group for part in split(weight)] if stacked else group
    own = weights.with_weights(parts, detached=stacked)
    leaves = {weight.name: leaf_of(weight) or weight.name for weight in parts}
    if len({*leaves.values()}) < len(leaves):  # such as a.w and a/w
        leaves = {name: name for name in leaves}
    inside = (w.replace(name=leaves[w.name], layer="", tied=leaves.get(w.tied or "", w.tied)) for w in parts)
    return own.with_weights(inside, names=_within(plain_layer(layer), leaves), detached=stacked)


def _within(layer: str, leaves: Mapping[str, str]) -> Names:
    """Return a function to the new names of the layer's weights and of the graph's layers; None for names outside it."""

    def inside(name: str) -> str | None:
        if name in leaves:
            return leaves[name]
        if name == layer or not layer:
            return "" if name == layer else None
        return name[len(layer) + 1 :] if name.startswith((f"{layer}.", f"{layer}/")) else None

    return inside
