"""The steps of recurrent operators that an ONNX net uses, as ONNX Runtime shows them."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import steelyard

X = np.random.default_rng(0).normal(size=(5, 2, 3)).astype("f4")
SQUEEZED = helper.make_node("Squeeze", ["sequence", "one"], ["plain"])
CASES = {
    "state": (["", "state"], [helper.make_node("Identity", ["state"], ["y"])], "last"),
    "sequence": (["sequence"], [SQUEEZED, helper.make_node("Relu", ["plain"], ["y"])], "all"),
    "both": (["sequence", "state"], [SQUEEZED, helper.make_node("Add", ["plain", "state"], ["y"])], "all"),
    "a slice": (["sequence"], [SQUEEZED, helper.make_node("Gather", ["plain", "one"], ["y"], axis=0)], None),
    "an output of the net": (["y"], [], None),
}


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("case", CASES)
def test_the_steps_that_a_net_uses(tmp_path, case, op):
    outputs, nodes, steps = CASES[case]
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    rng = np.random.default_rng(1)
    held = {"W": rng.normal(size=(1, 4 * gates, 3)).astype("f4"), "R": rng.normal(size=(1, 4 * gates, 4)).astype("f4")}
    held["one"] = np.array([1])
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "W", "R"], outputs, hidden_size=4, name="rnn"), *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    (layer,) = (layer for layer in steelyard.weights(path).graph.layers if layer.class_name == op)
    assert layer.settings.get("returns") == steps
    (made,) = onnxruntime.InferenceSession(path).run(None, {"x": X})
    if steps is not None:
        assert (made.shape[0] == 5) == (steps == "all")
