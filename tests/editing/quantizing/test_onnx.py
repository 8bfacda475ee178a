"""Quantised initializers of ONNX models: the checker takes them, and ONNX Runtime computes with their numbers."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import steelyard
from steelyard.errors import ShapeError

SHAPES = {"conv": (6, 3, 3, 3), "up": (6 * 16, 32), "down": (10, 32)}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 6, 6)).astype("float32")


def model(path, opset=17, **saved):
    arrays = {name: RNG.normal(size=shape).astype("float32") for name, shape in SHAPES.items()}
    arrays["up"][:, 4] = 0
    nodes = [("Conv", ["x", "conv"], ["c"]), ("Flatten", ["c"], ["f"]), ("MatMul", ["f", "up"], ["m"])]
    listed = [helper.make_node(*node) for node in nodes] + [helper.make_node("Gemm", ["m", "down"], ["y"], transB=1)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", X.shape), ("y", [2, 10]))]
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(listed, "net", ends[:1], ends[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(made, path, **saved)
    return steelyard.weights(path)


def run(path, *, optimised=False):
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options).run(None, {"x": X})[0]


WAYS = {
    "int8": (17, "int8", {}),
    "int8 affine": (17, "int8", {"scheme": "affine"}),
    "int8 a weight": (17, "int8", {"axis": None}),
    "int4": (21, "int4", {}),
    "int4 groups": (21, "int4", {"group": 32, "skip": "conv"}),
    "int8 affine groups": (21, "int8", {"group": 16, "scheme": "affine"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_onnx_runtime_computes_with_the_numbers_that_the_weights_say(way, tmp_path):
    opset, kind, options = WAYS[way]
    plain = model(tmp_path / "net.onnx", opset)
    made = steelyard.quantize(plain, kind, like="onnx", **options)
    numbers = made.effective()
    steelyard.save(made, tmp_path / "small.onnx")
    onnx.checker.check_model(tmp_path / "small.onnx", full_check=True)
    again = steelyard.weights(tmp_path / "small.onnx")
    for name, weight in again.effective().items():
        assert np.array_equal(weight.numpy(), numbers[name].numpy()), name
    assert not numbers["up"].numpy()[:, 4].any()
    as_floats = plain.from_vector(np.concatenate([numbers[name].numpy().reshape(-1) for name in plain]))
    steelyard.save(as_floats, tmp_path / "floats.onnx")
    expected = run(tmp_path / "floats.onnx")
    assert np.abs(run(tmp_path / "small.onnx") - expected).max() <= 1e-5 * np.abs(expected).max()
    assert (tmp_path / "small.onnx").stat().st_size < (0.5 if kind == "int8" else 0.35) * (tmp_path / "net.onnx").stat().st_size


def test_the_notes_warn_of_the_fusing_that_changes_the_outputs(tmp_path):
    made = steelyard.quantize(model(tmp_path / "net.onnx"), "int8", like="onnx")
    steelyard.save(made, tmp_path / "small.onnx")
    exact, fused = run(tmp_path / "small.onnx"), run(tmp_path / "small.onnx", optimised=True)
    assert np.abs(exact - fused).max() > 1e-4 * np.abs(exact).max()
    assert "ORT_DISABLE_ALL" in made.meta["notes"][0]


def test_the_rest_of_a_model_and_its_external_data_stay(tmp_path):
    plain = model(tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=100)
    (tmp_path / "out").mkdir()
    made = steelyard.quantize(plain, "int8", like="onnx", skip="conv")
    steelyard.save(made, tmp_path / "out" / "small.onnx")
    onnx.checker.check_model(tmp_path / "out" / "small.onnx")
    numbers = steelyard.weights(tmp_path / "out" / "small.onnx").effective()
    assert np.array_equal(numbers["conv"].numpy(), plain["conv"].numpy())
    assert run(tmp_path / "out" / "small.onnx").shape == (2, 10)


def test_scales_are_those_of_onnx_runtime_s_own_quantiser(tmp_path):
    from onnxruntime.quantization.quant_utils import compute_scale_zp

    plain = model(tmp_path / "net.onnx")
    scale = steelyard.quantize(plain, "int8", like="onnx")["down_scale"].numpy()
    for row, own in zip(plain["down"].numpy(), scale, strict=True):
        ends = (np.array(end, "float32") for end in (row.min(), row.max(), -127, 127))
        _, theirs = compute_scale_zp(*ends, symmetric=True)
        np.testing.assert_allclose(own, theirs, rtol=2e-7)


def test_a_model_of_an_old_version_is_refused_with_the_one_it_needs(tmp_path):
    plain = model(tmp_path / "net.onnx", 17)
    with pytest.raises(ShapeError, match="int4 and groups need version 21 of ONNX's operators, and the model has 17"):
        steelyard.quantize(plain, "int4", like="onnx")
    with pytest.raises(ShapeError, match="scales by outputs need version 13"):
        steelyard.quantize(model(tmp_path / "old.onnx", 11), "int8", like="onnx")
