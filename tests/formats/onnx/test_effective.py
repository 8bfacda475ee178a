"""The real numbers of quantised ONNX models, compared with those that ONNX Runtime and the reference evaluator compute."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import steelyard

DRAW = np.random.default_rng(0)


def saved(path, nodes, tensors, outputs, inputs=()):
    """Save a model with these initializers."""
    graph = helper.make_graph(nodes, "g", [*inputs], outputs, [numpy_helper.from_array(v, k) for k, v in tensors.items()])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


@pytest.mark.parametrize(
    ("shape", "attributes"), [((3,), {}), ((2,), {"axis": 0}), ((4,), {"axis": -1}), ((2, 2, 4), {"axis": 1, "block_size": 2})]
)
def test_scales_are_along_the_axis_of_the_operator(tmp_path, shape, attributes):
    stored = DRAW.integers(-128, 128, (2, 3, 4), np.int8)
    scale, zero = DRAW.random(shape).astype("f4"), DRAW.integers(-9, 9, shape, np.int8)
    node = helper.make_node("DequantizeLinear", ["w", "s", "z"], ["y"], **attributes)
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    path = saved(tmp_path / "m.onnx", [node], {"w": stored, "s": scale, "z": zero}, outputs)
    (expected,) = ReferenceEvaluator(onnx.load(path)).run(None, {})
    found = steelyard.effective(path)
    assert [*found] == ["w"]
    assert found["w"].numpy().tobytes() == expected.astype("f4").tobytes()


@pytest.mark.parametrize(("bits", "zeros"), [(4, True), (4, False), (8, True)])
def test_blocks_of_a_matrix_are_cut_where_the_inputs_end(tmp_path, bits, zeros):
    inputs, outputs, block = 40, 5, 16
    blocks, each = 3, 16 * bits // 8
    tensors = {
        "W_Q4": DRAW.integers(0, 256, (outputs, blocks, each), np.uint8),
        "s": DRAW.random((outputs, blocks)).astype("f4"),
        "z": DRAW.integers(0, 256, (outputs, -(-blocks * bits // 8)), np.uint8),
    }
    tensors = tensors if zeros else {key: value for key, value in tensors.items() if key != "z"}
    node = helper.make_node(
        "MatMulNBits",
        ["x", *tensors],
        ["y"],
        domain="com.microsoft",
        K=inputs,
        N=outputs,
        bits=bits,
        block_size=block,
        accuracy_level=1,
    )
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [inputs, outputs])]
    ins = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [inputs, inputs])]
    path = saved(tmp_path / "m.onnx", [node], tensors, outs, ins)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": np.eye(inputs, dtype="f4")})
    assert np.allclose(steelyard.effective(path)["W"].numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("scale", "attributes", "reason"),
    [
        ((5,), {}, "its scales have shape .5."),
        ((3,), {"axis": 7}, "its axis is 7"),
        ((2, 3, 4), {"block_size": 2}, "scales have"),
    ],
)
def test_scales_that_do_not_fit_are_refused(tmp_path, scale, attributes, reason):
    tensors = {"w": np.zeros((2, 3, 4), np.int8), "s": np.ones(scale, "f4")}
    node = helper.make_node("DequantizeLinear", ["w", "s"], ["y"], **attributes)
    path = saved(tmp_path / "m.onnx", [node], tensors, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    with pytest.raises(steelyard.errors.UnreadableError, match=reason):
        steelyard.effective(path)["w"].numpy()


def test_a_scale_that_the_graph_computes_is_refused(tmp_path):
    nodes = [helper.make_node("Exp", ["t"], ["s"]), helper.make_node("DequantizeLinear", ["w", "s"], ["y"])]
    tensors = {"w": np.zeros((2, 3), np.int8), "t": np.array(1, "f4")}
    path = saved(tmp_path / "m.onnx", nodes, tensors, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    assert "its scale or its zero point is computed" in steelyard.effective(path).unreadable["w"]
