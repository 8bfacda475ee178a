"""Real and golden ONNX, TFLite, GGUF and Flax files: names, types, shapes and numbers are those of the references."""

import hashlib
import subprocess
import sys

import carried
import numpy as np
import pytest

import steelyard
from steelyard.storage.source import open_path
from steelyard.testing import check_format

FORMATS = ("onnx", "onnx-external", "tflite", "gguf", "flax-msgpack")
REAL = {entry["id"]: entry for entry in carried.real()["entries"] if entry["format"] in FORMATS and carried.is_outside(entry)}
GOLDEN = carried.golden_cases()
FILES = {"onnx": "onnx", "linen": "linen", "nnx": "nnx", "tflite": "tflite"}
CASES = [(case["id"], key) for case in GOLDEN for key in FILES if key in case["files"]]
BY_ID = {case["id"]: case for case in GOLDEN}


def fact(weight):
    array = weight.numpy()
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return weight.dtype, weight.shape, hashlib.sha256(little.tobytes()).hexdigest()


def golden(case, framework):
    return carried.folder("golden") / BY_ID[case]["files"][framework][0]


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_a_real_file_has_the_names_types_shapes_and_numbers_of_the_reference(name):
    entry = REAL[name]
    found = steelyard.weights(carried.path_of(entry), scope="all")
    if name == "qlknn-flax":  # the reference does not look into its encoded config
        found = found.select("params/*")
    words = {"f32": "float32"}
    expected = [(words.get(t["dtype"], t["dtype"]), tuple(t["shape"]), t["sha256"]) for t in entry["tensors"]]
    assert [fact(weight) for weight in found.values()] == expected or sorted(map(fact, found.values())) == sorted(expected)
    if name != "onnx-light-resnet50":  # its constants have no names
        assert set(found) == {t["name"] for t in entry["tensors"]}


LISTED = ["qlknn-onnx", "docker-dummy-gguf", "tflm-hello-int8", "qlknn-flax", "burn-onnx-external"]


@pytest.mark.parametrize("name", ["golden lstm", *[pytest.param(name, marks=pytest.mark.shared) for name in LISTED]])
def test_listing_a_file_does_not_import_numpy(name):
    path = golden("lstm", "onnx") if name == "golden lstm" else carried.path_of(REAL[name])
    code = f"import sys, steelyard; w = steelyard.weights({str(path)!r}, scope='all'); list(w.values()); w.size; print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_there_are_real_files_of_every_format():
    assert {entry["format"] for entry in REAL.values()} == set(FORMATS)
    assert len(REAL) >= 17


@pytest.mark.parametrize(("case", "framework"), CASES)
def test_a_golden_file_has_the_names_and_shapes_of_its_case_and_holds_the_contract(case, framework):
    found = check_format(open_path(golden(case, framework)))
    expected = BY_ID[case].get("tensors", {}).get(framework)
    if expected is not None:  # TFLite's names are the converter's
        assert {name: list(weight.shape) for name, weight in found.items()} == expected


def distance(values, pool):
    """The distance of each value to the nearest one in the pool, relative to the largest."""
    pool = np.sort(pool.astype(np.float64))
    place = np.clip(np.searchsorted(pool, values), 1, len(pool) - 1)
    return np.minimum(abs(values - pool[place - 1]), abs(values - pool[place])).max() / abs(pool).max()


@pytest.mark.parametrize(("case", "framework"), [pair for pair in CASES if pair[1] != "tflite" and "spectral" not in pair[0]])
def test_every_number_of_a_golden_file_is_one_of_its_canonical_arrays(case, framework):
    with np.load(carried.folder("golden") / BY_ID[case]["canonical"]) as arrays:
        canonical = np.concatenate([[0, 0], *(arrays[key].ravel() for key in arrays)])
    biases = np.concatenate([canonical, np.add.outer(canonical, canonical).ravel()])  # where two biases are kept as one
    for name, weight in steelyard.weights(golden(case, framework)).items():
        if weight.dtype == "float32":
            assert distance(weight.numpy().astype(np.float64), biases if "bias" in name else canonical) < 1e-6, name


AXES = {"dense": "out in", "conv1d": "out in k", "conv2d": "out in kh kw", "conv3d": "out in kd kh kw", "convt2d": "in out kh kw"}
RECURRENT = {"rnn_tanh": "", "lstm": "iofg", "gru": "zrn", "bilstm": "iofg"}


