"""The graphs of ONNX and TFLite files: layers in execution order, with their settings and weights."""

import subprocess
import sys
from pathlib import Path

import carried
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import steelyard
from steelyard.core.graph import KINDS
from steelyard.errors import SteelyardError

GOLDEN = carried.folder("golden")
INDEX = {case["id"]: case for case in carried.golden_cases()}
CASES = [(case, key) for case in INDEX for key in ("onnx", "tflite") if key in INDEX[case]["files"]]
WORDS = {"convt": "conv transpose", "depthwise": "conv", "separable": "conv", "bn": "batch norm", "rms": "rms norm"}
NORMS = {"layernorm": "layer norm", "groupnorm": "group norm", "instancenorm": "instance norm"}
WITHOUT = {"activation", "flatten", "reshape", "merge", "pool", "global pool", "pad"}


def golden(case, framework):
    return steelyard.weights(GOLDEN / INDEX[case]["files"][framework][0])


@pytest.mark.parametrize(("case", "framework"), CASES)
def test_the_graph_of_a_golden_file_has_its_layers_in_order_with_all_their_weights(case, framework):
    weights = golden(case, framework)
    graph = weights.graph
    assert graph.is_execution_order
    assert graph.channels == {"onnx": "first", "tflite": "last"}[framework]
    assert {layer.kind for layer in graph.layers} <= KINDS
    listed = [layer for layer in graph.layers if layer.kind not in WITHOUT]
    told = [name for layer in listed for name in layer.settings["weights"]]
    assert sorted(told) == sorted(name for name in weights if weights[name].dtype == "float32")
    expected = [layer for layer in INDEX[case]["layers"] if "weightnorm" not in case or layer["kind"] == "dense"]
    kinds = [NORMS.get(case.partition("_")[0]) or WORDS.get(layer["kind"], layer["kind"]) for layer in expected]
    repeated = 2 if case == "separable2d" else expected[0]["hp"].get("layers", 1)
    assert [layer.kind for layer in listed] == kinds * repeated
    if framework == "onnx":
        assert all(weights[name].layer == layer.name for layer in listed for name in layer.settings["weights"])


SETTINGS = [
    ("conv2d_same_stride2", "onnx", {"strides": (2, 2), "padding": "same", "dilation": (1, 1), "groups": 1}),
    ("conv2d_same_stride2", "tflite", {"strides": (2, 2), "padding": "same", "dilation": (1, 1), "groups": 1}),
    ("conv2d_torchpad_stride2", "onnx", {"strides": (2, 2), "padding": (1, 1), "groups": 1}),
    ("conv2d_groups", "onnx", {"groups": 2, "padding": "valid"}),
    ("conv2d_groups", "tflite", {"groups": 2, "padding": "valid"}),
    ("conv2d_dilated", "onnx", {"dilation": (2, 2)}),
    ("depthwise2d_mult2", "tflite", {"groups": 3}),
    ("depthwise2d_mult2", "onnx", {"groups": 3}),
    ("convt2d_same_k3", "onnx", {"padding": ((0, 1), (0, 1)), "strides": (2, 2)}),
    ("batchnorm1d", "onnx", {"epsilon": 1e-3}),
    ("groupnorm", "onnx", {"epsilon": 1e-5, "groups": 3}),
    ("gru", "onnx", {"reset_after": True, "activation": "tanh", "recurrent_activation": "sigmoid"}),
    ("gru_reset_before", "onnx", {"reset_after": False}),
    ("mlp_relu", "tflite", {"activation": "relu"}),
]


@pytest.mark.parametrize(("case", "framework", "expected"), SETTINGS)
def test_operators_have_their_settings(case, framework, expected):
    first = next(layer for layer in golden(case, framework).graph.layers if "weights" in layer.settings)
    assert {word: first.settings[word] for word in expected} == expected


def saved(path, nodes, tensors, inputs, outputs, **more):
    values = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    shapes = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in each.items()]
        for each in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "g", *shapes, values, **more)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    return steelyard.weights(path)


