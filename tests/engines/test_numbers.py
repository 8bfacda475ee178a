"""Numbers that workers compute and this process writes: the same file to the last bit, bounded, and refused in one line."""

from __future__ import annotations

import pickle
from functools import partial
from itertools import count

import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.engines import Failure, numbers, tried
from steelyard.engines.ordered import in_order
from steelyard.errors import LossyError, ShapeError


class Pickling:
    """An engine of one worker, which sends functions, tasks and results as to another process, and counts tasks."""

    workers = 1

    def __init__(self):
        self.tasks = []

    def map_unordered(self, function, tasks, window=None):
        for place, task in enumerate(tasks):
            self.tasks.append(task)
            sent = pickle.loads(pickle.dumps((function, task)))
            yield place, pickle.loads(pickle.dumps(tried(*sent)))

    def close(self):
        raise AssertionError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three nets whose weights are several chunks each, in two types, and a quantised one."""
    folder, random = tmp_path_factory.mktemp("nets"), np.random.default_rng(0)
    for nth in range(3):
        net = {
            "a": random.standard_normal((700, 1024), "f4"),
            "b": random.standard_normal(7, "f4"),
            "c": random.standard_normal((500, 1001), "f4").astype("f2"),
            "count": np.arange(5),
        }
        steelyard.save(net, folder / f"{nth}.safetensors")
    steelyard.save(steelyard.quantize(str(folder / "0.safetensors"), "int4", axis=0), folder / "packed.safetensors")
    return folder


@pytest.fixture
def small_tasks(monkeypatch):
    monkeypatch.setattr(numbers, "TASK_BYTES", 1 << 20)


@pytest.fixture
def inputs(files):
    return [str(files / f"{nth}.safetensors") for nth in range(3)]


MAKERS = {
    "average": lambda files: partial(steelyard.average, files, [1, 2, 3], exact=True),
    "median": lambda files: partial(steelyard.median, files),
    "trimmed": lambda files: partial(steelyard.trimmed, files, 0.4),
    "ema": lambda files: partial(steelyard.ema, files, 0.9, warmup=True),
    "swa": lambda files: partial(steelyard.swa, files, start=1),
    "quantize": lambda files: partial(steelyard.quantize, files[0], "int8", axis=0),
    "gguf": lambda files: partial(steelyard.quantize, files[0], "q8_0"),
    "dequantize": lambda files: partial(steelyard.dequantize, files[0].replace("0.safe", "packed.safe")),
    "effective": lambda files: partial(steelyard.effective, files[0].replace("0.safe", "packed.safe")),
}


@pytest.mark.parametrize("word", MAKERS)
def test_a_file_is_the_same_to_the_last_bit_wherever_its_numbers_are_computed(word, inputs, tmp_path, small_tasks):
    make, suffix = MAKERS[word](inputs), ".gguf" if word == "gguf" else ".safetensors"
    alone, spread, watched = tmp_path / f"alone{suffix}", tmp_path / f"spread{suffix}", Pickling()
    steelyard.save(make(), alone)
    steelyard.save(make(engine=watched), spread)
    assert spread.read_bytes() == alone.read_bytes()
    assert watched.tasks, "the work went to the engine"


def test_processes_and_threads_write_the_same_average(engine, inputs, tmp_path, small_tasks):
    steelyard.save(steelyard.average(inputs), tmp_path / "alone.npz")
    steelyard.save(steelyard.average(inputs, engine=Lent(engine)), tmp_path / "spread.npz")
    assert (tmp_path / "spread.npz").read_bytes() == (tmp_path / "alone.npz").read_bytes()


class Lent:
    """An engine that stays open."""

    def __init__(self, engine):
        self.workers, self.map_unordered = engine.workers, engine.map_unordered

    def close(self):
        raise AssertionError


COMMANDS = {
    "average": "average {0} {1} {2} --decay 0.9 --dtype float16 -o {out}",
    "quantize": "quantize {0} --to int8 --axis 0 --skip b -o {out}",
    "convert": "convert {packed} {out} --effective --dtype float16 --rename a=z --select a --select c",
    "convert --like": "convert {0} {out} --dtype float16 --prefix net.",
}


@pytest.mark.parametrize("word", COMMANDS)
def test_a_command_writes_the_same_file_with_workers(word, inputs, files, tmp_path, monkeypatch, small_tasks):
    def line(name):
        given = COMMANDS[word].format(*inputs, packed=files / "packed.safetensors", out=tmp_path / name)
        return given.split()

    watched = Pickling()
    monkeypatch.setattr("steelyard.engines._started", lambda *_: watched)
    monkeypatch.setattr(Pickling, "close", lambda _: None)
    assert not main(line("alone.safetensors"))
    assert not watched.tasks
    assert not main([*line("spread.safetensors"), "--workers", "2"])
    assert (tmp_path / "spread.safetensors").read_bytes() == (tmp_path / "alone.safetensors").read_bytes()
    assert watched.tasks


def test_numbers_that_a_file_stores_as_they_are_written_are_copied_here(inputs, tmp_path):
    watched = Pickling()
    steelyard.save(steelyard.effective(inputs[0], engine=watched), tmp_path / "copy.safetensors")
    assert not watched.tasks
    steelyard.save(steelyard.average(inputs, engine=watched), tmp_path / "mean.safetensors")
    assert {name for task in watched.tasks for name, _, _ in task} == {"a", "b", "c"}, "integers are those of the first file"


def test_a_single_weight_is_read_here_and_starts_no_engine(inputs):
    watched = Pickling()
    made = steelyard.average(inputs, engine=watched)
    assert np.array_equal(made["c"].numpy(), steelyard.average(inputs)["c"].numpy())
    assert not watched.tasks


def test_what_is_made_of_such_weights_has_the_same_numbers(inputs, tmp_path, small_tasks):
    """A cast, a selection and a quantised average read other parts, some twice, in another order."""
    for nth, change in enumerate(
        (
            lambda w: w.astype("float16").select("[ac]"),
            lambda w: steelyard.quantize(w, "int8", axis=None),
            lambda w: w.with_weights([*reversed(w.values())]),
        )
    ):
        steelyard.save(change(steelyard.average(inputs)), tmp_path / f"{nth}.npz")
        steelyard.save(change(steelyard.average(inputs, engine=Pickling())), tmp_path / f"{nth}s.npz")
        assert (tmp_path / f"{nth}s.npz").read_bytes() == (tmp_path / f"{nth}.npz").read_bytes()


def test_an_error_of_a_number_is_that_without_an_engine_and_nothing_is_written(tmp_path):
    path, out = str(tmp_path / "net.npz"), tmp_path / "out.safetensors"
    with pytest.warns(steelyard.errors.NonFiniteWarning):
        steelyard.save({"w": np.full((64, 64), np.nan, "f4")}, path)
    said = []
    for how in ({}, {"engine": Pickling()}):
        with pytest.raises(LossyError) as refused:
            steelyard.save(steelyard.quantize(path, "int8", axis=0, **how), out)
        said.append(str(refused.value))
    assert said[0] == said[1]
    assert not out.exists()


def test_a_file_that_changed_since_it_was_listed_is_refused(inputs, tmp_path):
    paths = [str(tmp_path / "net.npz"), inputs[0]]
    steelyard.save(steelyard.weights(inputs[1]), paths[0])
    made = steelyard.average(paths, engine=Pickling())
    steelyard.save(steelyard.weights(inputs[1]).select("a"), paths[0])
    with pytest.raises(steelyard.errors.FormatError, match="has changed since the work was given out"):
        steelyard.save(made, tmp_path / "out.npz")


@pytest.mark.parametrize(
    "call",
    [
        lambda how: steelyard.average([{"w": np.ones(2)}], **how),
        lambda how: steelyard.quantize({"w": np.ones((2, 2))}, "int8", axis=0, **how),
        lambda how: steelyard.effective({"w": np.ones(2)}, **how),
    ],
    ids=["average", "quantize", "effective"],
)
def test_a_live_source_and_an_unknown_engine_are_refused_at_the_call(call, inputs):
    with pytest.raises(ShapeError, match="in the memory of this process; pass its path, or leave out engine and workers"):
        call({"workers": 2})
    with pytest.raises(ShapeError, match="'spark' is not an engine"):
        steelyard.average(inputs, engine="spark")


@pytest.mark.parametrize("line", ["average {0} {1} --dry-run", "quantize {0} --to int8 --dry-run"])
def test_a_dry_run_has_nothing_for_workers(line, inputs, capsys):
    assert main([*line.format(*inputs).split(), "--workers", "2"]) == 2
    assert "leave out --engine" in capsys.readouterr().err


def test_results_wait_for_a_slow_task_in_bounded_number():
    given = []

    def slow_first(tasks):
        """Do all tasks that there are, and the first of them last."""
        held = None
        for place, task in enumerate(tasks):
            given.append(task)
            if task == 3:
                held = place
            else:
                yield place, task
        if held is not None:
            assert len(given) <= 3 + 5, "no more are given out than may wait"
            yield held, 3

    tasks = count()
    found = in_order(slow_first, tasks, 5)
    assert [next(found) for _ in range(12)] == list(range(12))
    assert next(tasks) <= 12 + 5


def test_a_failure_is_a_result_in_its_turn():
    failed = Failure("ValueError", "bad")
    assert list(in_order(lambda tasks: [(1, "b"), (0, failed)] if [*tasks] else [], "ab", 2)) == [failed, "b"]
