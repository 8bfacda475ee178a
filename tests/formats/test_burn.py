"""Burn's records, message by message as its recorder writes them."""

import gzip

import ml_dtypes
import msgpack
import numpy as np
import pytest

import steelyard
from steelyard.core.weight import Role
from steelyard.errors import FormatError
from steelyard.formats import format_name

WORDS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "bool": "Bool", "uint8": "U8"}
ARRAYS = {
    "embed.weight": np.arange(12, dtype="f4").reshape(4, 3),
    "layers.0.linear.weight": np.arange(6, dtype="f2").reshape(3, 2),
    "layers.0.linear.bias": np.arange(2).astype(ml_dtypes.bfloat16),
    "layers.1.norm.gamma": np.ones(2, "f4"),
    "steps": np.arange(2, dtype="i8"),
    "mask": np.array([True, False]),
    "bytes": np.arange(3, dtype="u1"),
    "nothing": np.ones((0, 3), "f4"),
}
METADATA = {
    "float": "f32",
    "int": "i32",
    "format": "burn_core::record::file::NamedMpkFileRecorder<burn_core::record::settings::FullPrecisionSettings>",
    "version": "0.16.0",
    "settings": "FullPrecisionSettings",
}


def leaf(values):
    tensor = {"bytes": values.tobytes(), "shape": [*values.shape], "dtype": WORDS[values.dtype.name]}
    return {"id": "7F3A", "param": tensor}


def tree():
    held = {name: leaf(values) for name, values in ARRAYS.items()}
    linear = {"weight": held["layers.0.linear.weight"], "bias": held["layers.0.linear.bias"]}
    layers = [
        {"linear": linear, "dropout": 0.1},
        {"norm": {"gamma": held["layers.1.norm.gamma"], "epsilon": 1e-5}, "linear": None},
    ]
    rest = {name: held[name] for name in ("steps", "mask", "bytes", "nothing")}
    return {"embed": {"weight": held["embed.weight"]}, "layers": layers, **rest, "activation": "Relu"}


def record(item):
    return msgpack.packb({"metadata": METADATA, "item": item})


def read(folder, data, name="net.mpk"):
    (folder / name).write_bytes(data)
    return steelyard.weights(folder / name)


FILES = {
    "net.mpk": lambda: record(tree()),
    "net.mpk.gz": lambda: gzip.compress(record(tree())),
    "net.dat": lambda: record(tree()),
    "bare.mpk": lambda: msgpack.packb(tree()),
}


@pytest.mark.parametrize("name", FILES)
def test_a_record_has_the_parameters_of_its_modules(name, tmp_path):
    found = read(tmp_path, FILES[name](), name)
    assert [*found] == [*ARRAYS]
    for name, weight in found.items():
        assert (weight.shape, weight.dtype) == (ARRAYS[name].shape, ARRAYS[name].dtype.name)
        assert weight.numpy().tobytes() == ARRAYS[name].tobytes()
    assert found["layers.0.linear.bias"].role == Role.BIAS
    assert found["layers.1.norm.gamma"].role == Role.SCALE


def test_the_format_and_the_version_are_named(tmp_path):
    found = read(tmp_path, record(tree()))
    assert (found.meta["format"], found.meta["version"]) == ("Burn", "0.16.0")
    assert format_name(str(tmp_path / "net.mpk")) == "burn"


GOOD = leaf(np.ones((2, 3), "f4"))["param"]
REFUSED = {
    "a shape": ({**GOOD, "shape": [2, 4]}, r"has the shape \[2, 4\] of float32, and 24 bytes"),
    "a huge shape": ({**GOOD, "shape": [1 << 40, 1 << 40]}, "has the impossible shape"),
    "a word as a shape": ({**GOOD, "shape": "x"}, "has the impossible shape"),
    "a quantised one": ({**GOOD, "dtype": {"QFloat": {}}}, "is of the type .*QFloat.*, which is not read"),
    "no bytes": ({**GOOD, "bytes": [1, 2]}, "of float32, and no bytes"),
    "an old one": ({"value": [1.0, 2.0], "shape": [2]}, "is as Burn wrote it before 0.14, which is not read"),
    "no tensor": (5, "has the impossible shape None"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_tensor_that_cannot_be_read_is_listed_and_the_others_are_read(case, tmp_path):
    tensor, what = REFUSED[case]
    found = read(tmp_path, record({"bad": {"id": "1", "param": tensor}, "good": leaf(np.ones(2, "f4"))}))
    assert found["good"].numpy().tolist() == [1, 1]
    with pytest.raises(FormatError, match=what):
        found["bad"].numpy()


def test_a_record_that_lies_is_refused(tmp_path):
    with pytest.raises(FormatError, match="is a record of Burn without parameters"):
        read(tmp_path, record({"lr": 0.1}))
    with pytest.raises(FormatError, match=r"two parameters with the name 'a\.b'"):
        read(tmp_path, record({"a": {"b": leaf(np.ones(1, "f4"))}, "a.b": leaf(np.ones(1, "f4"))}))
    with pytest.raises(FormatError):
        read(tmp_path, record(tree())[:-3])