def test_weights_form_a_layer_whatever_names_the_exporter_chose(tmp_path):
    tensors = {
        "onnx::MatMul_6": np.ones((4, 3), "f"),
        "fc.bias": np.ones(3, "f"),
        "scale": np.float32(0.5),
        "onnx::Conv_1": np.ones((4, 1, 2, 2), "f"),
        "offset": np.ones(4, "f"),
        "shape": np.array([1, 4, 1, 1]),
    }
    nodes = [
        helper.make_node("Conv", ["x", "onnx::Conv_1"], ["c"], name="/conv/Conv", auto_pad="SAME_UPPER"),
        helper.make_node("Reshape", ["offset", "shape"], ["o"]),
        helper.make_node("Add", ["c", "o"], ["d"]),
        helper.make_node("Gelu", ["d"], ["e"], name="/act", approximate="tanh"),
        helper.make_node("GlobalAveragePool", ["e"], ["p"]),
        helper.make_node("Transpose", ["p"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["t"], ["f"]),
        helper.make_node("Mul", ["f", "scale"], ["m"]),
        helper.make_node("MatMul", ["m", "onnx::MatMul_6"], ["q"], name="/fc/MatMul"),
        helper.make_node("Add", ["fc.bias", "q"], ["y"], name="/fc/Add"),
        helper.make_node("LeakyRelu", ["y"], ["z"], alpha=0.2),
    ]
    graph = saved(tmp_path / "m.onnx", nodes, tensors, {"x": [2, 1, 4, 4]}, {"z": [2, 3]}).graph
    assert [(layer.name, layer.kind, layer.inputs) for layer in graph.layers] == [
        ("/conv/Conv", "conv", ("x",)),
        ("/act", "activation", ("/conv/Conv",)),
        ("p", "global pool", ("/act",)),
        ("f", "flatten", ("p",)),
        ("m", "merge", ("f",)),
        ("/fc/MatMul", "dense", ("m",)),
        ("z", "activation", ("/fc/MatMul",)),
    ]
    assert (graph.input_names, graph.input_shapes, graph.is_sequential) == (("x",), ((1, 4, 4),), False), "not all are layers"
    assert (graph.layers[0].input_shape, graph.layers[-1].output_shape) == ((1, 4, 4), (3,))
    conv, act, _, flat, _, dense, last = (layer.settings for layer in graph.layers)
    assert conv["weights"] == ("onnx::Conv_1", "offset")
    assert dense["weights"] == ("onnx::MatMul_6", "fc.bias")
    assert act["activation"] == "gelu_tanh"
    assert flat["channels"] == "last"
    assert last == {"activation": "leaky_relu", "negative_slope": 0.2}


def test_a_table_that_is_used_twice_is_one_layer_and_two_branches_merge(tmp_path):
    table = np.ones((5, 3), "f")
    nodes = [
        helper.make_node("Gather", ["emb.weight", "x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"], name="one"),
        helper.make_node("Tanh", ["a"], ["c"], name="two"),
        helper.make_node("Add", ["b", "c"], ["d"], name="sum"),
        helper.make_node("Transpose", ["emb.weight"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["d", "t"], ["y"]),
    ]
    path = tmp_path / "tied.onnx"
    graph = saved(path, nodes, {"emb.weight": table}, {"x": [2]}, {"y": [2, 5]}).graph
    assert [(layer.name, layer.kind) for layer in graph.layers] == [
        ("emb", "embedding"),
        ("one", "activation"),
        ("two", "activation"),
        ("sum", "merge"),
    ]
    assert graph.layers[3].inputs == ("one", "two")
    assert (graph.layers[0].inputs, graph.layers[0].calls, graph.is_sequential) == (("x", "sum"), 2, False)


def test_a_node_keeps_the_order_and_the_repeats_of_its_inputs_and_those_of_the_net(tmp_path):
    nodes = [
        helper.make_node("Relu", ["y"], ["r"], name="x"),  # a node with the name of an input
        helper.make_node("Concat", ["r", "x", "r"], ["c"], name="cat", axis=1),
        helper.make_node("Add", ["c", "c"], ["z"], name="twice"),
    ]
    tensors = {"unused.weight": np.ones((2, 2), "f")}
    graph = saved(tmp_path / "m.onnx", nodes, tensors, {"x": [1, 2], "y": [1, 2]}, {"z": [1, 6]}).graph
    assert graph.input_names == ("x#2", "y")
    assert {layer.name: layer.inputs for layer in graph.layers} == {
        "x": ("y",),
        "cat": ("x", "x#2", "x"),
        "twice": ("cat", "cat"),
    }
    assert (graph.input_shapes, graph.layers[-1].output_shape, graph.is_sequential) == (((2,), (2,)), (6,), False)


def test_weights_in_a_branch_make_the_order_uncertain(tmp_path):
    def branch(name):
        node = helper.make_node("MatMul", ["x", f"{name}.weight"], [f"{name}_y"])
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [1, 2])
        return helper.make_graph([node], name, [], [out], [numpy_helper.from_array(np.ones((2, 2), "f"), f"{name}.weight")])

    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch("yes"), else_branch=branch("no"), name="if")]
    graph = saved(tmp_path / "if.onnx", nodes, {"c": np.array(True)}, {"x": [1, 2]}, {"y": [1, 2]}).graph
    assert not graph.is_execution_order
    assert {(layer.name, layer.kind) for layer in graph.layers} == {("yes", "dense"), ("no", "dense")}


