"""Real weight files that nobody here wrote: every tensor's name, type, shape and numbers as the manifest has them."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

import steelyard
from steelyard.errors import SteelyardError

CORPUS = Path(os.environ.get("STEELYARD_SHARED", Path(__file__).parent.parent.parent / "shared")) / "corpus"
ENTRIES = [
    entry for entry in json.loads((CORPUS / "public.json").read_text())["entries"] if (CORPUS / "files" / entry["path"]).exists()
]

NOT_YET = {
    "caffe",
    "coreml-mlpackage",
    "executorch-pte",
    "flax-msgpack",
    "gguf",
    "keras-h5",
    "keras-v3",
    "keras-weights-h5",
    "mxnet",
    "onnx",
    "onnx-external",
    "openvino",
    "paddle-lodtensor",
    "paddle-pdiparams",
    "tf-checkpoint",
    "tf-savedmodel",
    "tfjs",
    "tflite",
    "thinc-msgpack",
}
"""Formats of the corpus that no file in `formats` reads yet: whoever adds one takes its line out."""

READ = [entry for entry in ENTRIES if entry["format"] not in NOT_YET and entry["n_tensors"]]
EMPTY = [entry for entry in ENTRIES if entry["format"] not in NOT_YET and not entry["n_tensors"]]


def fact(weight):
    array = np.ascontiguousarray(weight.numpy())
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return weight.name, weight.dtype, list(weight.shape), hashlib.sha256(little.tobytes()).hexdigest()


@pytest.mark.parametrize("entry", READ, ids=lambda entry: entry["id"])
def test_every_tensor_of_a_real_file_is_as_the_manifest_says(entry):
    weights = steelyard.weights(CORPUS / "files" / entry["path"], part="all")
    expected = {t["name"]: (t["name"], t["dtype"], t["shape"], t["sha256"]) for t in entry["tensors"]}
    assert {weight.name: fact(weight) for weight in weights.values()} == expected


@pytest.mark.parametrize("entry", EMPTY, ids=lambda entry: entry["id"])
def test_a_file_without_tensors_gives_none_or_is_refused_in_one_line(entry):
    try:
        found, said = list(steelyard.weights(CORPUS / "files" / entry["path"], part="all")), "one line"
    except SteelyardError as error:
        found, said = [], str(error)
    assert not found
    assert len(said.splitlines()) == 1


def test_the_table_of_formats_to_come_names_no_other():
    assert {entry["format"] for entry in json.loads((CORPUS / "public.json").read_text())["entries"]} >= NOT_YET
