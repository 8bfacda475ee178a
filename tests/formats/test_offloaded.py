"""Folders to which Accelerate offloads a model, written here as its `offload_weight` and `save_offload_index` do."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import steelyard
from steelyard.errors import UnsafeFileError

WEIGHTS = {
    "fc.weight": np.arange(6, dtype="f4").reshape(2, 3),
    "fc.bias": np.array([1.5, -2], ml_dtypes.bfloat16),
    "count": np.array(7, "i8"),
}


@pytest.fixture
def folder(tmp_path):
    index = {}
    for name, array in WEIGHTS.items():
        stored = array.view(np.int16) if array.dtype.name == "bfloat16" else array
        index[name] = {"dtype": array.dtype.name, "shape": list(array.shape)}
        np.memmap(tmp_path / f"{name}.dat", dtype=stored.dtype, mode="w+", shape=stored.shape or (1,))[:] = stored
    (tmp_path / "index.json").write_text(json.dumps(index, indent=2))
    return tmp_path


def changed(folder, **entries):
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | entries))
    return steelyard.weights(folder)


@pytest.mark.parametrize("name", ["", "index.json"])
def test_the_folder_and_its_index_list_every_weight_bit_for_bit(folder, name):
    found = steelyard.weights(folder / name)
    assert {name: (w.dtype, w.shape) for name, w in found.items()} == {n: (a.dtype.name, a.shape) for n, a in WEIGHTS.items()}
    assert all(found[name].numpy().tobytes() == array.tobytes() for name, array in WEIGHTS.items())
    assert (found["fc.weight"].role, found["fc.weight"].axes, found["fc.bias"].role) == ("kernel", "out in", "bias")


def test_a_weight_of_a_safetensors_file_is_read_from_the_same_folder(folder):
    save_file({"inner.weight": WEIGHTS["fc.weight"]}, folder / "model.safetensors")
    entry = {"safetensors_file": "/cache/model.safetensors", "weight_name": "inner.weight"}
    found = changed(folder, head=entry, gone={**entry, "safetensors_file": "/cache/other.safetensors"})
    assert np.array_equal(found["head"].numpy(), WEIGHTS["fc.weight"])
    assert "other.safetensors, which is not in this folder" in found.unreadable["gone"]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"dtype": "float32", "shape": [2, 4]}, "does not take 24 bytes"),
        ({"dtype": "float7", "shape": [2, 3]}, "lacks a type of numbers"),
        ({"dtype": "float32", "shape": [2, -3]}, "lacks a type of numbers or a shape"),
        ({"dtype": "float32"}, "lacks a type of numbers or a shape"),
        (3, "lacks a type of numbers"),
    ],
)
def test_an_entry_that_does_not_describe_its_file_is_listed_and_refused(folder, entry, reason):
    found = changed(folder, **{"fc.weight": entry})
    assert [*found] == [*WEIGHTS]
    assert [*found.unreadable] == ["fc.weight"]
    assert reason in found.unreadable["fc.weight"]


def test_a_missing_file_is_refused_by_name_and_a_name_cannot_leave_the_folder(folder):
    (folder / "count.dat").unlink()
    assert "count.dat is missing" in steelyard.weights(folder).unreadable["count"]
    with pytest.raises(UnsafeFileError):
        changed(folder, **{"../fc": {"dtype": "float32", "shape": []}})
