"""Listings show how many numbers of the net the packed weights of quantisers hold, where the file proves it."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import steelyard
from steelyard.cli import main
from steelyard.core.weight import Role

IN, OUT, GROUP = 96, 64, 32


def gptq(bits):
    return {
        "qweight": np.zeros((IN * bits // 32, OUT), "i4"), "qzeros": np.zeros((IN // GROUP, OUT * bits // 32), "i4"),
        "scales": np.ones((IN // GROUP, OUT), "f2"), "g_idx": np.zeros(IN, "i4"),
    }  # fmt: skip


def awq(bits=4):
    return {**gptq(bits), "qweight": np.zeros((IN, OUT * bits // 32), "i4")}


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
    ("leaves", "stored"),
    [*((gptq(bits), IN * OUT * bits // 32) for bits in (2, 3, 4, 8)), (awq(), IN * OUT // 8), (bitsandbytes(), IN * OUT // 2),
     (bitsandbytes("fp4"), IN * OUT // 2)],
    ids=["GPTQ 2", "GPTQ 3", "GPTQ 4", "GPTQ 8", "AWQ", "NF4", "FP4"],
)  # fmt: skip
def test_a_packed_layer_shows_its_logical_and_its_stored_count(leaves, stored, tmp_path, capsys):
    path = written(tmp_path, fc=leaves)
    assert main(["ls", str(path)]) == 0
    assert f"1 weight is packed: {IN * OUT:,} numbers of the net, stored as {stored:,}" in capsys.readouterr().out
    assert {w.role for name, w in steelyard.weights(path).items()} <= {Role.OTHER, Role.SCALE}


def test_layers_are_summed_and_json_has_the_same_sentence(tmp_path, capsys):
    path = written(tmp_path, a=gptq(4), b=awq(), c=mlx())
    assert main(["ls", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [
        f"2 weights are packed: {2 * IN * OUT:,} numbers of the net, stored as {2 * IN * OUT // 8:,}",
        f"1 weight is packed, stored as {IN * OUT // 8:,} numbers; the file does not show how many they are in the net",
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
