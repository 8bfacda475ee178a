"""The option --effective of commands."""

import json

import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.dtypes import numpy_dtype

STORED = {"fc.weight_orig": np.array([[1, 2], [3, 4]], "f4"), "fc.weight_mask": np.array([[0, 1], [1, 0]], "f4")}


@pytest.fixture
def pruned(tmp_path):
    path = tmp_path / "pruned.safetensors"
    steelyard.save(STORED, path)
    return str(path)


def test_ls_lists_effective_weights_with_their_pieces(pruned, capsys):
    assert main(["ls", "--json", "--effective", pruned]) == 0
    (weight,) = json.loads(capsys.readouterr().out)["weights"]
    assert (weight["name"], weight["derivation"]["parts"]) == ("fc.weight", ["fc.weight_mask", "fc.weight_orig"][::-1])


def test_show_prints_what_an_effective_weight_is_made_of(pruned, capsys):
    assert main(["show", pruned, "fc.weight", "--effective"]) == 0
    printed = capsys.readouterr().out
    assert "made of    fc.weight_orig, fc.weight_mask" in printed
    assert "(pruning of PyTorch)" in printed


def test_convert_writes_the_numbers_that_the_net_computes_with(pruned, tmp_path):
    plain = tmp_path / "plain.npz"
    assert main(["convert", "--effective", pruned, str(plain)]) == 0
    assert steelyard.weights(plain)["fc.weight"].numpy().tolist() == [[0, 2], [3, 0]]
    assert main(["diff", "--effective", pruned, str(plain)]) == 0
    assert main(["diff", pruned, str(plain)]) == 1


def test_a_selection_is_made_of_effective_weights(pruned, capsys):
    assert main(["digest", "--effective", "--select", "fc.weight", pruned]) == 0
    assert "1 weight)" in capsys.readouterr().out


def test_convert_merges_an_adapter_into_its_base(tmp_path):
    base, lora, out = (str(tmp_path / f"{name}.safetensors") for name in ("base", "lora", "out"))
    steelyard.save({"fc.weight": np.zeros((2, 2), "f4")}, base)
    down, up = np.array([[1, 2]], "f4"), np.array([[1], [3]], "f4")
    steelyard.save({"lora_unet_fc.lora_down.weight": down, "lora_unet_fc.lora_up.weight": up}, lora)
    assert main(["convert", base, out, "--adapter", lora]) == 0
    assert steelyard.weights(out)["fc.weight"].numpy().tolist() == [[1, 2], [3, 6]]
    assert main(["convert", base, out, "--adapter", base]) == 2


def test_convert_folds_norms_only_where_it_is_known_what_feeds_them(tmp_path, capsys):
    path = str(tmp_path / "net.safetensors")
    steelyard.save({"bn.running_mean": np.zeros(2), "bn.running_var": np.ones(2), "fc.weight": np.ones((2, 3))}, path)
    assert main(["convert", path, str(tmp_path / "out.npz"), "--fold", "norms"]) == 2
    assert "which layers feed batch norms" in capsys.readouterr().err


def test_convert_writes_packed_weights_in_the_type_of_their_scales(tmp_path):
    packed, out = str(tmp_path / "packed.safetensors"), str(tmp_path / "out.safetensors")
    codes = np.array([[1.0, -2.0]], numpy_dtype("float8_e4m3fn"))
    steelyard.save({"fc.weight": codes, "fc.weight_scale": np.ones(1, "f2"), "fc.bias": np.ones(1, "f4")}, packed)
    assert main(["convert", packed, out, "--dtype", "scales"]) == 0
    assert {name: weight.dtype for name, weight in steelyard.weights(out).items()} == {
        "fc.bias": "float32",
        "fc.weight": "float16",
    }
