"""Measurements with an engine: the same to the last bit as without, after a kill too, and goes on from a journal."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import engine_tasks
import numpy as np
import pytest

import steelyard
from steelyard.engines import Failure, shipping
from steelyard.engines.journal import Journal
from steelyard.errors import FormatError, ShapeError


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Two nets of 50 MB, whose weights are several runs each, and whose numbers are not finite in places."""
    folder, random = tmp_path_factory.mktemp("nets"), np.random.default_rng(0)
    one = {
        "a": random.standard_normal((5000, 1000), "f4"),
        "b": random.standard_normal((3000, 1000), "f4").astype("f2"),
        "c": random.standard_normal((4500, 1000), "f4"),
        **{f"small{nth}": random.standard_normal(7) for nth in range(40)},
        "count": np.arange(10),
    }
    one["c"][4400, 3], one["c"][1, 2] = np.nan, np.inf
    other = one | {"a": one["a"] * np.float32(1.001), "small3": one["small3"] + 1}
    paths = [str(folder / "one.safetensors"), str(folder / "other.safetensors")]
    for path, net in zip(paths, (one, other), strict=True):
        with pytest.warns(steelyard.errors.NonFiniteWarning):
            steelyard.save(net, path)
    return paths


def fingerprint(nets, **how):
    one, other = nets
    found = {
        "stats": steelyard.stats(one, **how).to_dict(),
        "layers": steelyard.stats(one, "layer", histogram=False, **how).to_dict(),
        "columns": steelyard.stats(one, "out", **how).to_dict(),
        "digest": steelyard.digest(one, "blake3", **how).to_dict(),
        "check": steelyard.check(one, **how).to_dict(),
        "diff": steelyard.diff(one, other, verdicts=False, **how).to_dict(),
        "lineage": steelyard.lineage([one, other], **how).to_dict(),
    }
    return json.loads(json.dumps(found))


@pytest.fixture(scope="module")
def alone(nets):
    return fingerprint(nets)


@pytest.fixture
def small_tasks(monkeypatch):
    monkeypatch.setattr(shipping, "TASK_BYTES", 1 << 20)


class Watched:
    """An engine that counts tasks, and calls `after` with the first result; the engine in it stays open."""

    def __init__(self, engine, after=lambda: None):
        self.engine, self.after, self.tasks = engine, after, 0

    @property
    def workers(self):
        return self.engine.workers

    def map_unordered(self, function, tasks, window=None):
        for each in self.engine.map_unordered(function, tasks, window):
            self.tasks += 1
            if self.tasks == 1:
                self.after()
            yield each

    def close(self):
        raise AssertionError


def test_every_measurement_is_the_same_to_the_last_bit_on_every_engine(nets, alone, engine, small_tasks):
    watched = Watched(engine)
    assert fingerprint(nets, engine=watched) == alone
    assert watched.tasks > 25, "the work went to the engine"


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_threads_does_not_matter(nets, alone, workers, small_tasks):
    assert fingerprint(nets, workers=workers) == alone


def test_a_worker_that_is_killed_in_the_middle_changes_no_bit(nets, alone, cluster, small_tasks):
    def kill():
        pid = next(found for _, found in cluster.map_unordered(engine_tasks.process, [0]))
        os.kill(pid, signal.SIGKILL)

    watched = Watched(cluster, kill)
    assert steelyard.digest(nets[0], "blake3", engine=watched).to_dict() == alone["digest"]
    assert steelyard.stats(nets[0], engine=watched).to_dict() == alone["stats"]


def test_a_journal_has_all_finished_parts_and_nothing_is_read_again(nets, alone, tmp_path, small_tasks):
    journal = tmp_path / "journal"
    assert fingerprint(nets, workers=2, resume=journal) == alone
    nothing = Watched(Idle())
    assert fingerprint(nets, engine=nothing, resume=journal) == alone


class Idle:
    workers = 1

    def map_unordered(self, function, tasks, window=None):
        for task in tasks:
            raise AssertionError(task)
        yield from ()


def test_a_coordinator_that_dies_goes_on_where_it_was(nets, alone, tmp_path, small_tasks, started):
    def die():
        raise KeyboardInterrupt

    journal = tmp_path / "journal"
    watched = Watched(started("threads"))
    watched.after = die
    with pytest.raises(KeyboardInterrupt):
        steelyard.digest(nets[0], engine=watched, resume=journal)
    again = Watched(started("threads"))
    steelyard.digest(nets[0], engine=again, resume=journal)
    journal.write_bytes(journal.read_bytes()[:-9])  # as a kill in the middle of a line
    last = Watched(started("threads"))
    assert steelyard.digest(nets[0], "sha256", engine=last, resume=journal) == steelyard.digest(nets[0])
    assert last.tasks == 1
    assert again.tasks > 1


