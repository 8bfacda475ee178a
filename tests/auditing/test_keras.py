"""The audit of Keras configs: what a loader would import, call, read or unpickle, at any depth and in every container."""

import base64
import io
import json
import marshal
import zipfile

import h5py
import pytest

from steelyard.auditing import audit
from steelyard.storage.source import from_bytes

CODE = base64.b64encode(marshal.dumps(compile("1", "a", "eval"))).decode()
DENSE = {
    "module": "keras.layers",
    "class_name": "Dense",
    "config": {
        "name": "d",
        "units": 2,
        "kernel_initializer": {"module": "keras.initializers", "class_name": "Zeros", "config": {}},
    },
    "registered_name": None,
}


def model(*layers, **more):
    entries = [DENSE, *layers]
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "s", "layers": entries},
        "registered_name": None,
    } | more


def rules(config, name="config.json"):
    return {finding.rule for finding in audit(from_bytes(json.dumps(config).encode(), name)).findings}


def function(module, name, **more):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name} | more


LAMBDA = {"class_name": "__lambda__", "config": {"code": CODE, "defaults": None, "closure": None}}
ERRORS = {
    "a Lambda of Keras 3": ({"class_name": "Lambda", "module": "keras.layers", "config": {"function": LAMBDA}}, "keras-code"),
    "a Lambda of Keras 2": (
        {"class_name": "Lambda", "config": {"function": [CODE, None, None], "function_type": "lambda"}},
        "keras-code",
    ),
    "a Lambda of a SavedModel": (
        {"class_name": "Lambda", "config": {"function": {"class_name": "__tuple__", "items": [CODE, None, None]}}},
        "keras-code",
    ),
    "code as an activation": (DENSE | {"config": {"name": "d", "activation": LAMBDA}}, "keras-code"),
    "CVE-2025-1550": (function("os", "system"), "keras-function"),
    "CVE-2025-8747": (function("keras.utils", "get_file"), "keras-function"),
    "CVE-2025-8747 as a class": (
        {"module": "keras.utils", "class_name": "get_file", "config": {"origin": "http://a/b"}},
        "keras-function",
    ),
    "CVE-2025-9906": (function("keras.config", "enable_unsafe_deserialization"), "keras-function"),
    "CVE-2025-12058": (
        {"module": "keras.layers", "class_name": "StringLookup", "config": {"name": "l", "vocabulary": "/etc/passwd"}},
        "keras-file",
    ),
    "CVE-2025-12058 by an address": (
        {"module": "keras.layers", "class_name": "IntegerLookup", "config": {"name": "l", "vocabulary": "gs://a/b"}},
        "keras-file",
    ),
    "CVE-2026-1462": ({"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp/m"}}, "keras-runs"),
    "CVE-2026-12479": (
        {"module": "keras.layers", "class_name": "Dense", "config": {"name": "../../../x", "units": 1}},
        "path-traversal",
    ),
    "an import by a type": (
        {"class_name": "__typespec__", "config": {"spec_name": "system", "module": "os", "registered_name": None}},
        "keras-function",
    ),
    "a loader of Keras": (function("keras.src.saving.saving_lib", "load_model"), "keras-function"),
    "a getter of Keras": (function("keras.activations", "deserialize"), "keras-function"),
    "a builtin": (function("builtins", "eval"), "keras-function"),
    "a builtin without a module": (function(None, "exec"), "keras-function"),
    "a function of a further package": (function("numpy", "load"), "keras-function"),
    "an operator of TensorFlow 2": ({"class_name": "TFOpLambda", "config": {"function": "io.read_file"}}, "keras-function"),
    "an operator of TensorFlow 1": (
        {"class_name": "TensorFlowOpLayer", "config": {"node_def": '{"op": "PyFunc", "name": "x"}'}},
        "tf-python",
    ),
    "a table in a file": (
        {"class_name": "TextVectorization", "config": {"table": {"class_name": "StaticHashTable", "config": {"filename": "/a"}}}},
        "keras-runs",
    ),
    "a callback": ({"module": "keras.callbacks", "class_name": "CSVLogger", "config": {"filename": "/a"}}, "keras-runs"),
    "a class that opens files": ({"module": "keras.utils", "class_name": "SidecarEvaluator", "config": {}}, "keras-function"),
    "a registered name of a module": (
        {"module": None, "class_name": "Popen", "config": {}, "registered_name": "subprocess>Popen"},
        "keras-function",
    ),
    "loading without safe mode": (DENSE | {"config": {"name": "d", "safe_mode": False}}, "keras-unsafe-mode"),
    "a layer of TensorFlow Hub": (
        {"class_name": "KerasLayer", "config": {"handle": "https://a/b", "name": "h"}},
        "keras-runs",
    ),
}


