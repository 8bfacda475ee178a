"""Golden cases of schemes: small files that the library of each scheme wrote, with the numbers that its layers compute with."""

import json

import numpy as np
import pytest

import steelyard
from tests import carried

WHOLE = [
    "model.safetensors",
    "state.pt",
    "module.pt",
    "script.pt",
    "tensors.pt",
    "model.weights.h5",
    "model.keras",
    "model.onnx",
    "model.tflite",
    "model.bin",
    "model.msgpack",
    "state.msgpack",
    "weights.h5",
    "model.h5",
]
"""The files of a case that hold the whole net."""
SCHEMES = (
    "gptq",
    "awq",
    "bnb",
    "fp8",
    "ct-",
    "mxfp4",
    "mlx",
    "hqq",
    "quanto",
    "ctranslate2",
    "torch",
    "onnx-",
    "litert-",
    "tflite-",
    "keras-",
    "tfmot",
    "flax-",
)
"""The beginnings of the names of cases whose schemes are read."""
REFUSED = ("torch", "flax-")
"""The beginnings of the names of those that are refused where the file does not prove how it is used."""
WITHOUT_SHAPE = ("keras-int4-einsum", "model.weights.h5")
"""A file without config, which does not have the shape of a kernel that is packed as a matrix."""


def cases():
    """Yield every file of every case, with what is known of it."""
    for entry in json.loads((carried.folder("effective") / "index.json").read_text()):
        files = [name for name in entry["files"] if name in WHOLE and (entry["id"], name) != WITHOUT_SHAPE]
        if entry["id"].startswith(SCHEMES) and not entry["must_refuse"]:
            yield from (pytest.param(entry, name, id=f"{entry['id']}-{name}") for name in files)


def named(found, key):
    """Return the full name of a weight: files of Keras and Flax have the names of outer models, or of a collection, first."""
    *layers, leaf = key.split("/")
    fitting = [name for name in found if name.split("/")[-1] == leaf and {*layers} <= {*name.split("/")}]
    return key if key in found else fitting[0]


@pytest.mark.parametrize(("case", "name"), [*cases()])
def test_effective_weights_are_those_of_the_library(case, name):
    folder = carried.folder("effective") / case["id"]
    found = steelyard.effective(folder / name)
    with np.load(folder / "effective.npz") as expected:
        for key in expected:
            known = expected[key].astype(np.float64)
            weight = found[named(found, key)]
            got = weight.numpy().astype(np.float64)
            assert got.shape == known.shape
            assert np.abs(got - known).max() <= case["tolerance"] * max(np.abs(known).max(), 1e-30), key
            pieces = [weight.read(at, min(at + 7, known.size)) for at in range(0, known.size, 7)]
            assert np.concatenate(pieces).tobytes() == weight.numpy().tobytes()  # the same in any blocks


def refused_cases():
    """Yield every file of the cases whose numbers no file proves."""
    for entry in json.loads((carried.folder("effective") / "index.json").read_text()):
        if entry["id"].startswith(REFUSED) and entry["must_refuse"]:
            yield from (pytest.param(entry, name, id=f"{entry['id']}-{name}") for name in entry["files"] if name in WHOLE)


@pytest.mark.parametrize(("case", "name"), [*refused_cases()])
def test_weights_that_no_file_proves_are_refused_and_all_others_are_right(case, name):
    folder = carried.folder("effective") / case["id"]
    found = steelyard.effective(folder / name)
    with np.load(folder / "effective.npz") as expected:
        for key in expected:
            if named(found, key) not in found.unreadable:
                known = expected[key].astype(np.float64)
                got = found[named(found, key)].numpy().astype(np.float64)
                assert np.abs(got - known).max() <= case["tolerance"] * max(np.abs(known).max(), 1e-30), key
        assert {*found.unreadable} & {named(found, key) for key in expected}
