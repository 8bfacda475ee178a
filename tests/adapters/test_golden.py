"""Golden cases of adapters: small files that PEFT, LyCORIS and kohya's scripts wrote, with the numbers of the net with them."""

import json

import numpy as np
import pytest

import steelyard
from tests import carried

KINDS = ("peft-", "lycoris-", "kohya-")


def cases():
    """Yield every adapter of a file, with its base."""
    for entry in json.loads((carried.folder("effective") / "index.json").read_text()):
        is_file = any(
            name.endswith((".safetensors", "adapter_config.json")) for name in entry["files"] if name != "base.safetensors"
        )
        if entry["id"].startswith(KINDS) and is_file and entry["id"] != "peft-lora-pissa":
            yield pytest.param(entry, id=entry["id"])


def adapter_of(case):
    """Return the folder or the file of a case's adapter."""
    folder = carried.folder("effective") / case["id"]
    if case["id"].startswith("peft-"):
        return folder / "adapter" / "second" if case["id"].endswith("second") else folder / "adapter"
    return folder / ("lora.safetensors" if case["id"].startswith("kohya") else "lycoris.safetensors")


@pytest.mark.parametrize("case", [*cases()])
def test_merged_weights_are_those_of_the_library(case):
    folder = carried.folder("effective") / case["id"]
    found = steelyard.merge_adapter(folder / "base.safetensors", adapter_of(case))
    with np.load(folder / "effective.npz") as expected:
        assert {*expected} == {*found}
        for key in expected:
            known, weight = expected[key].astype(np.float64), found[key]
            got = weight.numpy().astype(np.float64)
            assert got.shape == known.shape
            assert np.abs(got - known).max() <= case["tolerance"] * max(np.abs(known).max(), 1e-30), key
            pieces = [weight.read(at, min(at + 7, known.size)) for at in range(0, known.size, 7)]
            assert np.concatenate(pieces).tobytes() == weight.numpy().tobytes()  # the same in any blocks
