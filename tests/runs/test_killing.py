"""A recorder that is killed at any point loses nothing that was committed, and the run goes on without a gap."""

import os
import shutil
import signal
import time
import traceback
from functools import cache

import numpy as np
import pytest
from waiting import until

import steelyard
from steelyard.numerics.weight_stats import FIGURES
from steelyard.runs.layout import COLUMNS, SKETCH_BASE_BYTES, SKETCH_BYTES
from steelyard.runs.store import open_run

STEPS = 13
CUTS = 200


def arrays(step):
    return {"a": np.full((3, 4), step, np.float32) * np.arange(1, 5, dtype=np.float32), "b": np.arange(step, step + 9.0)}


def record_from(folder, start, stop=STEPS):
    with steelyard.record(folder, snapshot=3) as rec:
        assert rec.next_step in (start, 1)
        for step in range(start, stop):
            rec(step, arrays(step), metrics={"loss": 1 / (1 + step)})


@cache
def figures(step):
    return np.array([[getattr(row, figure) for figure in FIGURES] for row in steelyard.stats(arrays(step))], float)


def is_right(folder, steps):
    """Check every record and snapshot; a record after a restart has no update."""
    run = open_run(folder)
    assert run.steps == list(range(steps))
    for at in range(steps):
        assert np.array_equal(run.stats[at, :, : len(FIGURES)], figures(at))
    assert sorted(run.snapshots()) == [step for step in range(steps) if step % 3 == 0]
    for step, path in run.snapshots().items():
        assert steelyard.weights(path)["a"].numpy().tolist() == arrays(step)["a"].tolist()
    assert run.histograms["low"][:, 0].tolist() == [float(at) for at in run.histogram_rows]
    return run


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """What was written survives the process, so nothing here has to wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    record_from(folder, 0)
    return folder


def pieces(folder, row):
    """Return what recording a row writes, in order: the file, its length before, and the length that it adds."""
    run = open_run(folder)
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    before = run.layout.histograms_of(row)
    yield "stats.f64", row * run.layout.stats_bytes, run.layout.stats_bytes
    start = SKETCH_BASE_BYTES + row * SKETCH_BYTES if row else 0
    yield "sketches.bin", start, SKETCH_BYTES + (0 if row else SKETCH_BASE_BYTES)
    yield (
        "histograms.bin",
        before * run.layout.histogram_bytes,
        (run.layout.histograms_of(row + 1) - before) * run.layout.histogram_bytes,
    )
    yield "journal.jsonl", sum(map(len, lines[:row])), len(lines[row])


def as_killed(whole, folder, row, share):
    """Make the folder as a process leaves it that is killed after this share of what it writes for a row."""
    shutil.copytree(whole, folder)
    for path in (folder / "w").iterdir():
        if int(path.stem) > row:
            path.unlink()
    order = list(pieces(whole, row))
    left = round(share * sum(length for _, _, length in order))
    for name, before, length in order:
        os.truncate(folder / name, before + min(left, length))
        left -= min(left, length)


@pytest.mark.parametrize("part", range(4))
def test_whatever_was_written_when_it_was_killed_the_run_goes_on_without_a_gap(whole, tmp_path, part):
    draw = np.random.default_rng(part)
    for nth in range(CUTS // 4):
        row, share = int(draw.integers(STEPS)), float(draw.choice([0, 1, draw.random(), draw.random()]))
        folder = tmp_path / str(nth)
        as_killed(whole, folder, row, share)
        committed = len(open_run(folder))
        assert committed == (row + 1 if share == 1 else row)
        assert open_run(folder).steps == list(range(committed))
        steps = min(committed + 2, STEPS)
        record_from(folder, committed, steps)
        run = is_right(folder, steps)
        if committed < steps:
            update = COLUMNS.index("update")
            assert np.isnan(run.stats[committed, :, update]).all()
            assert not np.isnan(np.delete(run.stats[1:, :, update], committed - 1, 0)).any()
        assert run.sketches() == pytest.approx(open_run(whole).sketches()[:steps], rel=0.01, abs=0.1)


def committed(folder):
    journal = folder / "journal.jsonl"
    return journal.stat().st_size if journal.exists() else 0


def test_a_process_that_is_killed_again_and_again_records_without_a_gap(tmp_path):
    done, draw = 0, np.random.default_rng(0)
    for nth in range(24):
        before = committed(tmp_path)
        child = os.fork()
        if not child:
            try:
                with steelyard.record(tmp_path, snapshot=3) as rec:
                    for step in range(rec.next_step if done else 0, 10_000):
                        rec(step, arrays(step), metrics={"loss": 0.5})
            except BaseException:
                (tmp_path / "error.txt").write_text(traceback.format_exc())
            finally:
                os._exit(1)
        if nth % 4:  # else it is killed while it opens the run
            until(lambda size=before: committed(tmp_path) > size)
        time.sleep(draw.random() / 30)
        os.kill(child, signal.SIGKILL)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert killed, (tmp_path / "error.txt").read_text()
        if (tmp_path / "run.json").exists():
            now = open_run(tmp_path)
            assert len(now) >= done
            done = len(now)
    assert done >= 18
    steelyard.record(tmp_path).close()
    is_right(tmp_path, done)
