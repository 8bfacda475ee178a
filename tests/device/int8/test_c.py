"""Forward passes in integers, compiled from C: the codes of the twin in NumPy, all of them equal."""

import subprocess

import numpy as np
import pytest
import torch
from integer_nets import NETS, build
from machines import MACHINES, built, emulated
from toolchains import STRICT, run, tool
from torch import nn

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError, ShapeError


class Shapes(nn.Module):
    """Other shapes, orders and selections, and inputs of whole numbers."""

    def __init__(self):
        super().__init__()
        self.table, self.conv, self.head = nn.Embedding(9, 4), nn.Conv1d(4, 6, 3), nn.Linear(4, 3)

    def forward(self, x):
        made = self.conv(self.table(x).permute(0, 2, 1))
        made = torch.cat([made[:, 1:5:2, ::2], torch.maximum(made, made * -0.5)[:, :2, 1:4]], dim=1)
        return self.head(nn.functional.pad(made, (1, 2)).transpose(1, 2).softmax(1))[:, 1]


def net_of(name):
    if name != "shapes":
        return build(name)
    torch.manual_seed(0)
    return Shapes().eval(), np.random.default_rng(0).integers(0, 9, (20, 7))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("int8")


@pytest.mark.parametrize("name", [*NETS, "shapes"])
def test_compiled_codes_are_those_of_the_twin(name, folder):
    net, x = net_of(name)
    stem = f"n{[*NETS, 'shapes'].index(name)}"
    for compiler, rounding, dtype in (("gcc", "single", "int8"), ("clang", "double", "int8"), ("gcc", "double", "int4")):
        made = steelyard.export(net, folder / f"{stem}.c", forward=True, probe=x, dtype=dtype, rounding=rounding)
        run(tool(compiler), "-std=c99", "-O1", *STRICT, f"{stem}.c", f"{stem}_test.c", "-o", stem, cwd=folder)
        assert b"0 codes differ" in run(f"./{stem}", cwd=folder)
        assert made.forward.program.rounding == rounding


def test_one_changed_weight_fails_the_test_and_there_are_no_floats(folder):
    net, x = build("dense")
    steelyard.export(net, folder / "net.c", forward=True, probe=x, dtype="int8", rounding="single")
    text = (folder / "net.c").read_text()
    assert "float" not in text.partition("*/")[2]
    assert "double" not in text.partition("*/")[2]
    start = text.index("{", text.index("net_0_kernel["))
    first = text[start + 1 :].split(",")[0].strip()
    (folder / "net.c").write_text(text[: start + 1] + text[start + 1 :].replace(first, str(int(first) ^ 1), 1))
    run(tool("gcc"), "-std=c99", "net.c", "net_test.c", "-o", "broken", cwd=folder)
    done = subprocess.run([folder / "broken"], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"net_0_kernel are not those that were exported" in done.stdout


def test_the_header_states_scales_and_what_is_printed_states_the_error_of_each_layer(folder):
    net, x = build("dense")
    made = steelyard.export(net, folder / "net.c", forward=True, probe=x, dtype="int8", rounding="single", calibrate="mse")
    header = (folder / "net.h").read_text()
    known = made.forward.program.input_quantizations[0]
    assert f"#define NET_IN_SCALE {known.scale:.9g}f" in header
    assert f"#define NET_IN_ZERO ({known.zero_point})" in header
    assert "single rounding" in header
    assert str(made).count(" dB, at most ") == 2
    assert "the greatest output is that of the float net for" in str(made)


def test_kernels_of_four_bits_take_half_of_the_bytes(folder):
    net, x = build("dense")
    eight, four = (
        steelyard.export(net, folder / "net.c", forward=True, probe=x, dtype=dtype, rounding="single")
        for dtype in ("int8", "int4")
    )
    sizes = [{table.weight.name: table.nbytes for table in made.tables} for made in (eight, four)]
    assert sizes[0]["0.kernel"] == 2 * sizes[1]["0.kernel"] == 96


def test_what_has_no_meaning_in_integers_is_refused(folder):
    net, x = build("dense")
    known = {"forward": True, "dtype": "int8"}
    with pytest.raises(ShapeError, match='rounding="single" or rounding="double"'):
        steelyard.export(net, folder / "a.c", probe=x, **known)
    with pytest.raises(ShapeError, match="pass some as probe="):
        steelyard.export(net, folder / "a.c", rounding="single", **known)
    with pytest.raises(FormatError):
        steelyard.export(net, folder / "a.rs", probe=x, rounding="single", **known)
    assert not [*folder.glob("a.*")]


@pytest.mark.parametrize("machine", MACHINES)
def test_microcontrollers_compute_the_codes_of_the_twin(machine, folder):
    net, x = build("merged")
    steelyard.export(net, folder / "m.c", forward=True, probe=x, dtype="int8", rounding="double")
    status, text = emulated(machine, built(machine, ["m.c", "m_test.c"], folder))
    assert (status, "0 codes differ" in text) == (0, True), text


def test_the_code_is_cpp_too_and_does_nothing_that_c_leaves_undefined(folder):
    net, x = build("merged")
    for rounding in ("single", "double"):
        steelyard.export(net, folder / "u.c", forward=True, probe=x, dtype="int8", rounding=rounding)
        run(tool("g++"), "-x", "c++", "-std=c++11", *STRICT, "-c", "u.c", cwd=folder)
        run(tool("gcc"), "-std=c99", "-fsanitize=undefined,address", "u.c", "u_test.c", "-o", "u", cwd=folder)
        assert b"0 codes differ" in run("./u", cwd=folder)


def test_the_command_writes_what_the_function_writes(folder, tmp_path):
    net, x = build("dense")
    torch.save(net, tmp_path / "net.pt")
    np.save(tmp_path / "x.npy", x)
    options = ["--forward", "--probe", str(tmp_path / "x.npy"), "--dtype", "int8", "--rounding", "double", "--calibrate", "mse"]
    assert main(["export", str(tmp_path / "net.pt"), "-o", str(tmp_path / "net.c"), *options]) == 0
    known = {"dtype": "int8", "rounding": "double", "calibrate": "mse"}
    steelyard.export(net, folder / "net.c", forward=True, probe=x, **known)
    parts = [(each / "net.c").read_text().partition("*/")[2] for each in (tmp_path, folder)]
    assert parts[0] == parts[1]
