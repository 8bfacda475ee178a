"""A net, live or in a file, as a list of layers in order: the input of pairing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from steelyard.core.gc_pause import uncollected
from steelyard.core.roles import plain_layer
from steelyard.core.weight import Role, Weight
from steelyard.layers.keras.cudnn import plain_gates
from steelyard.transfers.layers.interpretations import interpreted
from steelyard.transfers.layers.layer_weights import LayerWeights, weights_of_layer
from steelyard.transfers.layers.stacked import separate

if TYPE_CHECKING:
    from steelyard.core.graph import Graph, Layer
    from steelyard.core.weights import Weights

    Members = list[tuple[str, Weight]]


class Net:
    """A net as its `layers` in order, and the `unassigned` weights, which belong to no known layer.

    `is_execution_order` and `channels` are as in `Graph`. `listed` has all weights, with stacked layers split.
    `stored` returns weights by these names as the net stores them. `nodes` are the layers of the graph by name.
    """

    __slots__ = (
        "_following",
        "channels",
        "graph",
        "is_execution_order",
        "layers",
        "listed",
        "nodes",
        "stored",
        "unassigned",
        "weights",
    )

    def __init__(
        self, weights: Weights, graph: Graph | None, stored: Callable[[Weights], Weights] = lambda weights: weights
    ) -> None:
        self.weights = weights
        self.stored = stored
        self.graph = graph
        self.nodes: dict[str, Layer] = {node.name: node for node in graph.layers} if graph else {}
        self._following: dict[str, list[str]] | None = None
        self.is_execution_order = bool(graph and graph.is_execution_order)
        self.channels = graph.channels if graph else ""
        self.listed = list(plain_gates(separate(weights)))
        self.unassigned: list[Weight] = []
        with uncollected():
            self.layers = self._layers()
        self.channels = self.channels or _channels(self.layers)

    @property
    def following(self) -> dict[str, list[str]]:
        """The names of the layers of the graph that take the output of each."""
        if self._following is None:
            self._following = {}
            for node in self.nodes.values():
                for name in node.inputs or ():
                    self._following.setdefault(name, []).append(node.name)
        return self._following

    @property
    def why_no_graph(self) -> str:
        """Why there is no graph, where a reason is known."""
        return "" if self.graph else self.weights.why_no_graph

    def _layers(self) -> list[LayerWeights]:
        nodes = self.nodes
        named = {name: node.name for node in nodes.values() for name in node.weight_names}
        claimed: dict[str, Members] = {}
        rest: list[Weight] = []
        for weight in self.listed:
            owner, leaf = (named[weight.name], weight.name) if weight.name in named else _owner(weight, nodes)
            if owner is None or nodes[owner].kind == "other" or _is_inner_norm(nodes[owner], leaf, weight):
                rest.append(weight)
            else:
                claimed.setdefault(owner, []).append((leaf, weight))
        in_graph = [layer for name, node in nodes.items() if name in claimed for layer in self._known(node, claimed[name])]
        layers = [*in_graph, *interpreted(rest, self.unassigned)] if rest else in_graph
        return _without_aliases(layers)

    def _known(self, node: Layer, members: Members) -> list[LayerWeights]:
        if not any(_unexplained(node, weight) for _, weight in members):
            return weights_of_layer(node.name, node.kind, members, node)
        layers = []
        for layer in interpreted([weight for _, weight in members], self.unassigned):
            fitting = [each for each in layer.interpretations if each.kind == node.kind and _has_settings(node, each)]
            if fitting:
                layers.append(_of_node(fitting, node))
        return layers


def missing_graphs(source: Net, target: Net) -> str:
    """Return the reasons why the nets have no graphs, as the end of a message; blank where none is known."""
    ends = ("source", source.why_no_graph), ("target", target.why_no_graph)
    return "".join(f"; the {end} has no graph: {why}" for end, why in ends if why)


def _is_inner_norm(node: Layer, leaf: str, weight: Weight) -> bool:
    """Whether a weight is that of a norm of the queries or keys of an attention, which is a layer of its own."""
    return node.kind == "attention" and weight.role in (Role.SCALE, Role.OFFSET) and any(dot in leaf for dot in "./")


def _unexplained(node: Layer, weight: Weight) -> bool:
    """Whether the axes of a kernel, or the gates that it packs, are unknown."""
    if weight.role not in (Role.KERNEL, Role.RECURRENT_KERNEL):
        return False
    return not weight.axes or (node.kind in ("lstm", "gru") and "[" not in weight.axes)


def _has_settings(node: Layer, layer: LayerWeights) -> bool:
    """Whether an interpretation agrees with the settings of the graph's layer.

    Flax stores the kernel of a transposed convolution with its spatial axes reversed, unless `transpose_kernel` is set.
    """
    transposed = node.settings.get("transpose_kernel")
    if transposed is None or layer.kind != "conv transpose":
        return True
    axes = next((part.weight.axes for part in layer.parts.values() if len(part.labels) > 1), "")
    return axes.startswith("-") != bool(transposed)


def _of_node(interpretations: list[LayerWeights], node: Layer) -> LayerWeights:
    """Return the first interpretation as a layer of the graph, with the others as its alternatives."""
    first, *others = interpretations
    for layer in interpretations:
        layer.graph_layer, layer.settings, layer.alternatives = node, layer.settings | node.settings, []
        layer.direction = str(node.settings.get("direction") or layer.direction)
    first.alternatives = others
    return first


def _owner(weight: Weight, nodes: Mapping[str, Layer]) -> tuple[str | None, str]:
    """Return the graph's layer to which a weight belongs, and the rest of its name.

    The weights of a wrapper belong to the layer that it wraps.
    """
    owner = _longest(weight, nodes) if nodes else None
    if owner is None:
        return (weight.layer, weight.name) if weight.layer in nodes else (None, "")
    leaf = plain_layer(weight.name)[len(owner) :].lstrip("./")
    wrapped = str(nodes[owner].settings.get("wraps") or "")
    if wrapped not in nodes or wrapped == owner:
        return owner, leaf
    inner = wrapped.removeprefix(owner).lstrip("./")
    return wrapped, leaf.removeprefix(inner).lstrip("./")


def _longest(weight: Weight, nodes: Mapping[str, Layer]) -> str | None:
    """Return the longest name of a layer that is a prefix of a weight's name."""
    name = plain_layer(weight.name)
    while True:
        cut = max(name.rfind("."), name.rfind("/"), name.rfind("["))
        name = name[: max(cut, 0)]
        if name in nodes:
            return name
        if not name:
            return None


def _without_aliases(layers: Iterable[LayerWeights]) -> list[LayerWeights]:
    """Mark the layers whose weights are all tied to those of earlier ones."""
    listed = list(layers)
    owners = {name: layer.name for layer in reversed(listed) for name, weight in layer.weights.items() if not weight.tied}
    for layer in listed:
        ties = [weight.tied for weight in layer.weights.values()]
        if ties and all(ties):
            layer.tied = owners.get(str(ties[0]), str(ties[0]))
    return listed


def _channels(layers: Iterable[LayerWeights]) -> str:
    """Return the position of the channels, inferred from the axes of the kernels if there is no graph."""
    convolutions = (layer for layer in layers if layer.kind in ("conv", "conv transpose"))
    kernels = (part.weight for layer in convolutions for (purpose, _), part in layer.parts.items() if purpose == "kernel")
    for kernel in kernels:
        words = kernel.axes.split() or ["out"]
        return "last" if words[0].lstrip("-").startswith("k") or words[-1] == "in" else "first"
    return ""
