"""TensorFlow.js: files of its own writer, compared with its own reader, bit for bit; and what is wrong or missing in them.

`tests/data/make_tfjs.py` made the files and the expected arrays.
"""

import json
import shutil

import carried
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError, IncompleteWarning, UnsafeFileError
from steelyard.storage.source import open_path
from steelyard.testing import check_format


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(carried.folder("tfjs"), tmp_path / "tfjs")


def opened(folder, kind):
    return folder / kind / ("model.json" if kind == "layers" else "weights_manifest.json")


def changed(folder, kind, change):
    """Write the manifest again after `change`, and list it."""
    path = opened(folder, kind)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))
    return steelyard.weights(path)


@pytest.mark.parametrize("kind", ["plain", "uint8", "uint16", "float16", "layers"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_every_number_is_that_of_tensorflowjs_own_reader(folder, kind, is_folder):
    found = steelyard.weights(folder / kind if is_folder else opened(folder, kind))
    expected = np.load(folder / f"{kind}.npz")
    assert list(found) == expected.files
    for name, array in expected.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype.name)
        assert found[name].numpy().tobytes() == array.tobytes()
    assert found.meta.get("notes", []) == found.meta.get("incomplete", []) == []


def test_a_quantised_weight_has_the_type_that_it_had_and_the_word_of_its_codes(folder):
    found = steelyard.weights(opened(folder, "uint8"))
    assert (found["dense/kernel"].dtype, found["dense/kernel"].encoding) == ("float32", "uint8")
    assert (found["steps"].dtype, found["steps"].encoding) == ("int32", "")
    assert found["dense/kernel"].numpy()[1:3].tobytes() == found["dense/kernel"].read(7, 21).tobytes()


def test_texts_are_listed_with_scope_all_and_the_weights_after_them_are_read(folder):
    path = opened(folder, "plain")
    assert "words" not in steelyard.weights(path)
    found = steelyard.weights(path, scope="all")
    assert "an array of texts" in found.unreadable["words"]
    assert found["steps"].numpy() == 7


def test_the_layers_of_a_keras_model_give_roles_axes_and_a_graph(folder):
    found = steelyard.weights(opened(folder, "layers"))
    assert [(w.layer, w.role, w.axes) for w in found.values()][:4] == [
        ("conv", "kernel", "kh kw in out"),
        ("conv", "bias", "out"),
        ("norm", "scale", "channel"),
        ("norm", "offset", "channel"),
    ]
    assert found["norm/moving_mean"].trainable is False
    assert [layer.kind for layer in found.graph.layers] == ["conv", "batch norm", "flatten", "dense"]
    assert found.meta["format"] == "layers-model"


def graph_of(folder, *nodes):
    model = {"format": "graph-model", "modelTopology": {"node": list(nodes)}}
    path = folder / "plain/model.json"
    path.write_text(json.dumps(model))
    return path


def test_the_operators_of_a_graph_model_give_roles_and_the_manifest_may_be_next_to_it(folder):
    dense = {"name": "y", "op": "_FusedMatMul", "input": ["x", "dense/kernel", "dense/bias"]}
    turned = {"name": "z", "op": "MatMul", "input": ["y", "lstm/kernel"], "attr": {"transpose_b": {"b": True}}}
    conv = {"name": "c", "op": "Conv2D", "input": ["i", "conv/kernel:0"]}
    path = graph_of(folder, dense, turned, conv, 3, {"op": "MatMul"}, {"op": "MatMul", "input": [[], {}]})
    found = steelyard.weights(path)
    facts = {name: (w.role, w.axes) for name, w in found.items()}
    assert facts["dense/kernel"] == ("kernel", "in out")
    assert facts["dense/bias"] == ("bias", "out")
    assert facts["lstm/kernel"] == ("kernel", "out in")
    assert facts["conv/kernel"] == ("kernel", "kh kw in out")
    assert "steps" not in found
    assert "steps" in steelyard.weights(path, scope="all")
    (folder / "plain/weights_manifest.json").unlink()
    with pytest.raises(FormatError, match="has the layers of a model, and no weights"):
        steelyard.weights(path)


def test_a_missing_file_is_named_and_the_weights_before_it_are_read(folder):
    (folder / "plain/group2-shard2of2.bin").unlink()
    with pytest.warns(IncompleteWarning, match=r"lacks the file 'group2-shard2of2\.bin'"):
        found = steelyard.weights(folder / "plain")
    assert "conv/kernel" in found.unreadable or "lstm/kernel" in found.unreadable
    assert all(r"'group2-shard2of2.bin' is missing" in why for why in found.unreadable.values())
    assert np.array_equal(found["dense/bias"].numpy(), np.load(folder / "plain.npz")["dense/bias"])


def test_a_file_that_is_cut_off_or_too_long_is_said(folder):
    path = folder / "plain/group1-shard1of1.bin"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert "its files end before that" in steelyard.weights(folder / "plain").unreadable["same/bias"]
    path.write_bytes(data + b"\0\0")
    assert steelyard.weights(folder / "plain").meta["notes"] == ["2 bytes follow the last weight of a group, and were not read"]


def test_more_files_than_a_model_may_have_are_refused_and_one_that_is_named_twice_is_read_twice(folder):
    with steelyard.limits.allow(SHARDS=1), pytest.raises(FormatError, match="names 2 files, more than the 1 that are allowed"):
        steelyard.weights(folder / "plain")
    weights = [{"name": "w", "shape": [3, 4], "dtype": "uint8"}]
    (folder / "weights_manifest.json").write_text(json.dumps([{"paths": ["a.bin", "none.bin", "a.bin"], "weights": weights}]))
    (folder / "a.bin").write_bytes(bytes(range(6)))
    (folder / "none.bin").write_bytes(b"")
    found = steelyard.weights(folder / "weights_manifest.json")["w"]
    assert found.numpy().tolist() == [[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]]
    assert found[1].tolist() == [4, 5, 0, 1]


def first(entry):
    def change(manifest):
        manifest[0]["weights"][0].update(entry)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda manifest: {"weightsManifest": [], "modelTopology": {}}, "has no groups of weights"),
        (lambda manifest: [{"weights": [], "paths": [3]}], "without a list of weights or of paths"),
        (first({"name": 3}), "lacks a name or a possible shape"),
        (first({"shape": [-2, 7]}), "lacks a name or a possible shape"),
        (first({"shape": [1 << 40, 1 << 40]}), "lacks a name or a possible shape"),
        (first({"name": "dense/bias"}), "duplicate name dense/bias"),
        (first({"dtype": "float7"}), "is of the type 'float7', which is not known"),
        (first({"quantization": {"dtype": "uint4", "scale": 1, "min": 0}}), "is quantised in an unknown way"),
        (first({"quantization": {"dtype": "uint8", "min": 0}}), "is quantised in an unknown way"),
        (first({"quantization": {"dtype": "uint8", "min": 0, "scale": float("inf")}}), "is quantised in an unknown way"),
        (first({"quantization": {"dtype": "float16"}, "dtype": "int32"}), "is quantised in an unknown way"),
    ],
    ids=["none", "paths", "name", "shape", "huge", "twice", "type", "codes", "scale", "infinite", "halves"],
)
def test_a_manifest_that_describes_no_weights_is_refused(folder, change, reason):
    with pytest.raises(FormatError, match=reason):
        changed(folder, "plain", change)


def test_a_path_cannot_leave_the_folder(folder):
    with pytest.raises(UnsafeFileError, match="leads out of the folder"):
        changed(folder, "plain", lambda manifest: [{**manifest[0], "paths": ["../layers/group1-shard1of2.bin"]}])


def test_it_keeps_the_rules_of_a_format(folder):
    check_format(open_path(opened(folder, "uint8")))
