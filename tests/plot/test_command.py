"""`steelyard plot`: every kind of picture, where it is written, and what is refused."""

import json
import os

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image
from torch import nn

import steelyard
from steelyard import plot
from steelyard.cli import main
from steelyard.commands.plot import KINDS

OPTIONS = {
    "diff": ["--before", "old.safetensors"],
    "filters": ["--name", "fc.weight", "--grid", "4x4"],
    "heads": ["--name", "attn", "--heads", "4"],
    "embedding": ["--labels", "names.txt"],
    "heatmap": ["--name", "fc.weight"],
    "spectrum": ["--name", "fc.weight"],
    "history": ["--view", "norms", "--name", "w"],
    "network": ["--select", "fc.*", "--select", "last.*"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    torch.manual_seed(0)
    parts = {"embed": nn.Embedding(9, 16), "attn": nn.MultiheadAttention(16, 4), "fc": nn.Linear(16, 5), "last": nn.Linear(5, 2)}
    net = nn.ModuleDict(parts)
    steelyard.save(net, tmp_path / "old.safetensors")
    with torch.no_grad():
        net["fc"].weight.mul_(1.1)
    steelyard.save(net, tmp_path / "net.safetensors")
    with steelyard.record(tmp_path / "net.run") as rec:
        for step in range(3):
            rec(step, {"w": np.arange(1.0, 4.0) * step})
    (tmp_path / "names.txt").write_text("".join(f"word {nth}\n" for nth in range(9)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_picture_of_python_is_a_kind_of_the_command():
    assert set(KINDS) == set(plot.__all__)


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_writes_a_picture_in_the_current_folder(kind, folder, capsys):
    file = "net.run" if kind == "history" else "net.safetensors"
    assert main(["plot", file, "--kind", kind, "--dark", "--json", "--dpi", "60", *OPTIONS.get(kind, [])]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["kind"] == kind
    assert record["out"].startswith("net.")
    assert record["out"].endswith(f"{kind}.png")
    picture = np.asarray(Image.open(record["out"]).convert("RGB"))
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture.std() > 5
    assert not list(folder.glob(".*"))
    assert not plt.get_fignums()


def test_the_command_names_the_picture_that_it_wrote(folder, capsys):
    assert main(["plot", "net.safetensors", "-o", "net.png"]) == 0
    assert capsys.readouterr().out == "net.png: overview of net.safetensors\n"


def test_with_an_older_file_the_kind_is_diff(folder, capsys):
    assert main(["plot", "net.safetensors", "--before", "old.safetensors"]) == 0
    assert capsys.readouterr().out == "net.diff.png: diff of net.safetensors\n"


def test_a_grid_shows_the_differences_from_an_older_file_too(folder, capsys):
    assert main(["plot", "net.safetensors", "--kind", "grid", "-o", "one.png"]) == 0
    assert main(["plot", "net.safetensors", "--kind", "grid", "--before", "old.safetensors", "-o", "two.png"]) == 0
    assert (folder / "one.png").read_bytes() != (folder / "two.png").read_bytes()


def test_a_name_from_the_file_is_no_path_in_that_of_the_picture(folder, capsys):
    steelyard.save({"../a/b": np.eye(5), "x" * 500: np.eye(5)}, "odd.npz")
    assert main(["plot", "odd.npz", "--kind", "heatmap", "--name", "../a/b"]) == 0
    assert main(["plot", "odd.npz", "--kind", "heatmap", "--name", "x" * 500]) == 0
    made = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert made[0] == "odd..._a_b.heatmap.png"
    assert all(os.path.exists(each) for each in made)


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["-o", "net.bmp"], "the suffix of a picture must be one of png, pdf, svg"),
        (
            ["-o", "net.png", "--name", "0.weight"],
            "--name is for --kind history, filters, heads, embedding, heatmap, spectrum, not for overview",
        ),
        (["--grid", "4x4", "--kind", "heatmap"], "--grid is for --kind filters, not for heatmap"),
        (["--before", "old.safetensors", "--kind", "network"], "--before is for --kind diff, grid, not for network"),
        (["--view", "path"], "--view is for --kind history, not for overview"),
        (["--kind", "history"], "has 1 record, and a curve needs two"),
        (["--kind", "diff"], "--kind diff needs an older file to compare with: --before OLDER"),
        (["-o", "net.png", "--kind", "filters"], "none is a convolution of images"),
        (["-o", "net.png", "--kind", "heads"], "the number of heads of attn is not known; pass heads"),
        (["--kind", "embedding", "--labels", "missing.txt"], "No such file or directory"),
        (["-o", "missing/net.png"], "no such folder to write into; make it first"),
    ],
)
def test_a_picture_that_cannot_be_written_is_an_error_of_one_line(args, what, folder, capsys):
    assert main(["plot", "net.safetensors", *args]) == 2
    error = capsys.readouterr().err
    assert what in error
    assert len(error.splitlines()) == 1
    assert not list(folder.glob("*.png"))
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        *((f"--dpi={dpi}", "is not a whole number from 1 to 1,200") for dpi in ("0", "-5", "1201", "1e2", "9" * 5000)),
        *((f"--heads={heads}", "is not a whole number from 1 to 65,536") for heads in ("0", "x", "9" * 5000)),
        *((f"--grid={grid}", "is not the sides of an image, such as 28x28") for grid in ("28x", "-2x3", "axb", "9" * 5000)),
    ],
    ids=lambda text: text[:12],
)
def test_numbers_of_options_are_bounded(option, said, folder, capsys):
    with pytest.raises(SystemExit) as end:
        main(["plot", "net.safetensors", option])
    assert end.value.code == 2
    assert said in capsys.readouterr().err
    assert not list(folder.glob("*.png"))
