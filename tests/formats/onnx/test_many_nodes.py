"""A model of many nodes: each is decoded once for the graph, and the weights that layers own are only looked up."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import steelyard
from steelyard.formats.onnx import graph
from steelyard.formats.onnx.messages import _Decoder

COUNT = 40


class LookedUp:
    """A dict that cannot be gone through: what takes a step for each owner, for each node, is quadratic."""

    def __init__(self, held):
        self.held = held

    def __contains__(self, name):
        return name in self.held

    def get(self, name):
        return self.held.get(name)

    def update(self, more):
        self.held.update(more)


@pytest.fixture
def weights(tmp_path):
    tensors, nodes = [], []
    for nth in range(COUNT):
        tensors += [helper.make_tensor(f"layers.{nth}.weight", TensorProto.FLOAT, [2, 2], np.eye(2, dtype="f4"))]
        tensors += [helper.make_tensor(f"layers.{nth}.bias", TensorProto.FLOAT, [2], [0.0, 1.0])]
        inputs = [f"h{nth}", f"layers.{nth}.weight", f"layers.{nth}.bias"]
        nodes.append(helper.make_node("Gemm", inputs, [f"h{nth + 1}"], transB=1))
    nodes.append(helper.make_node("Gemm", [f"h{COUNT}", *inputs[1:]], ["again"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("h0", "again")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)), tmp_path / "net.onnx")
    return steelyard.weights(tmp_path / "net.onnx")


def test_the_owners_of_weights_are_looked_up_and_never_gone_through(weights, monkeypatch):
    made = graph._GraphBuilder.__init__

    def init(self, *given):
        made(self, *given)
        self._owners = LookedUp(self._owners)

    monkeypatch.setattr(graph._GraphBuilder, "__init__", init)
    layers = weights.graph.layers
    assert [layer.calls for layer in layers] == [1] * (COUNT - 1) + [2]  # the last runs again
    assert [layer.kind for layer in layers] == ["dense"] * COUNT


def test_the_nodes_are_decoded_once_for_the_graph(weights, monkeypatch):
    decoded = []
    node = _Decoder.node
    monkeypatch.setattr(_Decoder, "node", lambda self, field: decoded.append(field) or node(self, field))
    assert len(weights.graph.layers) == COUNT
    assert len(decoded) == COUNT + 1
