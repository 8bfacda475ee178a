"""Quantised weights are byte for byte those of the library whose layout they have: its own outputs, kept in `shared`."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from carried import SHARED

import steelyard
from steelyard.editing.factorizing import factors, ranks

GOLDEN = SHARED / "editing" / "golden"
CASES = sorted(path for kind in ("ct_*", "ao_*", "bnb_*", "gguf_*") for path in GOLDEN.glob(kind))
CASES = [path for path in CASES if path.name not in ("gguf_f16", "gguf_bf16")]  # casts, which `astype` does
FACTORS = sorted((*GOLDEN.glob("lora_*"), *GOLDEN.glob("svd_*")))
pytestmark = pytest.mark.shared


def case(path: Path):
    return json.loads((path / "meta.json").read_text()), np.load(path / "inputs.npz"), np.load(path / "expected.npz")


def options(name, meta):
    """Return the arguments with which `quantize` makes what the library made."""
    if name.startswith("gguf"):
        return meta["qtype"].lower(), {"like": "gguf"}
    if name.startswith("bnb"):
        return meta.get("quant_type", "int8"), {"like": "bitsandbytes", "double_quant": meta.get("double", False)}
    if name.startswith("ao"):
        return "float8_e4m3fn" if "Float8" in meta["config"] else "int8", {"like": "torchao"}
    said = meta["config"]["config_groups"]["group_0"]["weights"]
    kind = f"int{said['num_bits']}" if said["type"] == "int" else "float8_e4m3fn" if said["num_bits"] == 8 else "mxfp4"
    cells = {"group": said["group_size"] if kind != "mxfp4" else None, "axis": None if said["strategy"] == "tensor" else "out"}
    return kind, {"like": "compressed-tensors", "scheme": "symmetric" if said["symmetric"] else "affine", **cells}


def stored(name, key):
    """Return the name of the weight that has what the library calls `key`."""
    if name.startswith("gguf"):
        return "fc.weight"
    if name.startswith("bnb"):
        return {"q": "fc.weight", "CB": "fc.weight", "SCB": "fc.SCB"}.get(key, f"fc.weight.{key}")
    return f"fc._weight_{key}" if name.startswith("ao") else key


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_codes_and_scales_are_those_of_the_library(path):
    meta, inputs, expected = case(path)
    kind, given = options(path.name, meta)
    plain = {"fc.weight": inputs["w"]} if "w" in inputs else dict(inputs)
    made = steelyard.quantize(plain, kind, **given)
    zero = ~plain["fc.weight"].any(axis=1)  # torchao's scale of a row of zeros is 0, and the row NaN; here it stays 0
    for key in expected:
        if key not in ("dequantized", "code"):
            ours, theirs = made[stored(path.name, key)].numpy(), expected[key]
            ours, theirs = (each[~zero] if path.name.startswith("ao") else each for each in (ours, theirs))
            assert np.array_equal(ours.view(np.uint8), theirs.view(np.uint8)), key
    numbers = made.effective()["fc.weight"].numpy()
    assert np.isfinite(numbers.astype(np.float32)).all()
    assert not numbers[zero].any()
    np.testing.assert_allclose(numbers[~zero].astype(np.float32), expected["dequantized"][~zero], rtol=1e-6)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("gguf_*f16")), ids=lambda path: path.name)
def test_16_bit_floats_of_gguf_are_those_that_a_cast_gives(path):
    _, inputs, expected = case(path)
    dtype = np.float16 if path.name == "gguf_f16" else ml_dtypes.bfloat16
    cast = steelyard.weights({"w": inputs["w"]}).astype(np.dtype(dtype).name)["w"].numpy()
    assert np.array_equal(cast.view(np.uint8), expected["bytes"].view(np.uint8).reshape(cast.shape[0], -1))


@pytest.mark.parametrize("path", FACTORS, ids=lambda path: path.name)
def test_products_of_factors_are_those_of_the_peer(path):
    meta, inputs, expected = case(path)
    matrix = inputs["w"] if "w" in inputs else inputs["finetuned"] - inputs["base"]
    rank = meta["rank"] if "rank" in meta else expected["lora_A"].shape[0]
    left, right = factors(matrix.astype(np.float64), rank)
    assert np.abs(left @ right - expected["product"]).max() <= 1e-6 * np.abs(expected["product"]).max()
    wanted = {"energy": meta["energy"]} if "energy" in meta else {"rank": meta["max_rank"], "cut": meta.get("sv_epsilon", 0)}
    found, kept = ranks(steelyard.weights({"fc.weight": matrix}), **wanted)
    assert (found["fc.weight"].rank == rank) if found else ("it saves up to" in kept["fc.weight"])
