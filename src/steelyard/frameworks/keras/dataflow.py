"""The layers that feed each layer of a Keras model, by the graph of its functional models."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

from steelyard.core.dataflow import UNKNOWN, CallGraph, inputs_of_net, merged, topological_order

if TYPE_CHECKING:
    import keras
    from keras.src.models.functional import Functional
    from keras.src.ops.node import Node

    from steelyard.core.dataflow import Sources

_UNKNOWN: Sources = (UNKNOWN,)


class ModelTracer:
    """Walks through a model in its execution order, and records the calls of its layers.

    `listed` has the keys of the layers by the identity of the object that is called: several for a recurrent layer, whose
    cells run one after another. `net_of` returns the functional model that a model runs as, or None for a layer;
    `is_certain` returns whether the order inside a layer is known.
    """

    __slots__ = ("_is_certain", "_listed", "_net_of", "calls")

    def __init__(
        self,
        listed: Mapping[int, Sequence[Hashable]],
        net_of: Callable[[keras.Operation], Functional | None],
        is_certain: Callable[[keras.Operation], bool],
    ) -> None:
        self.calls = CallGraph()
        self._listed = listed
        self._net_of = net_of
        self._is_certain = is_certain

    def whole(self, model: keras.Layer) -> list[Sources]:
        """Walk through a model, whose inputs are the net's, and return the sources of its outputs."""
        net = self._net_of(model)
        return self.through(model, inputs_of_net(len(net.inputs) if net is not None else 1))

    def through(self, layer: keras.Operation, given: Sequence[Sources]) -> list[Sources]:
        """Return the sources of each output of a model, or a single set for all outputs of any other layer."""
        net = self._net_of(layer)
        if net is not None:
            return self._net(net, given)
        sources = merged(given)
        if id(layer) in self._listed and self._is_certain(layer):
            for key in self._listed[id(layer)]:
                sources = self.calls.call(key, sources)
            return [sources]
        if not self._is_certain(layer):
            return [_UNKNOWN]
        if hasattr(layer, "forward_layer"):
            both = [self.through(part, [sources]) for part in (layer.forward_layer, layer.backward_layer)]
            return [merged(both[0] + both[1])]
        inner = getattr(layer, "layer", None)
        return [_UNKNOWN] if inner is None else self.through(inner, [sources])

    def _net(self, net: Functional, given: Sequence[Sources]) -> list[Sources]:
        """Walk through a functional model; masks and similar arguments may follow its inputs."""
        fits = len(given) >= len(net.inputs)
        made = {id(tensor): given[nth] if fits else _UNKNOWN for nth, tensor in enumerate(net.inputs)}
        inside = {id(node) for nodes in net._nodes_by_depth.values() for node in nodes}
        ends = [node_of(tensor) for tensor in net.outputs]
        for node in topological_order(ends, lambda node: [node_of(tensor) for tensor in node.input_tensors]):
            if id(node) in inside and not node.is_input:
                taken = [made.get(id(tensor), _UNKNOWN) for tensor in node.input_tensors]
                is_mask = node.outputs[0].dtype == "bool"
                gives = [merged(taken)] if is_mask else self.through(node.operation, taken)
                made |= {id(tensor): gives[min(nth, len(gives) - 1)] for nth, tensor in enumerate(node.outputs)}
        return [made.get(id(tensor), _UNKNOWN) for tensor in net.outputs]


def node_of(tensor: keras.KerasTensor) -> Node:
    """Return the node of a functional model that made a tensor."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]
