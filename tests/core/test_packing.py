"""Listings show how many numbers of the net the packed weights of quantisers hold, where the file proves it."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import steelyard
from steelyard.cli import main
from steelyard.core.packing import COMPARED
from steelyard.core.weight import Role

IN, OUT, GROUP = 96, 64, 32
ZEROS = {2: 0x55555555, 3: 0, 4: 0x77777777, 8: 0x7F7F7F7F}
"""Words of the zero points of symmetric layers; those of 3 bits are left out."""


def gptq(bits):
    return {
        "qweight": np.zeros((IN * bits // 32, OUT), "i4"), "qzeros": np.full((IN // GROUP, OUT * bits // 32), ZEROS[bits], "u4").view("i4"),
        "scales": np.ones((IN // GROUP, OUT), "f2"), "g_idx": np.zeros(IN, "i4"),
    }  # fmt: skip


def awq(bits=4):
    leaves = {leaf: array for leaf, array in gptq(bits).items() if leaf != "g_idx"}
    return {**leaves, "qweight": np.zeros((IN, OUT * bits // 32), "i4")}


def bitsandbytes(word="nf4"):
    state = json.dumps({"quant_type": word, "blocksize": 64, "dtype": "float16", "shape": [OUT, IN]}).encode()
    return {
        "weight": np.zeros((OUT * IN // 2, 1), "u1"), "weight.absmax": np.ones(OUT * IN // 64, "f4"),
        "weight.quant_map": np.ones(16, "f4"), f"weight.quant_state.bitsandbytes__{word}": np.frombuffer(state, "u1"),
    }  # fmt: skip


def mlx():
    return {"weight": np.zeros((OUT, IN // 8), "u4"), "scales": np.ones((OUT, 3), "f2"), "biases": np.ones((OUT, 3), "f2")}


def written(folder, **layers):
    path = folder / "net.safetensors"
    save_file({f"{layer}.{leaf}": array for layer, leaves in layers.items() for leaf, array in leaves.items()}, path)
    return path


@pytest.mark.parametrize(
    ("leaves", "scheme", "stored"),
    [*((gptq(bits), f"GPTQ {bits} bits", IN * OUT * bits // 32) for bits in (2, 3, 4, 8)), (awq(), "AWQ gemm", IN * OUT // 8),
     (bitsandbytes(), "bitsandbytes nf4", IN * OUT // 2), (bitsandbytes("fp4"), "bitsandbytes fp4", IN * OUT // 2)],
    ids=["GPTQ 2", "GPTQ 3", "GPTQ 4", "GPTQ 8", "AWQ", "NF4", "FP4"],
)  # fmt: skip
def test_a_packed_layer_shows_its_scheme_and_both_counts(leaves, scheme, stored, tmp_path, capsys):
    path = written(tmp_path, fc=leaves)
    assert main(["ls", str(path)]) == 0
    note = f"1 weight is packed by {scheme}: {IN * OUT:,} numbers of the net, stored as {stored:,}"
    assert note in capsys.readouterr().out
    main(["check", str(path)])
    assert note in capsys.readouterr().out
    assert {w.role for name, w in steelyard.weights(path).items()} <= {Role.OTHER, Role.SCALE}


def test_layers_are_summed_by_scheme_and_json_has_the_same_sentences(tmp_path, capsys):
    path = written(tmp_path, a=gptq(4), b=awq(), c=mlx(), d=gptq(4))
    assert main(["ls", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [
        f"1 weight is packed by AWQ gemm: {IN * OUT:,} numbers of the net, stored as {IN * OUT // 8:,}",
        f"2 weights are packed by GPTQ 4 bits: {2 * IN * OUT:,} numbers of the net, stored as {2 * IN * OUT // 8:,}",
        f"1 weight is packed by MLX, stored as {IN * OUT // 8:,} numbers; the file does not show how many they are in the net",
    ]


def damaged():
    yield {**gptq(4), "scales": np.ones((2, OUT), "f2")}  # another number of groups
    yield {**gptq(4), "qzeros": np.zeros((3, OUT), "i4")}  # 32 bits
    yield {**gptq(4), "qweight": np.zeros((12, OUT - 1), "i4")}
    yield {leaf: array for leaf, array in gptq(4).items() if leaf != "qzeros"}
    yield {**bitsandbytes(), "weight.quant_state.bitsandbytes__nf4": np.zeros(9, "u1")}


@pytest.mark.parametrize("leaves", list(damaged()), ids=["groups", "zeros", "columns", "no zeros", "state"])
def test_what_the_shapes_do_not_prove_is_not_said(leaves, tmp_path):
    (note,) = steelyard.weights(written(tmp_path, fc=leaves)).meta["notes"]
    assert note.endswith("the file does not show how many they are in the net")


def test_scales_of_other_layers_are_not_packed(tmp_path):
    path = written(tmp_path, fc={"weight": np.ones((3, 4), "f4"), "scales": np.ones(3, "f4")})
    assert "notes" not in steelyard.weights(path).meta


def test_the_config_beside_a_file_counts_its_numbers(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"quantization": {"group_size": 32, "bits": 4}}))
    (note,) = steelyard.weights(written(tmp_path, c=mlx())).meta["notes"]
    assert note == f"1 weight is packed by MLX affine 4 bits: {IN * OUT:,} numbers of the net, stored as {IN * OUT // 8:,}"


def test_a_listing_does_not_read_the_numbers_of_a_layer(tmp_path):
    leaves = {**gptq(4), "g_idx": np.full(IN, 99, "i4")}
    w = steelyard.weights(written(tmp_path, fc=leaves))
    assert w.meta["notes"][0].startswith("1 weight is packed by GPTQ 4 bits")
    assert "g_idx names groups" in w.effective()["fc.weight"].unreadable


def test_health_does_not_judge_codes(tmp_path):
    codes = np.full((64, 64), 127, "i1")
    path = written(tmp_path, fc={"weight": codes, "SCB": np.ones(64, "f4")}, plain={"weight": codes})
    found = steelyard.check(path, health=True).findings
    assert {finding.name for finding in found} == {"plain.weight"}


def test_a_difference_of_packed_files_says_that_codes_are_compared(tmp_path):
    path = written(tmp_path, fc=gptq(4))
    assert steelyard.diff(path, path).notes == [COMPARED]
    assert "--effective" in COMPARED
    plain = {"fc.weight": np.ones((2, 3), "f4")}
    assert steelyard.diff(plain, plain).notes == []


def test_float8_without_scales_is_listed_and_judged_as_it_is_stored(tmp_path):
    path = written(tmp_path, fc={"weight": np.full((8, 8), 448, ml_dtypes.float8_e4m3fn)})
    assert "notes" not in steelyard.weights(path).meta
    assert steelyard.check(path, health=True).findings
    assert "its scale is missing" in steelyard.effective(path)["fc.weight"].unreadable
