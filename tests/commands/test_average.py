"""`steelyard average` writes what `steelyard.average` makes of files of any format."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.cli import main


@pytest.fixture
def folds(tmp_path, monkeypatch):
    """Two folds each in a format, one of them in shards."""
    monkeypatch.chdir(tmp_path)
    nets = [{"w": np.random.default_rng(seed).normal(size=(4, 3)).astype("f4"), "n": np.array(seed)} for seed in range(4)]
    torch.save({name: torch.tensor(array) for name, array in nets[0].items()}, "0.pt")
    steelyard.save(nets[1], "1.h5")
    steelyard.save(nets[2], "2.safetensors", shard_size=20)
    steelyard.save(nets[3], "3.npz")
    return ["0.pt", "1.h5", "2.safetensors.index.json", "3.npz"], np.stack([net["w"] for net in nets])


@pytest.mark.parametrize("out", ["a.safetensors", "a.pt", "a.h5", "a.npz"])
def test_files_of_several_formats_are_averaged_into_any(folds, capsys, out):
    files, stack = folds
    assert main(["average", *files, "-o", out]) == 0
    made = steelyard.weights(out)
    assert np.array_equal(made["w"].numpy(), steelyard.average(files)["w"].numpy())
    assert np.allclose(made["w"].numpy(), stack.mean(axis=0), rtol=0, atol=1e-7)
    assert capsys.readouterr().out.startswith(f"integers that differ are those of the first: 'n'\n{out}: 2 weights")


def test_what_is_written_into_a_folder_is_named(folds, tmp_path, capsys):
    files, _ = folds
    assert main(["average", *files, "-o", "made/"]) == 0
    assert "made/model.safetensors: 2 weights" in capsys.readouterr().out
    steelyard.save_patch(files[0], files[1], "p.safetensors")
    assert main(["apply-patch", files[0], "p.safetensors", "-o", "made/"]) == 0
    assert capsys.readouterr().out.startswith("made/model.safetensors: 2 weights")


def test_the_kinds_of_averages_are_those_of_the_functions(folds):
    files, stack = folds
    weighted = steelyard.average(files, [1, 2, 3, 4])
    for options, wanted in (
        (["--weights", "1,2,3,4"], weighted["w"].numpy()),
        (["--decay", "0.5"], steelyard.ema(files, 0.5)["w"].numpy()),
        (["--median"], np.median(stack, axis=0)),
        (["--trim", "0.25"], np.sort(stack, axis=0)[1:3].mean(axis=0)),
        (["--exact", "--dtype", "float16"], stack.mean(axis=0, dtype="f8").astype("f4").astype("f2")),
    ):
        assert main(["average", *files, "-o", "a.npz", *options]) == 0
        assert np.array_equal(steelyard.weights("a.npz")["w"].numpy(), wanted), options


def test_a_dry_run_prints_the_share_of_each_file_and_writes_nothing(folds, tmp_path, capsys):
    files, _ = folds
    before = sorted(tmp_path.iterdir())
    assert main(["average", *files, "--decay", "0.5", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["12.5000%", "0.pt"],
        ["12.5000%", "1.h5"],
        ["25.0000%", files[2]],
        ["50.0000%", "3.npz"],
    ]
    assert lines[-1].startswith("nothing was written; the result has 2 weights")
    assert main(["average", *files, "--median", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shares"] is None
    assert sorted(tmp_path.iterdir()) == before


def test_the_reminder_of_norms_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a.pt", "b.pt"):
        torch.save(nn.BatchNorm1d(2).state_dict(), name)
    assert main(["average", "a.pt", "b.pt", "-o", "a.pt"]) == 0
    assert "steelyard.update_norms(net, data)" in capsys.readouterr().out


def test_a_shard_of_an_input_is_not_replaced(folds, capsys):
    files, _ = folds
    shard = steelyard.weights(files[2]).meta["shards"][0]
    assert main(["average", *files]) == 2
    assert "needs -o OUT" in capsys.readouterr().err
    assert main(["average", *files, "-o", shard]) == 2
    assert "is one of the files that are read" in capsys.readouterr().err
    assert main(["average", *files, "-o", files[2]]) == 0  # the whole set may
    assert np.array_equal(steelyard.weights(files[2])["n"].numpy(), 0)


def test_an_exponential_average_says_where_the_order_of_the_files_is_not_that_of_their_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for step in (2, 10):
        steelyard.save({"w": np.full(2, float(step))}, f"step{step}.npz")
    assert main(["average", "step*.npz", "--decay", "0.5", "-o", "a.npz"]) == 0
    assert "files count in the order given, in which step10.npz comes before step2.npz" in capsys.readouterr().out
    assert main(["average", "step2.npz", "step10.npz", "--decay", "0.5", "-o", "a.npz"]) == 0
    assert main(["average", "step*.npz", "-o", "a.npz"]) == 0
    assert "order given" not in capsys.readouterr().out
