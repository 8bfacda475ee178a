"""A net, live or in a file, as a list of units in order: what the pairing of two nets works on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from steelyard.core.roles import plain_layer
from steelyard.core.weight import Role, Weight
from steelyard.transfers.layers.interpretations import readings_of
from steelyard.transfers.layers.stacked import separate
from steelyard.transfers.layers.units import Unit, layer_units

if TYPE_CHECKING:
    from steelyard.core.graph import Graph, Layer
    from steelyard.core.weights import Weights

    Members = list[tuple[str, Weight]]


class Net:
    """Units in order. `is_execution_order` and `channels` are as in `Graph`; `loose` are weights that belong to no unit.

    `listed` are the weights, those that are a whole layer in parts.
    """

    __slots__ = ("channels", "graph", "is_execution_order", "listed", "loose", "units", "weights")

    def __init__(self, weights: Weights, graph: Graph | None) -> None:
        self.weights = weights
        self.graph = graph
        self.is_execution_order = bool(graph and graph.is_execution_order)
        self.channels = graph.channels if graph else ""
        self.listed = list(separate(weights))
        self.loose: list[Weight] = []
        self.units = self._units()
        self.channels = self.channels or _channels(self.units)
        for place, unit in enumerate(self.units):
            unit.place = place

    def _units(self) -> list[Unit]:
        layers = {layer.name: layer for layer in self.graph.layers} if self.graph else {}
        named = {name: layer.name for layer in layers.values() for name in layer.settings.get("weights", ())}
        claimed: dict[str, Members] = {}
        rest: list[Weight] = []
        for weight in self.listed:
            owner, leaf = (named[weight.name], weight.name) if weight.name in named else _owner(weight, layers)
            if owner is None or layers[owner].kind == "other":
                rest.append(weight)
            else:
                claimed.setdefault(owner, []).append((leaf, weight))
        found = [unit for name, layer in layers.items() if name in claimed for unit in self._known(layer, claimed[name])]
        units = [*found, *readings_of(rest, self.loose)] if rest else found
        return _without_aliases(units)

    def _known(self, layer: Layer, members: Members) -> list[Unit]:
        if not any(_unexplained(layer, weight) for _, weight in members):
            return layer_units(layer.name, layer.kind, members, layer)
        units = []
        for unit in readings_of([weight for _, weight in members], self.loose):
            fitting = [reading for reading in (unit, *unit.readings) if reading.kind == layer.kind and _set_so(layer, reading)]
            if fitting:
                units.append(_joined(fitting, layer))
        return units


def _unexplained(layer: Layer, weight: Weight) -> bool:
    """Tell whether a kernel does not say how its axes lie, or which gates it holds."""
    if weight.role not in (Role.KERNEL, Role.RECURRENT_KERNEL):
        return False
    return not weight.axes or (layer.kind in ("lstm", "gru") and "[" not in weight.axes)


def _set_so(layer: Layer, reading: Unit) -> bool:
    """Tell whether a reading agrees with the layer's settings: Flax turns a transposed kernel round unless it is told not to."""
    turned = layer.settings.get("transpose_kernel")
    if turned is None or reading.kind != "conv transpose":
        return True
    axes = next((part.weight.axes for part in reading.parts.values() if len(part.labels) > 1), "")
    return axes.startswith("-") != bool(turned)


def _joined(readings: list[Unit], layer: Layer) -> Unit:
    first, *others = readings
    for unit in readings:
        unit.layer, unit.settings, unit.readings = layer, unit.settings | layer.settings, []
        unit.direction = str(layer.settings.get("direction") or unit.direction)
    first.readings = others
    return first


def _owner(weight: Weight, layers: Mapping[str, Layer]) -> tuple[str | None, str]:
    """Return the layer that a weight belongs to, and what its name says behind that; a wrapper's belong to what it wraps."""
    owner = _longest(weight, layers)
    if owner is None:
        return (weight.layer, weight.name) if weight.layer in layers else (None, "")
    leaf = plain_layer(weight.name)[len(owner) :].lstrip("./")
    wrapped = str(layers[owner].settings.get("wraps") or "")
    if wrapped not in layers or wrapped == owner:
        return owner, leaf
    inner = wrapped.removeprefix(owner).lstrip("./")
    return wrapped, leaf.removeprefix(inner).lstrip("./")


def _longest(weight: Weight, layers: Mapping[str, Layer]) -> str | None:
    """Return the longest name of a layer that a weight's name begins with."""
    name = plain_layer(weight.name)
    while True:
        cut = max(name.rfind("."), name.rfind("/"), name.rfind("["))
        name = name[: max(cut, 0)]
        if name in layers:
            return name
        if not name:
            return None


def _without_aliases(units: Iterable[Unit]) -> list[Unit]:
    """Mark the units all of whose weights are tied to those of earlier ones."""
    listed = list(units)
    owners = {name: unit.name for unit in reversed(listed) for name, weight in unit.weights.items() if not weight.tied}
    for unit in listed:
        ties = [weight.tied for weight in unit.weights.values()]
        if ties and all(ties):
            unit.tied = owners.get(str(ties[0]), str(ties[0]))
    return listed


def _channels(units: Iterable[Unit]) -> str:
    """Tell where the channels lie by the kernels, where no graph does: torch has them first, as its kernels do."""
    for unit in units:
        if unit.kind in ("conv", "conv transpose"):
            part = next(part for (slot, _), part in unit.parts.items() if slot == "kernel")
            words = part.weight.axes.split() or ["out"]
            return "last" if words[0].lstrip("-").startswith("k") or words[-1] == "in" else "first"
    return ""