def test_a_file_that_changed_is_not_taken_from_the_journal(tmp_path):
    path, journal = tmp_path / "net.npz", tmp_path / "journal"
    steelyard.save({"w": np.zeros(3)}, path)
    before = steelyard.stats(str(path), workers=1, resume=journal)
    steelyard.save({"w": np.ones(4)}, path)
    after = steelyard.stats(str(path), workers=1, resume=journal)
    assert (before["w"].max, after["w"].max) == (0, 1)


def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "net.npz"
    steelyard.save({"w": np.zeros(3)}, path)
    content = path.read_bytes()
    with pytest.raises(FormatError, match="not a journal"):
        steelyard.stats(str(path), resume=path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "found",
    [
        *('{"Popen":{"dict":[["args","x"]]}}', '{"Summary":{"dict":[["__class__",1]]}}', '{"ndarray":["|O",[1],"AAAAAAAAAAA="]}'),
        *('{"float":"0x1p9999"}', '{"tuple":5}', '{"Digest":{"dict":[["whole",1]]}}', f"{'[' * 900}{']' * 900}"),
    ],
)
def test_a_journal_makes_nothing_but_results(found, tmp_path):
    path = tmp_path / "journal"
    with Journal(str(path)) as journal:
        journal.keep("a", found=1)
    path.write_text(path.read_text().replace('"found":1', f'"found":{found}'))
    with Journal(str(path)) as journal, pytest.raises(FormatError, match="no measurement wrote"):
        journal.known("a")


def test_what_a_journal_has_in_the_place_of_numbers_is_an_error_that_names_it(tmp_path):
    net, path = str(tmp_path / "net.npz"), tmp_path / "journal"
    steelyard.save({"w": np.arange(4.0)}, net)
    steelyard.stats(net, resume=path)
    whole = path.read_text()
    for other in (re.sub(r'{"float":"[^"]*"}', '"x"', whole), whole.replace('"found":', '"lost":')):
        path.write_text(other)
        with pytest.raises(FormatError, match=r"journal: holds what no measurement wrote.*; delete the journal"):
            steelyard.stats(net, resume=path)


def test_a_record_of_too_many_values_is_refused(tmp_path):
    path = tmp_path / "journal"
    with Journal(str(path)) as journal:
        journal.keep("a", found=1)
    with path.open("a") as file:
        file.write(f"[{'[],' * 1_200_000}[]]\n")
    with pytest.raises(FormatError, match="too many values"):
        Journal(str(path))


@pytest.fixture
def folder(tmp_path):
    for nth in range(6):
        steelyard.save({"w": np.full(10, nth, "f4")}, tmp_path / f"{nth}.safetensors")
    Path(tmp_path, "3.safetensors").write_bytes(b"damaged")
    return tmp_path


def test_a_pattern_has_a_result_for_each_file_and_a_row_for_each_error(folder, engine):
    pattern = str(folder / "*.safetensors")
    found = steelyard.stats(pattern, engine=Watched(engine))
    assert [result["w"].max for _, result in found.items()] == [0, 1, 2, 4, 5]
    assert list(found.failed) == [str(folder / "3.safetensors")]
    with pytest.raises(FormatError, match=r"3\.safetensors"):
        found[str(folder / "3.safetensors")]
    assert "3.safetensors" in repr(found).splitlines()[-1]
    assert found.to_dict()[str(folder / "3.safetensors")]["kind"] == "FormatError"


def test_files_of_a_task_that_ended_its_process_are_tried_one_by_one(folder, started):
    class Fragile(Watched):
        def map_unordered(self, function, tasks, window=None):
            for place, task in enumerate(tasks):
                files = task if isinstance(task, list) else [task]
                dies = any("2.safetensors" in opening.path for opening in files)
                yield place, Failure("KilledWorker", "died") if dies else function(task)

    found = steelyard.digest(str(folder / "[0-2]*"), engine=Fragile(started("threads")))
    assert list(found.failed) == [str(folder / "2.safetensors")]
    assert len(found) == 2


def test_a_live_model_is_measured_in_threads_and_by_nothing_else():
    net = {"w": np.ones(3)}
    assert steelyard.stats(net, workers=2)["w"].mean == 1
    assert steelyard.digest(net, engine="threads") == steelyard.digest(net)
    for call in (steelyard.stats, steelyard.digest, steelyard.check):
        with pytest.raises(ShapeError, match="in the memory of this process; pass its path"):
            call(net, engine="dask")
    with pytest.raises(ShapeError, match="in the memory of this process"):
        steelyard.diff(net, net, engine="dask")


def test_errors_of_one_file_are_those_without_an_engine(tmp_path, engine):
    path = tmp_path / "cut.safetensors"
    steelyard.save({"w": np.zeros((600, 1000)), "v": np.zeros(3)}, path)
    path.write_bytes(path.read_bytes()[:-2000])
    for call in (steelyard.stats, steelyard.digest):
        with pytest.raises(FormatError) as without:
            call(str(path))
        with pytest.raises(FormatError) as given:
            call(str(path), engine=Watched(engine))
        assert str(given.value) == str(without.value)
