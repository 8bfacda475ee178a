"""Programs of ONNX files: each operator, and nets, against ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import steelyard
from steelyard.device.program import program_of
from steelyard.device.program.shaping import Constant
from steelyard.errors import ProofError, ShapeError

RNG = np.random.default_rng(17)


def numbers(*shape):
    return RNG.standard_normal(shape).astype("float32")


def saved(path, nodes, shape, constants=(), outputs=("y",), opset=21, kind=TensorProto.FLOAT):
    """Save a model of nodes, each (operator, inputs, outputs, attributes), with the input x of this shape of an example."""
    made = [helper.make_node(word, list(given), list(out), **attributes) for word, given, out, attributes in nodes]
    inputs = [helper.make_tensor_value_info("x", kind, ["n", *shape])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    held = [numpy_helper.from_array(np.asarray(values), name) for name, values in dict(constants).items()]
    model = helper.make_model(helper.make_graph(made, "net", inputs, ends, held), opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    save(model, path)
    return path


def agrees(path, x):
    """Whether the program of a file gives the outputs of ONNX Runtime."""
    answers = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    program = program_of(path, x)
    assert program.error is not None
    made = program.run(x)
    for one, other in zip(made if isinstance(made, list) else [made], answers, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max(initial=0) <= 2e-6 * np.abs(other).max(initial=0)
    return program


def one(word, more=(), **attributes):
    """A model of one operator on x, and constants that it takes."""
    return [(word, ["x", *(f"c{place}" for place in range(len(more)))], ["y"], attributes)], {
        f"c{place}": values for place, values in enumerate(more)
    }


IMAGE, ROWS = (4, 6, 7), (5,)
OPERATORS = {
    "conv": (one("Conv", [numbers(6, 2, 3, 3), numbers(6)], group=2, strides=[2, 1], pads=[0, 1, 2, 1], dilations=[1, 2]), IMAGE),
    "conv same upper": (one("Conv", [numbers(3, 4, 2, 4)], auto_pad="SAME_UPPER", strides=[2, 2]), IMAGE),
    "conv same lower": (one("Conv", [numbers(3, 4, 2, 4)], auto_pad="SAME_LOWER"), IMAGE),
    "conv 1d": (one("Conv", [numbers(3, 4, 3)], pads=[2, 0]), (4, 9)),
    "conv transpose": (
        one("ConvTranspose", [numbers(4, 3, 3, 3), numbers(6)], group=2, strides=[2, 2], pads=[1, 0, 0, 1], output_padding=[1, 0]),
        IMAGE,
    ),
    "max pool": (one("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], dilations=[1, 2]), IMAGE),
    "max pool rounded up": (one("MaxPool", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1), IMAGE),
    "average pool": (one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), IMAGE),
    "average pool counted": (one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1), IMAGE),
    "average pool rounded up": (one("AveragePool", kernel_shape=[4, 4], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1), IMAGE),
    "average pool rounded up, counted": (
        one("AveragePool", kernel_shape=[4, 4], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1),
        IMAGE,
    ),
    "global average": (one("GlobalAveragePool"), IMAGE),
    "global max": (one("GlobalMaxPool"), IMAGE),
    "gemm": (one("Gemm", [numbers(3, 5), numbers(3)], transB=1, alpha=0.5, beta=2.0), ROWS),
    "gemm with one number": (one("Gemm", [numbers(5, 3), numbers(1)]), ROWS),
    "matmul": (one("MatMul", [numbers(7, 3)]), IMAGE),
    "batch norm": (one("BatchNormalization", [*numbers(3, 4), np.abs(numbers(4))], epsilon=0.01), IMAGE),
    "layer norm": (one("LayerNormalization", [numbers(6, 7), numbers(6, 7)], axis=-2), IMAGE),
    "instance norm": (one("InstanceNormalization", [numbers(4), numbers(4)]), IMAGE),
    "group norm": (one("GroupNormalization", [numbers(4), numbers(4)], num_groups=2), IMAGE),
    "prelu": (one("PRelu", [numbers(4, 1, 1)]), IMAGE),
    "softmax": (one("Softmax", axis=1), IMAGE),
    "log softmax": (one("LogSoftmax"), IMAGE),
    "flatten": (one("Flatten"), IMAGE),
    "reshape": (one("Reshape", [np.array([0, 2, -1, 7])]), IMAGE),
    "reshape by the number left": (one("Reshape", [np.array([-1, 8, 21])]), IMAGE),
    "transpose": (one("Transpose", perm=[0, 2, 3, 1]), IMAGE),
    "slice": (one("Slice", [np.array([1, -3]), np.array([3, 100]), np.array([1, -1]), np.array([1, 2])]), IMAGE),
    "gather of a place": (one("Gather", [np.array(-1)], axis=2), IMAGE),
    "gather of places": (one("Gather", [np.array([1, 2])], axis=1), IMAGE),
    "squeeze": (one("Squeeze", [np.array([1])]), (1, 5)),
    "unsqueeze": (one("Unsqueeze", [np.array([1, -1])]), ROWS),
    "reduce mean": (one("ReduceMean", [np.array([1, 3])], keepdims=0), IMAGE),
    "reduce sum": (one("ReduceSum", [np.array([-1])]), IMAGE),
    "reduce max": (one("ReduceMax", [np.array([2, 3])]), IMAGE),
    "pad": (one("Pad", [np.array([0, 0, 1, 2, 0, 0, 0, 1]), np.float32(0.5)]), IMAGE),
    "pad by reflection": (one("Pad", [np.array([0, 0, 1, 2, 0, 0, 0, 1])], mode="reflect"), IMAGE),
    "pad by the edge": (one("Pad", [np.array([1, 2, 3, 0]), np.float32(0), np.array([2, 3])], mode="edge"), IMAGE),
    "clip": (one("Clip", [np.float32(-0.5), np.float32(0.75)]), ROWS),
    "elu": (one("Elu", alpha=0.3), ROWS),
    "celu": (one("Celu", alpha=0.3), ROWS),
    "selu": (one("Selu"), ROWS),
    "hard sigmoid": (one("HardSigmoid", alpha=0.3), ROWS),
    "hard swish": (one("HardSwish"), ROWS),
    "leaky relu": (one("LeakyRelu", alpha=0.3), ROWS),
    "thresholded relu": (one("ThresholdedRelu", alpha=0.3), ROWS),
    "shrink": (one("Shrink", lambd=0.3, bias=0.3), ROWS),
    "gelu": (one("Gelu"), ROWS),
    "gelu by tanh": (one("Gelu", approximate="tanh"), ROWS),
    "softplus": (one("Softplus"), ROWS),
    "mish": (one("Mish"), ROWS),
    "erf": (one("Erf"), ROWS),
    "a constant minus": (([("Sub", ["c", "x"], ["y"], {})], {"c": numbers(6, 1)}), IMAGE),
    "divided by one number": (one("Div", [np.float32(3)]), IMAGE),
    "power": (one("Pow", [np.float32(2)]), ROWS),
    "reciprocal": (([("Exp", ["x"], ["h"], {}), ("Reciprocal", ["h"], ["y"], {})], {}), IMAGE),
    "power of a reciprocal": (([("Exp", ["x"], ["h"], {}), ("Pow", ["h", "c"], ["y"], {})], {"c": np.float32(-1)}), ROWS),
    "power of a root's reciprocal": (([("Exp", ["x"], ["h"], {}), ("Pow", ["h", "c"], ["y"], {})], {"c": np.float32(-0.5)}), ROWS),
    "resize nearest": (one("Resize", [np.float32([]), np.float32([1, 1, 2, 3])], mode="nearest"), IMAGE),
    "resize nearest to a size": (
        ([("Resize", ["x", "", "", "s"], ["y"], {"nearest_mode": "floor", "axes": [2, 3]})],
         {"s": np.array([9, 5])}), IMAGE,
    ),
    "resize linear": (one("Resize", [np.float32([]), np.float32([1, 1, 2, 1.5])], mode="linear"), IMAGE),
    "resize linear by corners": (
        one("Resize", [np.float32([]), np.float32([1, 1, 2, 3])], mode="linear", coordinate_transformation_mode="align_corners"),
        IMAGE,
    ),
    "resize cubic": (one("Resize", [np.float32([]), np.float32([1, 1, 2, 3])], mode="cubic"), IMAGE),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_the_program_of_an_operator_has_the_outputs_of_onnx_runtime(name, tmp_path):
    model, shape = OPERATORS[name]
    agrees(saved(tmp_path / "net.onnx", model[0], shape, model[1]), numbers(3, *shape))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("word", "gates", "more"), [
    ("LSTM", 4, {}), ("GRU", 3, {}), ("GRU", 3, {"linear_before_reset": 1}), ("RNN", 1, {}), ("RNN", 1, {"activations": ["Relu"]}),
])  # fmt: skip
def test_a_recurrent_operator_gives_its_sequence_and_its_last_state(word, gates, more, direction, tmp_path):
    ways = 2 if direction == "bidirectional" else 1
    more = {key: value * ways if isinstance(value, list) else value for key, value in more.items()}
    constants = {"w": numbers(ways, gates * 4, 3), "r": numbers(ways, gates * 4, 4), "b": numbers(ways, 2 * gates * 4),
                 "length": np.array([0, 0, -1])}  # fmt: skip
    nodes = [
        ("Transpose", ["x"], ["steps"], {"perm": [1, 0, 2]}),
        (word, ["steps", "w", "r", "b"], ["all", "last"], {"hidden_size": 4, "direction": direction, **more}),
        ("Transpose", ["all"], ["apart"], {"perm": [0, 2, 1, 3]}),
        ("Reshape", ["apart", "length"], ["joined"], {}),
        ("Transpose", ["joined"], ["sequence"], {"perm": [1, 0, 2]}),
        ("Transpose", ["last"], ["state"], {"perm": [1, 0, 2]}),
    ]
    path = saved(tmp_path / "net.onnx", nodes, (6, 3), constants, outputs=("sequence", "state"))
    agrees(path, numbers(2, 6, 3))


def test_shapes_that_a_file_computes_from_the_number_of_examples_are_followed(tmp_path):
    nodes = [
        ("Shape", ["x"], ["shape"], {}),
        ("Gather", ["shape", "first"], ["count"], {}),
        ("Unsqueeze", ["count", "axis"], ["examples"], {}),
        ("Concat", ["examples", "rest"], ["target"], {"axis": 0}),
        ("Reshape", ["x", "target"], ["y"], {}),
    ]
    constants = {"first": np.array(0), "axis": np.array([0]), "rest": np.array([2, -1])}
    agrees(saved(tmp_path / "net.onnx", nodes, (4, 3), constants), numbers(5, 4, 3))


def attention(tmp_path, mask):
    """A block of attention in plain operators, with a table, a mask and a head that shares the table."""
    nodes = [
        ("Gather", ["table", "x"], ["taken"], {}), ("Add", ["taken", "places"], ["h"], {}),
        *[(word, given, out, {}) for name in "qkv" for word, given, out in (
            ("MatMul", ["h", name], [f"{name}1"]), ("Add", [f"{name}1", f"{name}_bias"], [f"{name}2"]),
            ("Reshape", [f"{name}2", "heads"], [f"{name}3"]))],
        *[("Transpose", [f"{name}3"], [f"{name}4"], {"perm": [0, 2, *((3, 1) if name == "k" else (1, 3))]}) for name in "qkv"],
        ("MatMul", ["q4", "k4"], ["s1"], {}), ("Mul", ["s1", "scale"], ["s2"], {}), ("Add", ["s2", "mask"], ["s3"], {}),
        ("Softmax", ["s3"], ["shares"], {"axis": -1}), ("MatMul", ["shares", "v4"], ["m1"], {}),
        ("Transpose", ["m1"], ["m2"], {"perm": [0, 2, 1, 3]}), ("Reshape", ["m2", "whole"], ["m3"], {}),
        ("Add", ["m3", "h"], ["m4"], {}), ("LayerNormalization", ["m4", "gamma", "beta"], ["m5"], {}),
        ("Transpose", ["table"], ["head"], {"perm": [1, 0]}), ("MatMul", ["m5", "head"], ["y"], {}),
    ]  # fmt: skip
    constants = {"table": numbers(11, 8), "places": numbers(1, 5, 8), **{name: numbers(8, 8) for name in "qkv"},
                 **{f"{name}_bias": numbers(8) for name in "qkv"}, "heads": np.array([0, 0, 2, 4]), "scale": np.float32(0.5),
                 "mask": mask, "whole": np.array([0, 0, 8]), "gamma": numbers(8), "beta": numbers(8)}  # fmt: skip
    return saved(tmp_path / "net.onnx", nodes, (5,), constants, kind=TensorProto.INT64)


def test_attention_with_a_causal_mask_and_a_tied_head_is_a_program(tmp_path):
    path = attention(tmp_path, np.triu(np.full((5, 5), -np.inf, "float32"), 1))
    program = agrees(path, RNG.integers(0, 11, (3, 5)))
    masks = [step.operation.values for step in program.steps if isinstance(step.operation, Constant)]
    assert masks
    assert all(np.isfinite(each).all() for each in masks)  # a device takes finite numbers only


def test_a_batch_norm_and_a_residual_sum_of_a_file_are_a_program(tmp_path):
    nodes = [
        ("Conv", ["x", "k"], ["c"], {"pads": [1, 1, 1, 1]}), ("BatchNormalization", ["c", "s", "o", "m", "v"], ["b"], {}),
        ("Add", ["b", "x"], ["a"], {}), ("Relu", ["a"], ["r"], {}), ("GlobalAveragePool", ["r"], ["g"], {}),
        ("Flatten", ["g"], ["f"], {}), ("Gemm", ["f", "w", "w0"], ["y"], {"transB": 1}),
    ]  # fmt: skip
    constants = {"k": numbers(4, 4, 3, 3), **dict(zip("som", numbers(3, 4), strict=True)), "v": np.abs(numbers(4)),
                 "w": numbers(3, 4), "w0": numbers(3)}  # fmt: skip
    agrees(saved(tmp_path / "net.onnx", nodes, (4, 6, 6), constants), numbers(2, 4, 6, 6))


def test_a_bias_of_a_product_that_others_take_too_stays_apart(tmp_path):
    nodes = [("MatMul", ["x", "w"], ["h"], {}), ("Add", ["h", "b"], ["a"], {}), ("Mul", ["a", "h"], ["y"], {})]
    agrees(saved(tmp_path / "net.onnx", nodes, (5,), {"w": numbers(5, 3), "b": numbers(3)}), numbers(2, 5))


def test_a_softmax_follows_a_dense_layer(tmp_path):
    nodes = [("Gemm", ["x", "w"], ["h"], {}), ("Softmax", ["h"], ["y"], {})]
    agrees(saved(tmp_path / "net.onnx", nodes, ROWS, {"w": numbers(5, 3)}), numbers(2, 5))


def test_parts_of_a_split_are_joined_in_another_order(tmp_path):
    nodes = [("Split", ["x", "sizes"], ["a", "b"], {"axis": 1}), ("Concat", ["b", "a", "c"], ["y"], {"axis": 1})]
    constants = {"sizes": np.array([1, 3]), "c": numbers(1, 2, 6, 7)}
    x = numbers(1, *IMAGE)
    agrees(saved(tmp_path / "net.onnx", nodes, IMAGE, constants), x)


def test_outputs_that_are_given_prove_a_file_and_wrong_ones_refute_it(tmp_path, monkeypatch):
    path = saved(tmp_path / "net.onnx", *one("Elu", alpha=0.3)[:1], ROWS)
    monkeypatch.delitem(__import__("sys").modules, "onnxruntime")
    x = numbers(3, 5)
    answer = np.where(x > 0, x, np.float32(0.3) * np.expm1(x))
    assert program_of(path, x).error is None
    assert program_of(path).error is None
    assert program_of(path, x, outputs=answer).error < 1e-6
    with pytest.raises(ProofError, match="off by"):
        program_of(path, x, outputs=answer + 1)


def test_weights_that_were_changed_are_those_of_the_program(tmp_path):
    nodes, constants = one("MatMul", [numbers(5, 3)])
    weights = steelyard.weights(saved(tmp_path / "net.onnx", nodes, ROWS, constants))
    x = numbers(2, 5)
    made = program_of(weights.from_vector(2 * weights.to_vector()), x).run(x)
    np.testing.assert_allclose(made, 2 * x @ constants["c0"], rtol=1e-5)


REFUSED = {
    "an operator": (one("Einsum", equation="ij->ji"), ROWS, "'y' .Einsum. is not known"),
    "transA": (one("Gemm", [numbers(3, 3)], transA=1), ROWS, "transA=1"),
    "the examples": (one("ReduceMean", [np.array([0])]), ROWS, "several examples"),
    "a mixture": (one("Reshape", [np.array([5, -1])]), ROWS, "mixes the examples with other axes"),
    "a selection": (one("Slice", [np.array([1]), np.array([2]), np.array([0])]), IMAGE, "some of the examples"),
    "antialias": (one("Resize", [np.float32([]), np.float32([1, 1, 2, 2])], mode="linear", antialias=1), IMAGE, "antialias=1"),
    "places": (one("Gather", [np.array([2, 0])], axis=1), IMAGE, "do not follow each other"),
    "integers": (([("Sqrt", ["x"], ["h"], {}), ("Cast", ["h"], ["y"], {"to": 7})], {}), ROWS, "casts computed numbers"),
    "an initial state": (
        ([("Transpose", ["x"], ["s"], {"perm": [1, 0, 2]}), ("RNN", ["s", "w", "r", "", "", "h"], ["", "y"], {"hidden_size": 2})],
         {"w": numbers(1, 2, 3), "r": numbers(1, 2, 2), "h": numbers(1, 1, 2)}), (4, 3), "an initial state other than zeros"),
    "a foreign domain": (([("Fused", ["x"], ["y"], {"domain": "com.example"})], {}), ROWS, "com.example.Fused"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_operator_that_is_not_known_is_refused_by_its_name(name, tmp_path):
    (nodes, constants), shape, why = REFUSED[name]
    path = saved(tmp_path / "net.onnx", nodes, shape, constants)
    with pytest.raises(ShapeError, match=why):
        program_of(path, numbers(2, *shape))