def test_a_tflite_graph_knows_the_shapes_between_its_layers():
    graph = golden("mlp_relu", "tflite").graph
    layers = graph.layers
    assert (len(graph.input_names), graph.input_shapes, graph.is_sequential) == (1, ((6,),), True)
    assert [(layer.input_shape, layer.output_shape) for layer in layers] == [((6,), (8,)), ((8,), (8,)), ((8,), (3,))]
    assert [layer.inputs for layer in layers] == [graph.input_names, (layers[0].name,), (layers[1].name,)]
    real = golden("conv1d", "tflite")
    assert real.select(role="kernel").graph.layers[0].kind == "conv"
    assert steelyard.effective(GOLDEN / "conv1d/model.tflite").graph.layers[0].kind == "conv"


def test_a_graph_is_made_on_request_and_without_numpy():
    path = GOLDEN / "lstm/model.onnx"
    code = f"import sys, steelyard; w = steelyard.weights({str(path)!r}); print(len(w.graph.layers), 'numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["2", "False"]


def test_an_onnx_file_runs_only_where_its_runtime_is_already_imported(tmp_path):
    path = GOLDEN / "bilstm/model.onnx"
    code = """
import sys, numpy as np, steelyard
from steelyard.core.plugins import load
runner, (path, io) = load("frameworks", "onnxruntime"), sys.argv[1:]
weights, arrays = steelyard.weights(path), np.load(io)
try:
    runner.run(path, [arrays["x0"]])
except steelyard.errors.UnknownModelError as error:
    print(error)
assert "onnxruntime" not in sys.modules
import onnxruntime
for model in (path, weights):
    (y,) = runner.run(model, [arrays["x0"].astype("float64")]).outputs
    print(abs(y - arrays["y"]).max() < 1e-5, len(runner.graph(weights, None).layers))
for model, inputs in ((weights, []), (weights.copy(), [arrays["x0"]])):
    try:
        runner.run(model, inputs)
    except steelyard.errors.SteelyardError as error:
        print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(path), str(GOLDEN / "bilstm/io.npz")], capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    assert lines[0].endswith("import onnxruntime first")
    assert lines[1:3] == ["True 2", "True 2"]
    assert lines[3] == "the ONNX file takes 1 inputs (x), not 0"
    assert lines[4].endswith("save them, and pass the path")


@pytest.mark.filterwarnings("ignore::steelyard.errors.IncompleteWarning")  # a damaged name is that of no tensor
@pytest.mark.parametrize(
    "name", ["conv2d_groups/model.tflite", "lstm/model.tflite", "mlp_relu/model.onnx", "convt2d_same_k3/model.onnx"]
)
def test_a_damaged_file_has_a_graph_or_is_refused(name, tmp_path):
    raw, path = (GOLDEN / name).read_bytes(), tmp_path / Path(name).name
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(raw)
        for place in random.integers(0, len(raw), random.integers(1, 5)):
            damaged[place] = random.choice([0, 1, 127, 255])
        path.write_bytes(damaged)
        try:
            assert steelyard.weights(path).graph is not None
        except SteelyardError:
            refused += 1
    assert 0 < refused < 300
