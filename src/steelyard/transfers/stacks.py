"""What is known of a net as a stack of dense layers: their order, and the activation behind each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.core.dense_stack import Dense, Stack
from steelyard.core.graph import Layer, in_line
from steelyard.errors import AmbiguityError, ShapeError, printable
from steelyard.transfers.endpoints import Side

if TYPE_CHECKING:
    from steelyard.core.axes import Part
    from steelyard.core.graph import Graph
    from steelyard.transfers.layers.norms import Computed
    from steelyard.transfers.layers.units import Unit
    from steelyard.transfers.pairing.nets import Net

    Given = Sequence[str] | Mapping[str, str] | None

TRIES = 10_000
"""Beginnings of orders that are looked at; a net whose shapes tell its order needs a few for each layer."""
_SETTINGS: dict[str, tuple[str, ...]] = {"leaky_relu": ("negative_slope",), "elu": ("alpha",), "celu": ("alpha",)}
"""What an activation may depend on."""
_USUAL: dict[tuple[str, str], float] = {
    ("softplus", "beta"): 1,
    ("softplus", "threshold"): 20,
    ("hard_sigmoid", "alpha"): 1 / 6,
    ("hard_sigmoid", "beta"): 0.5,
    ("hard_tanh", "lowest"): -1,
    ("hard_tanh", "highest"): 1,
}
"""Settings that other frameworks do not have, and the only values that they may have."""
_DENSE = ("activation", "weights", "weight_norm", "spectral_norm", "negative_slope")
"""Settings with which a dense layer is still one."""
_PLAIN_FLATTEN: tuple[dict[str, str], ...] = ({}, {"data_format": "channels_last"})
"""Settings with which a flatten keeps the order of the numbers."""
_NAMES = {"nnet_sigmoid": "sigmoid", "exp": "exponential", "swish": "silu"}


def stack_of(source: Any, activations: Given) -> Stack:
    """Return a source as a stack; raises `AmbiguityError` for what it does not tell, `ShapeError` for another net."""
    side = Side(source)
    _check_scaled(side.weights.meta.get("networks", {}))
    net = side.net()
    units = _dense_units(net)
    graph = net.graph
    if activations is None and graph is not None and graph.is_sequential:
        return _told(net, graph, units)
    if graph is not None and all(layer.inputs is not None for layer in graph.layers) and not in_line(graph.layers):
        raise ShapeError(
            "this net is no chain of layers, each fed by the one before alone; "
            "build the model yourself, and use steelyard.transfer"
        )
    layers = _given(units, activations)
    return Stack(layers, _input_shape(net, layers), flattened=len(_input_shape(net, layers)) > 1)


def _dense_units(net: Net) -> list[Unit]:
    for unit in net.units:
        if "dense" not in {reading.kind for reading in (unit, *unit.readings)} or unit.tied:
            raise ShapeError(
                f"{printable(unit.name)!r} is no dense layer ({unit.kind}); only stacks of dense layers have one obvious "
                "architecture: build the model yourself, and use steelyard.transfer"
            )
    if net.loose or not net.units:
        name = printable(net.loose[0].name) if net.loose else "this"
        raise ShapeError(f"{name} belongs to no dense layer; build the model yourself, and use steelyard.transfer")
    return [next(reading for reading in (unit, *unit.readings) if reading.kind == "dense") for unit in net.units]


def _told(net: Net, graph: Graph, units: list[Unit]) -> Stack:
    """Follow the layers of a graph that is a chain."""
    by_layer = {unit.layer.name: unit for unit in units if unit.layer}
    layers: list[Dense] = []
    flattened = False
    for layer in graph.layers:
        if layer.name in by_layer:
            layers.append(_dense(by_layer[layer.name], layer))
        elif layer.kind in ("activation", "softmax") and layers:
            layers[-1] = _activated(layers[-1], layer)
        elif layer.kind == "flatten" and layer.settings in _PLAIN_FLATTEN:
            flattened = flattened or not layers
        elif layer.kind != "dropout" and layer.class_name != "Identity":
            raise ShapeError(f"{printable(layer.name)!r} ({printable(layer.class_name)}) is no part of a stack of dense layers")
    shape = _input_shape(net, layers)
    return Stack(layers, shape, flattened=flattened and len(shape) > 1)


def _dense(unit: Unit, layer: Layer | None = None, activation: str = "") -> Dense:
    settings = layer.settings if layer else {}
    foreign = [word for word in settings if word not in _DENSE]
    if foreign:
        raise ShapeError(f"{printable(unit.name)!r} is a dense layer with {foreign[0]}={printable(settings[foreign[0]])}")
    made: dict[str, Part | Computed] = {slot: part for (slot, _), part in unit.parts.items()}
    made |= {slot: part for (slot, _), part in unit.computed.items()}
    kernel, bias = made["kernel"], made.get("bias")
    arrays = {weight.name: weight.numpy() for part in (kernel, bias) if part is not None for weight in part.weights}
    values = kernel.values(arrays.__getitem__), None if bias is None else bias.values(arrays.__getitem__)
    plain = Dense(unit.name, values[0].astype(kernel.weight.dtype), values[1], activation or "linear", {})
    return _activated(plain, layer) if layer and settings.get("activation") else plain


def _activated(dense: Dense, layer: Layer) -> Dense:
    word = str(layer.settings.get("activation"))
    word = _NAMES.get(word, word)
    if dense.activation != "linear":
        raise ShapeError(f"{printable(layer.name)!r} is a second activation behind {printable(dense.name)!r}")
    kept = {}
    for name, value in layer.settings.items():
        if name in _SETTINGS.get(word, ()):
            kept[name] = float(value)
        elif (name == "axis" and value not in (-1, 1)) or _unusual(word, name, value):
            raise ShapeError(f"the activation behind {printable(dense.name)!r} is {word} with {name}={printable(value)}")
    return dense._replace(activation=word, settings=kept)


def _unusual(word: str, name: str, value: Any) -> bool:
    if name in ("activation", "axis", "weights", "weight_norm", "spectral_norm"):
        return False
    usual = _USUAL.get((word, name))
    return usual is None or not isinstance(value, (int, float)) or abs(value - usual) > 1e-6


def _input_shape(net: Net, layers: Sequence[Dense]) -> tuple[int | None, ...]:
    inputs = net.graph.input_shapes if net.graph else None
    return inputs[0] if inputs and len(inputs) == 1 else (layers[0].kernel.shape[1],)


def _given(units: list[Unit], activations: Given) -> list[Dense]:
    """Return the layers with the activations that the user says, or say which are missing."""
    if isinstance(activations, str):
        raise ShapeError(f"activations is {printable(activations)!r}; give a list with one word for each dense layer")
    if isinstance(activations, Mapping):
        by_name = {unit.name: unit for unit in units}
        if set(activations) != set(by_name):
            raise ShapeError(f"activations names {_listed(activations)}, the dense layers are {_listed(by_name)}")
        return [_dense(by_name[name], None, word) for name, word in activations.items()]
    order = _only_order(units)
    if activations is None:
        names = [unit.name for unit in order]
        place = f"between {printable(names[0])} and {printable(names[1])}" if len(order) > 1 else "behind the only layer"
        raise AmbiguityError(
            f"the activation {place} is not in the source; give activations=[...], one word for each of "
            f'{_listed(names)} ("linear" for none)'
        )
    if len(activations) != len(order):
        raise ShapeError(
            f"there are {len(activations)} activations for {len(order)} dense layers, {_listed([u.name for u in order])}"
        )
    return [_dense(unit, None, word) for unit, word in zip(order, activations, strict=True)]


def _only_order(units: list[Unit]) -> list[Unit]:
    """Return the only order in which each layer fits behind the one before; raises `AmbiguityError` where there are more."""
    sizes = {id(unit): unit.shape("kernel") for unit in units}
    found = _orders(units, sizes)
    first, second = next(found, None), next(found, None)
    if first is None:
        raise ShapeError(f"there is no order in which {_listed([unit.name for unit in units])} fit behind one another")
    if second is not None:
        raise AmbiguityError(
            f"nothing tells the order of {_listed([unit.name for unit in units])}, which fit behind one another in several; "
            'give activations= as a dict in the order of the layers, {"fc1": "relu", ...}'
        )
    return first


def _orders(units: list[Unit], sizes: Mapping[int, tuple[int, ...]]) -> Iterator[list[Unit]]:
    """Yield orders of layers; equal sizes at the ends of two layers make more than one, of which two are enough."""
    stack: list[list[Unit]] = [[unit] for unit in reversed(units)]
    for _ in range(TRIES):
        if not stack:
            return
        chain = stack.pop()
        if len(chain) == len(units):
            yield chain
        used = {id(unit) for unit in chain}
        width = sizes[id(chain[-1])][0]
        stack += [[*chain, unit] for unit in units if id(unit) not in used and sizes[id(unit)][1] == width]
    yield units  # so many ways that nobody could tell the order
    yield units


def _listed(names: Any) -> str:
    shown = [printable(name) for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def _check_scaled(networks: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a fit of R that does more than its net."""
    for facts in networks.values():
        for word, what in (("preprocess", "scales its inputs first"), ("targets", "scales its outputs back")):
            if facts.get(word):
                raise ShapeError(f"this fit {what}, which is no part of a net ({word} in meta); build the model yourself")
