"""The command grid."""

import csv
import json

import numpy as np
import pytest

import steelyard
from steelyard.cli import main


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    net = {f"h.{nth}.{part}.weight": rng.standard_normal((6, 6)) for nth in range(11) for part in ("attn", "mlp")}
    steelyard.save(net, tmp_path / "before.safetensors")
    net["h.10.mlp.weight"] = net["h.10.mlp.weight"] + 0.01
    steelyard.save(net, tmp_path / "after.safetensors")
    return str(tmp_path / "before.safetensors"), str(tmp_path / "after.safetensors")


def test_it_prints_the_grid_with_blocks_by_number(files, capsys):
    assert main(["grid", files[0], "--value", "max-abs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "greatest magnitude: 11 blocks (h.*) × 2 parts (*.weight)"
    assert [line.split()[0] for line in lines[3:14]] == [str(nth) for nth in range(11)]


def test_with_an_older_file_it_says_which_blocks_changed(files, capsys):
    assert main(["grid", files[1], "--before", files[0]]) == 0
    out = capsys.readouterr().out
    assert "1 of 22 weights changed, in 1 of 11 rows: h.10" in out
    assert main(["grid", files[1], "--before", files[0], "--value", "equal", "--select", "h.?.*"]) == 0
    assert "nothing changed" in capsys.readouterr().out


def test_json_and_csv_have_every_digit_of_every_cell(files, tmp_path, capsys):
    found = steelyard.grid(files[0])
    assert main(["grid", files[0], "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == {"file": files[0], **json.loads(json.dumps(found.to_dict())), "would_run": []}
    assert main(["grid", files[0], "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [float(row["value"]) for row in rows] == [each["value"] for each in found.to_records()]
    assert [row["names"] for row in rows] == [each["names"][0] for each in found.to_records()]
    assert main(["grid", files[0], "-o", str(tmp_path / "cells.csv")]) == 0
    assert capsys.readouterr().out == ""
    assert len((tmp_path / "cells.csv").read_text().splitlines()) == 23


def test_infinite_norms_are_words_in_json(tmp_path, capsys):
    np.savez(tmp_path / "net.npz", a=np.full(4, 1.7e308), b=np.array([np.nan]))
    assert main(["grid", str(tmp_path / "net.npz"), "--value", "norm", "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert [row[0]["value"] for row in cells] == [pytest.approx(2e308) if np.inf > 2e308 else "Infinity", None]


def test_a_value_that_does_not_fit_is_one_line(files, capsys):
    assert main(["grid", files[0], "--value", "change"]) == 2
    assert capsys.readouterr().err == (
        "error: value is 'change', which is only with before; choose one of std, norm, rms, mean, max_abs, sparsity, nonfinite\n"
    )