@pytest.mark.parametrize("case", AXES)
def test_onnx_kernels_have_the_axes_that_are_listed(case):
    found = steelyard.weights(golden(case, "onnx"))
    kernel, bias = found["layer.W"], found["layer.B"]
    assert (kernel.role, kernel.axes, kernel.layer) == ("kernel", AXES[case], "layer")
    assert (bias.role, bias.axes) == ("bias", "out")
    with np.load(carried.folder("golden") / BY_ID[case]["canonical"]) as arrays:
        np.testing.assert_array_equal(kernel.numpy(), arrays["layer:kernel"])


@pytest.mark.parametrize("case", RECURRENT)
def test_onnx_gates_are_in_the_order_that_is_listed(case):
    found = steelyard.weights(golden(case, "onnx"))
    gates = RECURRENT[case]
    packed = f"[{gates}]*out" if gates else "out"
    assert {name: (w.role, w.axes) for name, w in found.items()} == {
        "layer0.W": ("kernel", f"dir {packed} in"),
        "layer0.R": ("recurrent kernel", f"dir {packed} in"),
        "layer0.B": ("bias", f"dir [ih]*{packed}"),
        "shp": ("other", ""),
    }
    canonical_order = {"lstm": "ifgo", "gru": "rzn", "rnn": ""}[case.removeprefix("bi").partition("_")[0]]
    with np.load(carried.folder("golden") / BY_ID[case]["canonical"]) as arrays:
        for place, direction in enumerate(["fwd", "bwd"][: found["layer0.W"].shape[0]]):
            split = found["layer0.W"].numpy()[place].reshape(max(len(gates), 1), -1, found["layer0.W"].shape[-1])
            for index, gate in enumerate(gates or " "):
                kernel = arrays[f"layer:l0.{direction}.kernel"]
                expected = kernel[canonical_order.index(gate)] if gates else kernel
                np.testing.assert_array_equal(split[index], expected)


ROLES = {
    "batchnorm2d": {"scale": "scale", "B": "offset", "input_mean": "mean", "input_var": "variance"},
    "layernorm": {"scale": "scale", "B": "offset"},
    "groupnorm": {"scale": "scale", "B": "offset"},
    "instancenorm": {"scale": "scale", "B": "offset"},
    "embedding": {"W": "embedding"},
    "prelu_channel": {"slope": "other"},
}


@pytest.mark.parametrize("case", ROLES)
def test_onnx_norms_and_embeddings_are_known_by_their_operators(case):
    found = steelyard.weights(golden(case, "onnx"))
    assert {name.removeprefix("layer."): weight.role for name, weight in found.items()} == ROLES[case]


@pytest.mark.parametrize(("case", "order"), [("dense", (0, 1)), ("conv2d", (0, 3, 1, 2)), ("convt2d", (3, 0, 1, 2))])
def test_tflite_kernels_have_the_axes_that_are_listed(case, order):
    kernel, *rest = [w for w in steelyard.weights(golden(case, "tflite")).values() if w.role == "kernel"]
    assert not rest
    assert kernel.axes == ("out in" if case == "dense" else "out kh kw in")
    with np.load(carried.folder("golden") / BY_ID[case]["canonical"]) as arrays:
        np.testing.assert_array_equal(kernel.numpy().transpose(order), arrays["layer:kernel"])


def test_the_gates_of_a_fused_lstm_in_tflite_are_separate_weights():
    found = steelyard.weights(golden("lstm", "tflite"))
    with np.load(carried.folder("golden") / "lstm/canonical.npz") as arrays:
        for role, key in (("kernel", "kernel"), ("recurrent kernel", "recurrent")):
            gates = found.select(role=role)
            assert [w.axes for w in gates.values()] == [f"[{gate}]*out in" for gate in "ifgo"]
            np.testing.assert_array_equal(np.stack([w.numpy() for w in gates.values()]), arrays[f"layer:l0.fwd.{key}"])


@pytest.mark.shared
def test_the_corpus_pair_of_flax_and_onnx_has_equal_numbers():
    flax = steelyard.weights(carried.path_of(REAL["qlknn-flax"]))
    onnx = steelyard.weights(carried.path_of(REAL["qlknn-onnx"]))
    for place in range(6):
        kernel = onnx[f"_network.model.{2 * place}.weight"].numpy()
        np.testing.assert_array_equal(flax[f"params/params/Dense_{place}/kernel"].numpy()[0].T, kernel)
