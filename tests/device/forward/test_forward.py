"""Forward passes in C: compiled, they give the outputs of their nets, and their tests notice one changed bit."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from toolchains import STRICT, run, tool
from torch import nn

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError, ProofError, ShapeError

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A small net that is exported with its test."""
    folder = tmp_path_factory.mktemp("dense")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Tanh()).eval()
    x = RNG.standard_normal((5, 3)).astype("float32")
    return steelyard.export(net, folder / "net.c", forward=True, probe=x), folder, x, net


def test_a_net_of_dense_layers_passes_its_own_test(dense):
    made, folder, _, _ = dense
    assert [each.rpartition("/")[2] for each in made.files] == ["net.c", "net.h", "net_test.c"]
    run(tool("gcc"), "-std=c99", *STRICT, "net.c", "net_test.c", "-lm", "-o", "test", cwd=folder)
    assert b"5 examples" in run("./test", cwd=folder)


def test_the_last_value_is_in_the_output_and_the_input_is_not_copied(dense):
    memory = dense[0].forward.memory
    assert [place.memory for place in memory.places] == ["input", "scratch", "scratch", "output", "output"]
    assert memory.size == 4


def test_the_header_has_the_error_and_the_bound_side_by_side(dense):
    proof, lines = dense[0].forward.proof, (dense[1] / "net.h").read_text().splitlines()
    assert 0 < proof.error < proof.bound < 1e-5
    at = lines.index(f" * error    {proof.error:.3g} of the largest output on 5 examples, from those of the net")
    assert lines[at + 1] == f" * bound    {proof.bound:.3g} of the largest output, for any order of sums and fused products"


def test_the_command_writes_what_the_function_writes(dense, tmp_path):
    _, folder, x, net = dense
    torch.save(net, tmp_path / "net.pt")
    np.save(tmp_path / "x.npy", x)
    options = ["--forward", "--probe", str(tmp_path / "x.npy")]
    assert main(["export", str(tmp_path / "net.pt"), "-o", str(tmp_path / "net.c"), *options]) == 0
    assert (tmp_path / "net.c").read_text().partition("*/")[2] == (folder / "net.c").read_text().partition("*/")[2]


@pytest.mark.parametrize(
    "options",
    [
        *({"channels": "last"}, {"select": "0*"}, {"dtype": "float16"}, {"progmem": True}, {"accumulate": "half"}),
        *({"rounding": "single"}, {"calibrate": "mse"}),
        *({"dtype": "int8", "rounding": "single", **each} for each in ({"fold": False}, {"libm": False}, {"channels": "last"})),
    ],
    ids=str,
)
def test_options_without_a_meaning_for_a_forward_pass_are_refused(dense, options, tmp_path):
    with pytest.raises(ShapeError):
        steelyard.export(dense[3], tmp_path / "net.c", forward=True, probe=dense[2], **options)
    assert not [*tmp_path.iterdir()]


def test_a_file_is_proven_by_the_outputs_that_are_given_for_the_probe(dense, tmp_path):
    _, _, x, net = dense
    torch.save(net, tmp_path / "net.pt")
    with torch.no_grad():
        outputs = net(torch.from_numpy(x)).numpy()
    alone = steelyard.export(tmp_path / "net.pt", tmp_path / "net.c", forward=True, probe=x)
    proven = steelyard.export(tmp_path / "net.pt", tmp_path / "net.c", forward=True, probe=x, outputs=outputs)
    assert (alone.forward.proof.is_run, proven.forward.proof.is_run) == (False, True)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", outputs + 1e-3)
    options = ["--forward", "--probe", str(tmp_path / "x.npy"), "--outputs", str(tmp_path / "y.npy")]
    assert main(["export", str(tmp_path / "net.pt"), "-o", str(tmp_path / "other.c"), *options]) == 2
    assert not (tmp_path / "other.c").exists()
    with pytest.raises(ProofError):
        steelyard.export(tmp_path / "net.pt", tmp_path / "other.c", forward=True, probe=x, outputs=outputs + 1e-3)
    with pytest.raises(ShapeError, match="pass the probe too"):
        steelyard.export(tmp_path / "net.pt", tmp_path / "other.c", forward=True, outputs=outputs)


@pytest.mark.parametrize("suffix", ["h", "hpp", "ino", "bin", "csv", "json"])
def test_a_forward_pass_has_no_form_in_files_of_numbers(dense, suffix, tmp_path):
    with pytest.raises(FormatError, match=r"none of \.c, \.rs, \.py"):
        steelyard.export(dense[3], tmp_path / f"net.{suffix}", forward=True)


@pytest.mark.parametrize(
    "options", [{"fold": False}, {"libm": False}, {"accumulate": "double"}, {"outputs": np.zeros(3)}], ids=str
)
def test_options_of_a_forward_pass_are_refused_without_one(options, tmp_path):
    with pytest.raises(ShapeError, match="are for forward=True"):
        steelyard.export({"w": np.ones(3)}, tmp_path / "net.h", **options)


def test_the_options_of_the_command_are_those_of_the_function(tmp_path, capsys):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh()).eval()
    x = RNG.standard_normal((5, 3)).astype("float32")
    with torch.no_grad():
        outputs = net(torch.from_numpy(x)).numpy()
    for name, value in (("net.pt", net), ("x.npy", x), ("y.npy", outputs)):
        torch.save(value, tmp_path / name) if value is net else np.save(tmp_path / name, value)
    given = [str(tmp_path / "net.pt"), "-o", str(tmp_path / "net.c")]
    forward = ["--forward", "--probe", str(tmp_path / "x.npy"), "--outputs", str(tmp_path / "y.npy")]
    for words, options in (
        (["--no-fold", "--no-libm"], {"fold": False, "libm": False}),
        (["--accumulate", "double"], {"accumulate": "double"}),
    ):
        assert main(["export", *given, *forward, *words]) == 0
        files = [(tmp_path / name).read_bytes() for name in ("net.c", "net.h", "net_test.c")]
        steelyard.export(tmp_path / "net.pt", tmp_path / "net.c", forward=True, probe=x, outputs=outputs, **options)
        assert files == [(tmp_path / name).read_bytes() for name in ("net.c", "net.h", "net_test.c")]
        assert main(["export", *given, *words]) == 2
        assert "are for --forward" in capsys.readouterr().err
    assert main(["export", *given, *forward, "--select", "0*"]) == 2
    assert "leave out --select" in capsys.readouterr().err


def test_scalers_of_a_pipeline_are_folded_on_request(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 3, (40, 5)), rng.integers(0, 3, 40)
    net = make_pipeline(StandardScaler(), MinMaxScaler(), LogisticRegression()).fit(x, y)
    apart = steelyard.export(net, tmp_path / "net.c", forward=True, probe=x)
    joined = steelyard.export(net, tmp_path / "net.c", forward=True, probe=x, fold="scalers")
    assert [len(made.forward.program.steps) for made in (apart, joined)] == [4, 2]
    assert joined.size == 3 * 5 + 3 < apart.size
    run(tool("gcc"), "-std=c99", *STRICT, "net.c", "net_test.c", "-lm", "-o", "test", cwd=tmp_path)
    assert b"passed" in run("./test", cwd=tmp_path)
    assert "batch norms and scalers folded" in (tmp_path / "net.h").read_text()
    with pytest.raises(ShapeError, match="scalers"):
        steelyard.export(net, tmp_path / "net.c", forward=True, probe=x, fold="norms")
