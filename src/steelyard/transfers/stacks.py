"""A net as a stack of dense layers: their order, and the activation after each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from steelyard.core.dense_stack import DenseLayer, DenseStack
from steelyard.core.graph import Layer, in_line
from steelyard.core.plugins import framework_of
from steelyard.errors import AmbiguityError, ShapeError, SteelyardError, first_of, printable, quoted
from steelyard.io import weights
from steelyard.transfers.pairing.net import Net

if TYPE_CHECKING:
    from steelyard.core.axes import Part
    from steelyard.core.graph import Graph
    from steelyard.core.protocols import Runner
    from steelyard.transfers.layers.layer_weights import LayerWeights
    from steelyard.transfers.layers.norms import ComputedPart

    Given = Sequence[str] | Mapping[str, str] | None

TRIES = 10_000
"""Maximum partial orders to try; a net whose shapes allow only one order needs a few for each layer."""
_SETTINGS: dict[str, tuple[str, ...]] = {"leaky_relu": ("negative_slope",), "elu": ("alpha",), "celu": ("alpha",)}
"""The settings that change an activation."""
_USUAL: dict[tuple[str, str], float] = {
    ("softplus", "beta"): 1,
    ("softplus", "threshold"): 20,
    ("hard_sigmoid", "alpha"): 1 / 6,
    ("hard_sigmoid", "beta"): 0.5,
    ("hard_tanh", "lowest"): -1,
    ("hard_tanh", "highest"): 1,
}
"""Settings that not all frameworks have, with the only value that is accepted."""
_DENSE = ("activation", "weights", "weight_norm", "spectral_norm", "negative_slope")
"""Settings that a plain dense layer may have."""
_PLAIN_FLATTEN: tuple[dict[str, str], ...] = ({}, {"data_format": "channels_last"})
"""Settings of a flatten layer that keeps the order of the numbers."""
_NAMES = {"nnet_sigmoid": "sigmoid", "exp": "exponential", "swish": "silu"}


def stack_of(source: object, activations: Given) -> DenseStack:
    """Return a source as a stack; raises `AmbiguityError` for an unknown activation or order, `ShapeError` for any other net."""
    listed = weights(source)
    _check_scaled(listed.meta.get("networks", {}))
    net = Net(listed, listed.graph)
    layers = _dense_layers(net)
    graph = net.graph
    if graph is not None and not graph.is_execution_order:
        graph = _graph_of_run(source, layers) or graph
    if activations is None and graph is not None and graph.is_sequential:
        return _of_graph(net, graph, layers)
    if graph is not None:
        _check_chain(graph, {layer.graph_layer.name for layer in layers if layer.graph_layer})
    try:
        dense = _given(layers, activations)
    except AmbiguityError as error:
        raise AmbiguityError(f"{error}; it has no graph: {net.why_no_graph}" if net.why_no_graph else str(error)) from None
    shape = _input_shape(net, dense)
    return DenseStack(dense, shape, flattened=len(shape) > 1)


def _graph_of_run(source: object, layers: list[LayerWeights]) -> Graph | None:
    """Return the graph that a live model shows when it runs on rows of features; None if it does not run on them."""
    import numpy as np

    with suppress(SteelyardError):
        framework = framework_of(source)
        # which layer is the first is not known, so the number of inputs of each is tried
        for width in dict.fromkeys(layer.shape("kernel")[1] for layer in layers):
            with suppress(Exception):  # a user's model may raise anything for an input of another width
                graph: Graph = cast("Runner", framework).graph(source, [np.zeros((2, width), "float32")])
                return graph
    return None


def _check_chain(graph: Graph, dense: Collection[str]) -> None:
    """Raise `ShapeError` for a graph that is known not to be a chain, or that has layers which a stack lacks."""
    for node in graph.layers:
        if node.name not in dense:
            _check_weightless(node)
    if all(node.inputs is not None for node in graph.layers) and not in_line(graph.layers, graph.input_names):
        raise ShapeError(
            f"this net is not a chain, in which each layer's only input is the previous layer{_first_off_line(graph)}; "
            "build the model yourself, and use steelyard.transfer"
        )


def _check_weightless(node: Layer) -> None:
    if node.kind not in ("activation", "softmax", "dropout", "flatten") and node.class_name != "Identity":
        raise ShapeError(f"{quoted(node.name)} ({printable(node.class_name)}) is not allowed in a stack of dense layers")


def _first_off_line(graph: Graph) -> str:
    """Return the first layer that is not fed by the previous one only, as a part of a message."""
    before = graph.input_names
    for node in graph.layers:
        if node.inputs != before or len(before) != 1:
            listed = _listed(node.inputs or ()) or "nothing"
            return f" ({quoted(node.name)} takes {listed})"
        if node.calls > 1:
            return f" ({quoted(node.name)} runs {node.calls} times)"
        before = (node.name,)
    return ""


def _dense_layers(net: Net) -> list[LayerWeights]:
    for layer in net.layers:
        if "dense" not in {each.kind for each in layer.interpretations} or layer.tied:
            raise ShapeError(
                f"{quoted(layer.name)} is not a dense layer ({layer.kind}); only stacks of dense layers have one obvious "
                "architecture: build the model yourself, and use steelyard.transfer"
            )
    if net.unassigned or not net.layers:
        name = printable(net.unassigned[0].name) if net.unassigned else "this"
        raise ShapeError(f"{name} does not belong to a dense layer; build the model yourself, and use steelyard.transfer")
    return [next(each for each in layer.interpretations if each.kind == "dense") for layer in net.layers]


def _of_graph(net: Net, graph: Graph, layers: list[LayerWeights]) -> DenseStack:
    """Follow the layers of a graph that is a chain."""
    by_node = {layer.graph_layer.name: layer for layer in layers if layer.graph_layer}
    made: list[DenseLayer] = []
    flattened = False
    for node in graph.layers:
        if node.name in by_node:
            made.append(_dense(by_node[node.name], node))
        elif node.kind in ("activation", "softmax") and made:
            made[-1] = _activated(made[-1], node)
        elif node.kind == "flatten" and node.settings in _PLAIN_FLATTEN:
            flattened = flattened or not made
        elif node.kind in ("activation", "softmax", "flatten"):
            raise ShapeError(f"{quoted(node.name)} ({printable(node.class_name)}) is not allowed in a stack of dense layers")
        else:
            _check_weightless(node)
    shape = _input_shape(net, made)
    return DenseStack(made, shape, flattened=flattened and len(shape) > 1)


def _dense(layer: LayerWeights, node: Layer | None = None, activation: str = "") -> DenseLayer:
    settings = node.settings if node else {}
    foreign = [word for word in settings if word not in _DENSE]
    if foreign:
        raise ShapeError(f"{quoted(layer.name)} is a dense layer with {foreign[0]}={printable(settings[foreign[0]])}")
    made: dict[str, Part | ComputedPart] = {purpose: part for (purpose, _), part in layer.parts.items()}
    made |= {purpose: part for (purpose, _), part in layer.computed.items()}
    kernel, bias = made["kernel"], made.get("bias")
    arrays = {weight.name: weight.numpy() for part in (kernel, bias) if part is not None for weight in part.weights}
    values = kernel.values(arrays.__getitem__), None if bias is None else bias.values(arrays.__getitem__)
    plain = DenseLayer(layer.name, values[0].astype(kernel.weight.dtype), values[1], activation or "linear", {})
    return _activated(plain, node) if node and settings.get("activation") else plain


def _activated(dense: DenseLayer, node: Layer) -> DenseLayer:
    word = str(node.settings.get("activation"))
    word = _NAMES.get(word, word)
    if dense.activation != "linear":
        raise ShapeError(f"{quoted(node.name)} is a second activation after {quoted(dense.name)}")
    kept = {}
    for name, value in node.settings.items():
        if name in _SETTINGS.get(word, ()) and isinstance(value, (int, float)):
            kept[name] = float(value)
        elif (name == "axis" and value not in (-1, 1)) or _unusual(word, name, value):
            raise ShapeError(f"the activation after {quoted(dense.name)} is {word} with {name}={printable(value)}")
    return dense._replace(activation=word, settings=kept)


def _unusual(word: str, name: str, value: object) -> bool:
    if name in ("activation", "axis", "weights", "weight_norm", "spectral_norm"):
        return False
    usual = _USUAL.get((word, name))
    return usual is None or not isinstance(value, (int, float)) or abs(value - usual) > 1e-6


def _input_shape(net: Net, dense: Sequence[DenseLayer]) -> tuple[int | None, ...]:
    inputs = net.graph.input_shapes if net.graph else None
    return inputs[0] if inputs and len(inputs) == 1 else (dense[0].kernel.shape[1],)


def _given(layers: list[LayerWeights], activations: Given) -> list[DenseLayer]:
    """Return the layers with the activations that the user gives; raises `AmbiguityError` if they are missing."""
    if isinstance(activations, str):
        raise ShapeError(f"activations is {quoted(activations)}; pass a list with one word for each dense layer")
    if isinstance(activations, Mapping):
        by_name = {layer.name: layer for layer in layers}
        if set(activations) != set(by_name):
            raise ShapeError(f"activations names {_listed(activations)}, the dense layers are {_listed(by_name)}")
        return [_dense(by_name[name], None, word) for name, word in activations.items()]
    order = _only_order(layers)
    if activations is None:
        names = [layer.name for layer in order]
        place = f"between {printable(names[0])} and {printable(names[1])}" if len(order) > 1 else "after the only layer"
        raise AmbiguityError(
            f"the activation {place} is not in the source; pass activations=[...], one word for each of "
            f'{_listed(names)} ("linear" for none)'
        )
    if len(activations) != len(order):
        raise ShapeError(
            f"there are {len(activations)} activations for {len(order)} dense layers, {_listed([u.name for u in order])}"
        )
    return [_dense(layer, None, word) for layer, word in zip(order, activations, strict=True)]


def _only_order(layers: list[LayerWeights]) -> list[LayerWeights]:
    """Return the only order in which each layer fits the previous one; raises `AmbiguityError` if there are several."""
    sizes = {id(layer): layer.shape("kernel") for layer in layers}
    orders = _orders(layers, sizes)
    first, second = next(orders, None), next(orders, None)
    if first is None:
        raise ShapeError(f"no order of {_listed([layer.name for layer in layers])} makes their shapes compatible")
    if second is not None:
        raise AmbiguityError(
            f"the order of {_listed([layer.name for layer in layers])} is not known, and several make their shapes compatible; "
            'pass activations= as a dict in the order of the layers, {"fc1": "relu", ...}'
        )
    return first


def _orders(layers: list[LayerWeights], sizes: Mapping[int, tuple[int, ...]]) -> Iterator[list[LayerWeights]]:
    """Yield the orders of layers in which the outputs of each are the inputs of the next; the caller needs two at most."""
    stack: list[list[LayerWeights]] = [[layer] for layer in reversed(layers)]
    # depth first; the number of orders may be factorial
    for _ in range(TRIES):
        if not stack:
            return
        chain = stack.pop()
        if len(chain) == len(layers):
            yield chain
        used = {id(layer) for layer in chain}
        width = sizes[id(chain[-1])][0]
        stack += [[*chain, layer] for layer in layers if id(layer) not in used and sizes[id(layer)][1] == width]
    yield layers  # too many to try: a second order makes the result ambiguous
    yield layers


def _listed(names: Iterable[str]) -> str:
    shown = [printable(name) for name in names]
    return first_of(shown, 8, str)


def _check_scaled(networks: Mapping[str, Mapping[str, object]]) -> None:
    """Refuse a fit of R that scales the inputs or outputs of its net."""
    for facts in networks.values():
        for word, what in (("preprocess", "scales its inputs first"), ("targets", "scales its outputs back")):
            if facts.get(word):
                raise ShapeError(f"this fit {what}, which is not part of a net ({word} in meta); build the model yourself")
