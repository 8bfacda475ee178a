"""Real weight files from other projects: every tensor's name, type, shape and numbers as the manifest has them."""

import hashlib

import carried
import numpy as np
import pytest

import steelyard
from steelyard.errors import SteelyardError

ENTRIES = carried.real()["entries"]

READ = [entry for entry in ENTRIES if entry["n_tensors"]]
EMPTY = [entry for entry in ENTRIES if not entry["n_tensors"]]


def fact(weight):
    array = np.ascontiguousarray(weight.numpy())
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return weight.dtype, list(weight.shape), hashlib.sha256(little.tobytes()).hexdigest()


MORE = {
    "qlknn-flax": {  # in its config, which is a message in plain bytes
        *(f"config/stats_data/input_{name}" for name in ("max", "min", "mean", "stddev")),
        *("config/stats_data/target_mean", "config/stats_data/target_stddev"),
        *("config/network_config/hidden_size", "config/network_config/num_hiddens"),
        *("config/normalize_inputs", "config/normalize_targets"),
    },
    "burn-tar-weight-bias": {"weight", "bias"},  # of which PyTorch cannot read the keys of the storages, and Burn can
    # the step is in the file itself, and the others are listed and refused, since no .zarray describes them
    "t5x-tiny-incomplete": {"state/step", *(f"state/param_states/{name}" for name in ("bias", "kernel", "step"))},
    "silero-jit": {"_state", "_context", "constants.0"},
}
"""Tensors that a file holds beyond those of the manifest, which here is of a state_dict."""

WORDS = {"f32": "float32"}  # the word of one reader for a GGUF file
NAMELESS = ("onnx-light-resnet50", "ConstantOfShape.value", 239)
"""A file, the one name that the manifest has for all its constants without a name, and how many these are."""
PACKED = "face_detection_full_range_sparse.tflite"
"""The manifest has the sums of its compressed buffers; what is read is dense, and tested beside the format."""


@pytest.mark.parametrize("entry", carried.parameters(READ))
def test_every_tensor_of_a_real_file_is_as_the_manifest_says(entry):
    weights = steelyard.weights(carried.path_of(entry), scope="all")
    tensors = [t for t in entry["tensors"] if t["dtype"] != "string"]
    expected = {t["name"]: (WORDS.get(t["dtype"], t["dtype"]), t["shape"], t["sha256"]) for t in tensors}
    found = {weight.name: fact(weight) for weight in weights.values() if weight.dtype != "object"}
    wrong = {name for name, known in expected.items() if found.get(name) != known}
    more = found.keys() - expected.keys()
    if entry["path"].endswith(PACKED):
        assert wrong == {name for name, weight in weights.items() if weight.encoding.endswith("sparse")}
        wrong = {name for name in wrong if found[name][:2] != expected[name][:2]}
    if entry["id"] == NAMELESS[0]:
        constants = {name for name in more if name.endswith(".value")}
        assert wrong == {NAMELESS[1]}
        assert len(constants) == NAMELESS[2]
        assert expected[NAMELESS[1]] in [found[name] for name in constants]
        wrong, more = set(), more - constants
    assert not wrong
    assert more == MORE.get(entry["id"], set())


@pytest.mark.parametrize("entry", carried.parameters(EMPTY))
def test_a_file_without_tensors_gives_none_or_is_refused_in_one_line(entry):
    try:
        found, said = list(steelyard.weights(carried.path_of(entry), scope="all")), "one line"
    except SteelyardError as error:
        found, said = [], str(error)
    assert set(found) == MORE.get(entry["id"], set())
    assert len(said.splitlines()) == 1


BY_ID = {entry["id"]: entry for entry in READ}
PAIRS = [
    pytest.param(pair, id=f"{pair['a']} and {pair['b']}", marks=carried.marks(BY_ID[pair["a"]], BY_ID[pair["b"]]))
    for pair in carried.real()["pairs"]
    if {pair["a"], pair["b"]} <= set(BY_ID)
]


@pytest.mark.parametrize("pair", PAIRS)
def test_one_net_in_two_formats_has_the_same_numbers_in_both(pair):
    one, other = (steelyard.weights(carried.path_of(BY_ID[pair[side]]), scope="all") for side in "ab")
    for name, shape, other_name, other_shape in pair["matches"]:
        assert (list(one[name].shape), list(other[other_name].shape)) == (shape, other_shape)
        numbers, other_numbers = one[name].numpy().ravel(), other[other_name].numpy().ravel()
        assert np.array_equal(np.sort(numbers), np.sort(other_numbers))  # axes and gates are in other orders


GOLDEN = carried.folder("golden")
CASES = carried.golden_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_golden_net_of_torch_has_its_names_and_its_canonical_numbers_in_both_files(case):
    for file in case["files"]["torch"]:
        weights = steelyard.weights(GOLDEN / file)
        assert {name: list(weight.shape) for name, weight in weights.items()} == case["tensors"]["torch"]
        with np.load(GOLDEN / case["canonical"]) as canonical:
            for name, known in case.get("roles", {}).get("torch", {}).items():
                parts = [canonical[f"{known['layer']}:{role}"].ravel() for role in known["roles"]]
                if parts and sum(map(len, parts)) == weights[name].size:
                    assert np.allclose(
                        np.sort(weights[name].numpy().ravel()), np.sort(np.concatenate(parts)), rtol=1e-6, atol=1e-7
                    )