@pytest.mark.parametrize(("layer", "rule"), ERRORS.values(), ids=ERRORS)
def test_a_layer_that_would_run_or_reach_out_is_an_error_at_any_depth(layer, rule):
    assert rule in rules(model(layer))
    assert rule in rules({"config": {"deep": [[{"x": model(layer)}]]}}, "a.json")
    assert rule in rules(model(build_config={"input_shape": layer}))
    assert rule in rules(model(compile_config={"loss": layer}))
    assert audit(from_bytes(json.dumps(model(layer)).encode(), "config.json")).would_run


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        (
            {"module": "evil_pkg.layers", "class_name": "Evil", "config": {}, "registered_name": "Custom>Evil"},
            "keras-unknown-class",
        ),
        ({"module": None, "class_name": "Evil", "config": {}, "registered_name": "evil>Evil"}, "keras-unknown-class"),
        ({"class_name": "Evil", "config": {}}, "keras-unknown-class"),
        (DENSE | {"registered_name": "evil>Dense"}, "keras-unknown-class"),
        ({"class_name": "Lambda", "config": {"function": "mine", "function_type": "function"}}, "keras-lambda"),
        (function("builtins", "my_loss"), "keras-unknown-class"),
        ({"module": "keras_hub.src.models", "class_name": "GPT2Backbone", "config": {}}, "keras-known-class"),
    ],
)
def test_a_class_that_no_list_knows_is_a_warning_and_one_of_a_library_a_remark(layer, rule):
    assert rules(model(layer)) == {rule}


BENIGN = [
    DENSE,
    {"class_name": "Dense", "config": {"name": "a", "units": 2, "activation": "relu", "kernel_regularizer": None}},
    function("keras.activations", "gelu"),
    function("keras.src.losses.losses", "mean_squared_error"),
    function("builtins", "relu"),
    {"module": "keras.layers", "class_name": "StringLookup", "config": {"name": "l", "vocabulary": ["a", "/etc"]}},
    {"module": "keras.layers", "class_name": "TextVectorization", "config": {"vocabulary": None, "standardize": "lower"}},
    {"class_name": "TFOpLambda", "config": {"name": "tf.nn.relu", "function": "nn.relu"}},
    {"module": "keras.src.ops.numpy", "class_name": "Sum", "config": {"axis": -1}},
    {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_float16"}},
    {"module": "keras.layers", "class_name": "TextVectorization", "config": {"proto": "AB/+" * 300}},
    {"class_name": "Custom>Adam", "config": {"name": "Adam"}},
    {"class_name": "__tuple__", "items": [1, 2], "config": None},
    {"module": "keras.optimizers.schedules", "class_name": "CosineDecay", "config": {"name": "eval exec os.system"}},
    {"class_name": "__keras_tensor__", "config": {"shape": [None, 2], "keras_history": ["../a", 0, 0]}},
]


@pytest.mark.parametrize("layer", BENIGN)
def test_the_layers_of_keras_have_no_finding(layer):
    assert not rules(model(layer))


def test_json_that_is_not_of_keras_is_not_judged_as_keras():
    assert not rules({"url": "http://a/b", "vocabulary": "/etc/passwd", "name": "../x", "class_name": "x"})


def test_a_key_that_occurs_twice_hides_nothing():
    text = json.dumps(model()).replace('"class_name": "Dense"', '"class_name": "Lambda", "class_name": "Dense"')
    text = text.replace('"units": 2', '"function": ["x"], "units": 2')
    twice = text.replace('{"name": "s"', '{"x": {"class_name": "TFSMLayer", "config": {}}, "x": 1, "name": "s"')
    assert "keras-runs" in {finding.rule for finding in audit(from_bytes(twice.encode(), "config.json")).findings}


def test_escapes_and_other_encodings_hide_nothing():
    text = json.dumps(model(function("os", "system"))).replace("class_name", "cl\\u0061ss_n\\u0061me")
    assert audit(from_bytes(text.encode(), "config.json")).would_run
    assert audit(from_bytes(json.dumps(model(function("os", "system"))).encode("utf-16"), "config.json")).would_run


def test_a_pytorch_module_in_a_config_is_looked_into():
    layer = {"module": "keras.layers", "class_name": "TorchModuleWrapper"}
    held = base64.b64encode(b"cos\nsystem\n(S'ls'\ntR.").decode()
    for module in (held, {"class_name": "__bytes__", "config": {"value": held}, "value": held}):
        found = audit(from_bytes(json.dumps(model(layer | {"config": {"module": module}})).encode(), "config.json")).findings
        assert "would have run os.system('ls')" in [finding.what for finding in found]


def zipped(config, **members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def test_the_members_of_a_keras_archive_are_judged():
    assert not audit(from_bytes(zipped(model()), "a.keras")).findings
    assert audit(from_bytes(zipped(model(function("os", "system"))), "a.keras")).would_run
    outside = audit(from_bytes(zipped(model(), **{"assets__..__..__x": "1"}), "a.keras")).findings
    assert [finding.rule for finding in outside] == ["path-traversal"]


def test_the_configs_in_hdf5_are_judged(tmp_path):
    path = tmp_path / "a.h5"
    for config, would_run in ((model(), False), (model(function("os", "system")), True)):
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = json.dumps(model())
            file.attrs["training_config"] = json.dumps({"loss": config})
        assert audit(path).would_run is would_run


def test_numbers_in_another_hdf5_file_are_outside(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["soft"] = h5py.SoftLink("/x")
    assert not audit(path).would_run
    with h5py.File(path, "w") as file:
        file["outer"] = h5py.ExternalLink("/etc/x", "/x")
    assert [finding.rule for finding in audit(path).findings] == ["hdf5-outside"]
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", (4,), "u1", external=[("/etc/passwd", 0, 4)])
    assert [finding.rule for finding in audit(path).findings] == ["hdf5-outside"]


def test_a_damaged_config_is_a_finding():
    assert rules({}, "a.json") == set()
    cut = json.dumps(model()).encode()[:-5]
    assert [finding.rule for finding in audit(from_bytes(cut, "config.json")).findings] == ["damaged"]
