"""The commands that quantise and factorise a file, or show what that would cost."""

import json

import numpy as np
import pytest
from gguf import GGUFReader

import steelyard
from steelyard.cli import main

RNG = np.random.default_rng(0)
PLAIN = {
    "fc.weight": RNG.normal(size=(32, 64)).astype("float32"),
    "fc.bias": np.zeros(32, "float32"),
    "out.weight": RNG.normal(size=(4, 30)).astype("float32"),
    "out.bias": np.zeros(4, "float32"),
}


@pytest.fixture
def file(tmp_path):
    steelyard.save(PLAIN, tmp_path / "net.safetensors")
    return str(tmp_path / "net.safetensors")


def said(capsys, *args, status=0):
    assert main([str(arg) for arg in args]) == status
    captured = capsys.readouterr()
    return captured.err if status else captured.out


def test_a_file_is_written_quantised_with_what_is_left(file, tmp_path, capsys):
    printed = said(capsys, "quantize", file, "--to", "int4", "--group", "32", "-o", tmp_path / "q.safetensors").splitlines()
    assert "q.safetensors: 6 weights" in printed[0]
    assert printed[1] == "1 weight is int4, scale absmax / 7, codes -7 to 7"
    assert printed[2] == "left as they are, groups of 32 do not divide its 30 inputs: out.weight"
    made = steelyard.quantize(PLAIN, "int4", group=32).effective()
    again = steelyard.weights(tmp_path / "q.safetensors").effective()
    assert all(np.array_equal(again[name].numpy(), made[name].numpy()) for name in PLAIN)


def test_a_folder_gets_the_config_and_a_bare_file_a_note(file, tmp_path, capsys):
    args = ("quantize", file, "--to", "int8", "--like", "compressed-tensors")
    assert "note: transformers loads a folder whose config.json" in said(capsys, *args, "-o", tmp_path / "q.safetensors")
    assert "note" not in said(capsys, *args, "-o", f"{tmp_path}/q/")
    assert json.loads((tmp_path / "q" / "config.json").read_text())["quantization_config"]["format"] == "pack-quantized"


def test_types_of_gguf_go_into_a_gguf_file(file, tmp_path, capsys):
    error = said(capsys, "quantize", file, "--to", "q8_0", "-o", tmp_path / "q.safetensors", status=2)
    assert "q8_0 like gguf is written into a file that ends in .gguf" in error
    record = json.loads(said(capsys, "quantize", file, "--to", "q8_0", "-o", tmp_path / "q.gguf", "--json"))
    assert record["quantized"]["left"] == {"out.weight": "its rows of 30 are not whole blocks of 32"}
    assert [tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "q.gguf").tensors] == ["Q8_0", "F32", "F32", "F32"]


def test_a_dry_run_names_options_too_where_a_kind_is_refused(tmp_path, capsys):
    steelyard.save({"l.0.w": np.ones((8, 8), "f4")}, tmp_path / "net.npz")
    printed = said(capsys, "quantize", tmp_path / "net.npz", "--to", "int8", "--dry-run")
    assert "not known; pass --axis=0 for PyTorch's order" in printed


def test_a_dry_run_shows_each_kind_and_writes_nothing(file, tmp_path, capsys):
    before = sorted(tmp_path.iterdir())
    printed = said(capsys, "quantize", file, "--to", "int8", "--to", "int4", "--dry-run")
    assert printed == f"{steelyard.what_if(file, ['int8', 'int4'])}\n"
    record = json.loads(said(capsys, "quantize", file, "--to", "int8", "--dry-run", "--json"))
    assert [each["name"] for each in record["choices"][0]["weights"]] == ["fc.weight", "out.weight"]
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_may_be_quantised_in_place(file, capsys):
    said(capsys, "quantize", file, "--to", "nf4", "-o", file)
    assert "fc.weight.absmax" in steelyard.weights(file)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--to", "q4_k", "-o", "x.gguf"], "q4_k is not written"),
        (["--to", "int8"], "-o OUT is missing; pass one --to and -o, or --dry-run"),
        (["--to", "int8", "--to", "int4", "-o", "x.npz"], "a file holds one kind of numbers"),
        (["--to", "int8", "--like", "onnx", "-o", "x.onnx"], "read from an .onnx file"),
        (["--to", "int8", "--axis", "kh", "-o", "x.npz"], "none is 'kh'"),
    ],
)
def test_bad_arguments_are_one_line(file, capsys, args, message):
    error = said(capsys, "quantize", file, *args, status=2)
    assert message in error
    assert error.count("\n") == 1


def test_layers_are_factorised_with_a_table_of_sizes(file, tmp_path, capsys):
    printed = said(capsys, "factorize", file, "--rank", "8", "-o", tmp_path / "thin.npz").splitlines()
    assert printed[0].split("  ")[0] == "weight"
    assert printed[1].split()[:6] == ["fc.weight", "32\u00d764", "8", "2,048", "768", "37.5"]
    assert printed[-1].startswith(
        "left as they are, rank 4 takes 136 numbers, and the matrix 120; it saves up to rank 3: out.weight"
    )
    assert steelyard.weights(tmp_path / "thin.npz")["fc.0.weight"].shape == (8, 64)
    record = json.loads(said(capsys, "factorize", file, "--energy", "0.5", "--dry-run", "--json"))
    assert 0.5 <= record["weights"][0]["energy"] < 0.6
    assert "-o OUT is missing" in said(capsys, "factorize", file, "--rank", "2", status=2)
