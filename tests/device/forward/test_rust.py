"""Forward passes in Rust have the bits of their twins in NumPy, and their tests notice one changed bit."""

import subprocess

import numpy as np
import pytest
import torch
from forwards import exported, word_of
from random_programs import PROGRAMS, chain, draw, recurrent
from toolchains import run, tool
from torch import nn

import steelyard
from steelyard.device.program.activations import Activation
from steelyard.device.program.linear import Dense
from steelyard.device.program.norms import GroupNorm, LayerNorm, Softmax
from steelyard.errors import ShapeError


def passed(folder, names, *options):
    """Compile the tests of several nets at once, without a warning, run them, and return what they print."""
    modules = "".join(f'#[path = "{name}_test.rs"]\nmod {name}_test;\n' for name in names)
    (folder / "main.rs").write_text(modules)
    run(tool("rustc"), "--test", "-D", "warnings", *options, "main.rs", "-o", "tests", cwd=folder)
    return run("./tests", cwd=folder).decode()


def test_every_operation_has_the_bits_of_the_twin_in_rust(tmp_path):
    for kind, (program, probe) in PROGRAMS.items():
        exported(program, probe, tmp_path / f"{word_of(kind)}.rs", name="net")
    assert f"{2 * len(PROGRAMS)} passed" in passed(tmp_path, map(word_of, PROGRAMS))


def test_sums_in_double_and_all_forms_of_tables_have_the_bits_of_the_twin(tmp_path):
    norms = [LayerNorm(None, None, 4, 1e-5, True), GroupNorm(draw(3), None, 3, 1e-5, 1), Softmax("softmax", 2)]
    program, probe = chain((3, 4), Dense(draw(4, 4), draw(4)), *norms, recurrent("gru", 4, 3, inner=True))
    exported(program, probe, tmp_path / "double.rs", accumulate="double", name="Double")
    for text in ("bits", "bin"):
        exported(program, probe, tmp_path / f"{text}.rs", text=text, align=16)
    assert "6 passed" in passed(tmp_path, ["double", "bits", "bin"], "-O")


def test_a_module_needs_no_std_and_no_unsafe(tmp_path):
    program, probe = chain((5, 3), recurrent("lstm", 3, 4), Activation("gelu", {}), Softmax("log_softmax", 2))
    exported(program, probe, tmp_path / "net.rs")
    (tmp_path / "lib.rs").write_text("#![no_std]\n#![forbid(unsafe_code)]\n#![deny(warnings)]\npub mod net;\n")
    run(tool("rustc"), "--crate-type", "rlib", "--emit", "metadata", "lib.rs", cwd=tmp_path)
    text = (tmp_path / "net.rs").read_text()
    assert "std::" not in text
    assert "extern" not in text


def test_the_test_of_a_net_fails_when_one_bit_of_a_weight_is_another(tmp_path):
    program, probe = chain((3,), Dense(np.array([[0.5, 1e-30, 2]], "float32"), None))
    exported(program, probe, tmp_path / "net.rs")
    changed = (tmp_path / "net.rs").read_text().replace(" 1e-30,", " 1.0000001e-30,")
    (tmp_path / "net.rs").write_text(changed)
    run(tool("rustc"), "--test", "net_test.rs", "-o", "tests", cwd=tmp_path)
    done = subprocess.run(["./tests"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 101
    assert "the_tables_have_their_bits ... FAILED" in done.stdout


def test_a_net_of_pytorch_is_written_in_rust_with_its_proof(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(15, 4), nn.Softmax(1)).eval()
    x = np.random.default_rng(0).standard_normal((6, 2, 5)).astype("float32")
    made = steelyard.export(net, tmp_path / "net.rs", forward=True, probe=x)
    assert [each.rpartition("/")[2] for each in made.files] == ["net.rs", "net_test.rs"]
    assert made.forward.proof.error < made.forward.proof.bound < 1e-4
    assert "sums in float32, own functions" in (tmp_path / "net.rs").read_text()
    with pytest.raises(ShapeError, match="our own functions compute in float32; leave out dtype"):
        steelyard.export(net, tmp_path / "wide.rs", forward=True, probe=x, dtype="float64")
    assert not (tmp_path / "wide.rs").exists()
