"""`steelyard history`: a run in the terminal, as JSON, as a table, and beside another."""

import json

import numpy as np
import pytest
import torch

import steelyard
from steelyard.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, factor in (("a", 1.0), ("b", 2.0)):
        with steelyard.record(folder / name, snapshot=2) as rec:
            for step in range(6):
                w = np.arange(1.0, 5.0).reshape(2, 2) + step * factor
                w[0, 1] = np.nan if step == 5 else w[0, 1]
                rec(step, {"fc": {"weight": w, "bias": np.ones(2)}}, metrics={"loss": 1 / (1 + step)})
    return folder


def said(capsys, *args):
    assert main([str(arg) for arg in args]) == 0
    return capsys.readouterr().out


def test_the_summary_has_alarms_the_last_records_and_a_sparkline_for_each_weight(folder, capsys):
    text = said(capsys, "history", folder / "a", "--last", 2)
    first, *alarms = text.partition("\n\n")[0].splitlines()
    lines = text.splitlines()
    assert first == f"{folder / 'a'}: 6 records, steps 0 to 5; 2 weights with 6 numbers; 3 snapshots"
    assert alarms == ["NaN since step 5: fc.weight[0, 1]", "frozen in the last 5 records: fc.bias"]
    assert [line.split()[:2] for line in lines if "kept" in line] == [["4", "0.2"]]
    row = next(line for line in lines if line.startswith("fc.weight"))
    assert row.split()[1] == "\u2581\u2583\u2584\u2586\u2588\u2588"
    record = json.loads(said(capsys, "history", folder / "a", "--json", "--last", 1))
    assert (record["records"], record["alarms"], record["would_run"]) == (6, alarms, {})
    assert [each["step"] for each in record["last"]] == [5]


@pytest.mark.parametrize("view", ["norms", "updates", "ratios", "blame", "jumps", "nonfinite", "units"])
def test_each_view_is_that_of_python(folder, capsys, view):
    h = steelyard.history(folder / "a")
    found = getattr(h, view)()
    assert said(capsys, "history", folder / "a", "--view", view).strip() == repr(found).strip()
    assert json.loads(said(capsys, "history", folder / "a", "--view", view, "--json"))["rows"] == json.loads(
        json.dumps(found.to_dict()["rows"])
    )


def test_two_runs_are_compared_and_a_table_is_written(folder, tmp_path, capsys):
    record = json.loads(said(capsys, "history", folder / "b", "--before", folder / "a", "--json"))
    assert (record["same_start"], record["parted"], record["first"]) == (True, 1, ["fc.weight"])
    assert "they part at step 1: fc.weight" in said(capsys, "history", folder / "b", "--before", folder / "a")
    assert said(capsys, "history", folder / "a", "-o", tmp_path / "t.csv") == ""
    assert (tmp_path / "t.csv").read_text().splitlines()[0].startswith("step,epoch,metric loss,weight,count,min")


def test_several_files_are_a_history_and_what_they_would_run_is_said(tmp_path, capsys):
    class Payload:
        def __reduce__(self):
            import os

            return os.system, ("ls",)

    for step in (9, 10):
        torch.save({"w": torch.full((2,), float(step)), "x": Payload()}, tmp_path / f"ckpt-{step}.pt")
    assert main(["history", str(tmp_path / "ckpt-10.pt"), str(tmp_path / "ckpt-9.pt")]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[:2] == [
        "2 checkpoints, steps 9 to 10; 1 weight with 2 numbers",
        "steps are the numbers after 'ckpt' in the names, such as 9 in 'ckpt-9.pt'",
    ]
    assert len(captured.err.splitlines()) == 2
    assert "would run posix.system('ls')" in captured.err
    assert main(["history", str(tmp_path / "none")]) == 2
