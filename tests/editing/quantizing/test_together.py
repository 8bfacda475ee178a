"""Many small kernels of one shape are quantised together, to the codes and scales of each by itself."""

import numpy as np
import pytest

import steelyard
from steelyard.core.readers import raw_chunks
from steelyard.core.together import bytes_together, likeness
from steelyard.errors import LossyError, NonFiniteWarning

CASES = {
    "int8": {},
    "int8 affine": {"scheme": "affine", "axis": 1},
    "int8 of whole weights": {"axis": None},
    "int4": {"group": 4},
    "int4 affine": {"group": 4, "scheme": "affine", "like": "compressed-tensors"},
    "int4 of whole weights": {"axis": None, "like": "compressed-tensors"},
    "int8 ": {"like": "torchao"},
    "float8_e4m3fn": {"like": "torchao"},
    "float8_e4m3fn ": {"like": "compressed-tensors", "axis": None},
    "mxfp4": {"like": "compressed-tensors"},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    made = tmp_path_factory.mktemp("nets") / "net.safetensors"
    chance = np.random.default_rng(0)
    numbers = {f"layers.{nth}.weight": chance.normal(size=(6, 32)).astype("f4") for nth in range(20)}
    numbers["layers.3.weight"][2] = 0
    steelyard.save(numbers, made)
    return made


@pytest.mark.parametrize("case", CASES)
def test_codes_and_scales_are_the_same_bytes(path, case):
    listed = [*steelyard.quantize(steelyard.weights(path), case.split()[0], **CASES[case]).values()]
    alone = [b"".join(map(bytes, raw_chunks(weight))) for weight in listed]
    assert [bytes(held) for held in bytes_together(listed)] == alone


def test_only_kernels_whose_cells_are_measured_alike_are_read_together(path):
    keys = {}
    for how in ("max", "mse"):
        made = steelyard.quantize(steelyard.weights(path), "int8", calibrate=how)
        keys[how] = {likeness(weight.read) for name, weight in made.items() if name.endswith(".codes")}
    assert len(keys["max"]) == 1
    assert keys["mse"] == {None}


def test_a_kernel_with_nan_is_named(tmp_path):
    numbers = {f"layers.{nth}.weight": np.ones((4, 2), "f4") for nth in range(20)}
    numbers["layers.7.weight"][1, 1] = np.nan
    with pytest.warns(NonFiniteWarning):
        steelyard.save(numbers, tmp_path / "net.safetensors")
    made = steelyard.quantize(tmp_path / "net.safetensors", "int8")
    with pytest.raises(LossyError, match=r"layers\.7\.weight holds NaN"):
        steelyard.save(made, tmp_path / "made.safetensors")
