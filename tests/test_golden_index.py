"""Every golden case of effective weights is compared by a test, or refused with its reason by one; no case is left out."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest

import steelyard
from tests import carried
from tests.adapters.test_golden import cases as of_adapters
from tests.frameworks.torch.test_adapters import LIVE
from tests.schemes.test_golden import cases as of_whole_files

GIVES = {
    "flax-linen-norms": ("model.msgpack", "each call runs more power iterations"),
    "fp8-block-deepseek-ragged": ("model.safetensors", "no config says the size of its blocks"),
    "keras-gptq-4bit": ("model.weights.h5", "has no kernel_zero"),
    "loralib": ("train_state.pt", "neither its scale, nor whether it is merged"),
    "peft-lora-several-default": ("live_state.pt", "neither its scale, nor which adapters are active"),
    "peft-lora-several-second": ("live_state.pt", "neither its scale, nor which adapters are active"),
    "torch-orthogonal-state": ("state.pt", "does not say which of its three maps it uses"),
    "torch-parametrize-custom-state": ("state.pt", "does not name its function"),
    "torch-spectral-norm-new-1d": ("state.pt", "does not name its function"),
    "torchao-0.12-int4-cpu-layout-b": ("state.pt", "in the order of a kernel"),
}
"""Cases of which a file lists weights as unreadable, and why."""
RAISES = {
    "equinox-weight-norm": ("model.eqx", "a run of arrays without names"),
    "peft-lora-pissa": ("adapter", "an adapter without its base"),
}
"""Cases of which a file alone lists nothing, and why."""


def index():
    return json.loads((carried.folder("effective") / "index.json").read_text())


def test_every_golden_case_is_in_one_list_of_the_tests():
    refused = {*GIVES, *RAISES}
    listed = {
        "whole files": {case.values[0]["id"] for case in of_whole_files()},
        "adapters": {case.values[0]["id"] for case in of_adapters()} - refused,  # whose states alone are refused
        "live nets": {case for case, _ in LIVE} - refused,
        "refused": refused,
    }
    counts = Counter(name for names in listed.values() for name in names)
    assert counts == Counter(entry["id"] for entry in index())
    assert len(counts) == 153
    assert refused == {entry["id"] for entry in index() if entry["must_refuse"]}


@pytest.mark.parametrize(("case", "file", "reason"), [(case, *known) for case, known in GIVES.items()])
def test_a_file_that_does_not_prove_its_weights_lists_them_as_unreadable(case, file, reason, tmp_path):
    alone = shutil.copy(carried.folder("effective") / case / file, tmp_path)
    assert reason in next(iter(steelyard.effective(alone).unreadable.values()))


@pytest.mark.parametrize(("case", "file", "reason"), [(case, *known) for case, known in RAISES.items()])
def test_a_file_without_what_its_numbers_belong_to_is_refused(case, file, reason):
    with pytest.raises(steelyard.errors.SteelyardError, match=reason):
        steelyard.effective(carried.folder("effective") / case / file)


@pytest.mark.parametrize("merged", [steelyard.merge_adapter, steelyard.effective])
def test_pissa_is_merged_with_the_residual_of_its_base_alone(merged):
    folder = carried.folder("effective") / "peft-lora-pissa"
    with pytest.raises(steelyard.errors.ShapeError, match="initialised by pissa"):
        merged(folder / "base.safetensors", folder / "adapter")
    base = steelyard.weights(folder / "base.safetensors")
    change = merged(base, folder / "adapter", base_is_residual=True)["q_proj.weight"].numpy() - base["q_proj.weight"].numpy()
    with np.load(folder / "effective.npz") as expected:
        residual = {name: expected[name] - (change if name == "q_proj.weight" else 0) for name in expected}
        found = merged(residual, folder / "adapter", base_is_residual=True)
        assert {*found} == {*expected}
        for name in expected:
            assert np.abs(found[name].numpy() - expected[name]).max() <= 2e-6 * max(np.abs(expected[name]).max(), 1e-30), name
