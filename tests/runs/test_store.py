"""A run's folder is read as it is; a damaged one is refused by one line."""

import json
import os

import numpy as np
import pytest

import steelyard
from steelyard.errors import FileMissingError, FormatError, UnsafeFileError
from steelyard.runs.archives import pack_run
from steelyard.runs.layout import HISTOGRAMS, JOURNAL, RUN, SKETCHES, SNAPSHOTS, STATS
from steelyard.runs.store import open_run


def arrays(step):
    return {"a": np.full((4, 2000), step, np.float32), "b": np.arange(7.0)}


def test_a_damaged_run_is_refused_by_one_line(tmp_path):
    with pytest.raises(FileMissingError, match="is no recorded run"):
        open_run(tmp_path)
    with steelyard.record(tmp_path / "a") as rec:
        for step in range(3):
            rec(step, arrays(step))
    journal, layout = tmp_path / "a/journal.jsonl", tmp_path / "a/run.json"
    good, whole = journal.read_text(), layout.read_text()
    bad = ["{}\n", good + good, good.replace('"snapshot": null', '"snapshot": "../../x.safetensors"'), good.replace("{", "[")]
    for text in bad:
        journal.write_text(text)
        with pytest.raises(FormatError, match=r"journal.jsonl: line \d"):
            open_run(tmp_path / "a")
    journal.write_text(good)
    for old, new in [('"dtype": "float32"', '"dtype": "float99"'), ("2000", "-1"), ('"bins": 128', '"bins": 64'), ("{", "[")]:
        layout.write_text(whole.replace(old, new, 1))
        with pytest.raises(FormatError, match="is not the layout of a run"):
            open_run(tmp_path / "a")


@pytest.fixture
def run(tmp_path):
    with steelyard.record(tmp_path / "a", snapshot=1) as rec:
        for step in range(3):
            rec(step, arrays(step), metrics={"loss": 0.5})
    return tmp_path / "a"


def test_claims_that_no_run_can_have_are_refused_by_one_line(run):
    journal, layout = (run / JOURNAL).read_text(), json.loads((run / RUN).read_text())
    for old, new in [
        ("0.5", f"1{'0' * 400}"),
        ('"step": 2', f'"step": 1{"0" * 30}'),
        ("0.5", "[" * 1500),
        ("\n", " " * (1 << 20)),
    ]:
        (run / JOURNAL).write_text(journal.replace(old, new))
        with pytest.raises(FormatError, match=r"journal.jsonl: (line 1|line 3|has a line of more than 1,048,576 bytes)"):
            open_run(run)
    one, other = layout["weights"]
    for weights in ([one, one], [one, {**other, "shape": [1 << 70]}], [one, {**other, "shape": [1] * 99}]):
        (run / RUN).write_text(json.dumps({**layout, "weights": weights}))
        with pytest.raises(FormatError, match="is not the layout of a run"):
            open_run(run)
    (run / RUN).write_text(f"[{'[],' * 1_200_000}[]]")
    with pytest.raises(FormatError, match="of memory, too many for a file"):
        open_run(run)


@pytest.mark.parametrize("name", [RUN, JOURNAL, STATS, HISTOGRAMS, SKETCHES, SNAPSHOTS])
def test_a_link_out_of_a_run_is_not_followed(run, name):
    outside = run.parent / "outside"
    (run / name).rename(outside)
    (run / name).symlink_to(outside)
    before = outside.stat()
    for call in (open_run, steelyard.record, lambda path: pack_run(str(path), f"{path}.zip")):
        with pytest.raises(UnsafeFileError, match=f"its {name} is a link that leads out of the folder"):
            call(run)
    assert (outside.stat().st_size, outside.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_a_snapshot_that_is_a_link_out_of_the_run_is_not_read_and_one_inside_is(run):
    snapshots = sorted((run / SNAPSHOTS).iterdir())
    snapshots[1].unlink()
    snapshots[1].symlink_to(snapshots[2])
    assert steelyard.history(run).at(1)["a"].numpy().max() == 2
    snapshots[2].rename(run.parent / "outside")
    snapshots[2].symlink_to(run.parent / "outside")
    with pytest.raises(UnsafeFileError, match=r"w/00000001\.safetensors is a link"):
        steelyard.history(run).at(1)


@pytest.mark.parametrize("name", [STATS, HISTOGRAMS, SKETCHES])
def test_a_pipe_in_a_run_is_not_waited_for(run, name):
    (run / name).unlink()
    os.mkfifo(run / name)
    for call in (open_run, steelyard.record, lambda path: pack_run(str(path), f"{path}.zip")):
        with pytest.raises(FormatError, match="is a pipe"):
            call(run)
