"""A recorder copies the weights of a model, and its records are what the measures of Steelyard find in a snapshot."""

import errno
import json
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import steelyard
from steelyard.errors import AmbiguityError, FileMissingError, RecordingWarning, ShapeError, UnreadableError
from steelyard.numerics.weight_stats import FIGURES, QUANTILES
from steelyard.runs import working
from steelyard.runs.store import open_run


def net_of(kind=torch.float32):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7), torch.nn.Linear(7, 3)).to(kind)


def changed(net, step):
    with torch.no_grad():
        for nth, parameter in enumerate(net.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 * step + nth))
            parameter.add_(noise.to(parameter) / 10)


def arrays(step, size=2000):
    rng = np.random.default_rng(step)
    return {"a": rng.standard_normal((4, size)).astype("f4"), "b": {"count": np.int64(step), "c": rng.standard_normal(7)}}


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_the_statistics_of_a_record_are_those_of_its_snapshot_to_the_last_bit(tmp_path, kind):
    net = net_of(kind)
    with steelyard.record(tmp_path, snapshot=1) as rec:
        for step in range(12):
            changed(net, step)
            rec(step, net)
    run = open_run(tmp_path)
    assert run.names == list(net.state_dict())
    for at, path in enumerate(run.snapshots().values()):
        found = steelyard.stats(path)
        assert [row.name for row in found] == run.names
        expected = [[getattr(row, figure) for figure in FIGURES] for row in found]
        assert np.array_equal(run.stats[at, :, : len(FIGURES)], np.array(expected, float))
        if at % 10 == 0:
            held = run.histograms[at // 10]
            assert held["quantiles"].tolist() == [[row.quantile(share) for share in QUANTILES] for row in found]
            assert held["counts"].tolist() == [row.histogram(128)[0].tolist() for row in found]
    assert len(run.histograms) == 2


def test_a_snapshot_is_the_file_that_save_writes(tmp_path):
    net = net_of()
    net[2].weight = net[0].weight
    with steelyard.record(tmp_path / "run", snapshot=1) as rec:
        rec(3, net)
    steelyard.save(net, tmp_path / "net.safetensors")
    assert (tmp_path / "run/w/00000003.safetensors").read_bytes() == (tmp_path / "net.safetensors").read_bytes()
    assert len(open_run(tmp_path / "run").names) == len(net.state_dict()) - 1
    assert open_run(tmp_path / "run").layout.weights[-2].tied == "0.weight"


def test_a_snapshot_may_be_cast(tmp_path):
    with steelyard.record(tmp_path, snapshot=1, dtype="bfloat16") as rec:
        rec(1, net_of())
    written = steelyard.weights(open_run(tmp_path).snapshots()[1])
    assert {weight.dtype for weight in written.values()} == {"bfloat16", "int64"}


def test_update_is_the_distance_to_the_previous_record(tmp_path):
    with steelyard.record(tmp_path, every=2) as rec:
        for step in range(7):
            rec(step, arrays(step))
    run = open_run(tmp_path)
    assert run.steps == [0, 2, 4, 6]
    assert np.isnan(run.column("update")[0]).all()
    for at, step in enumerate(run.steps[1:], 1):
        true = [np.linalg.norm(arrays(step)[key] - arrays(step - 2)[key]) for key in ("a",)]
        assert run.column("update")[at, 0] == pytest.approx(true[0], rel=1e-5)
        assert run.column("update")[at, 1] == 2
    assert run.names == ["a", "b.count", "b.c"]


def test_tiny_updates_are_not_taken_for_none(tmp_path):
    with steelyard.record(tmp_path) as rec:
        for step in range(2):
            rec(step, {"w": np.full(9, step * 1e-30, np.float32)})
    assert open_run(tmp_path).column("update")[1, 0] == pytest.approx(3e-30)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_recorded_with_its_place_and_does_not_spoil_distances(tmp_path, bad):
    one, two = np.ones(6, np.float32), np.array([1, 1, bad, 1, 2, bad], np.float32)
    with steelyard.record(tmp_path) as rec:
        for step, now in enumerate([one, two, one]):
            rec(step, {"w": now})
    run = open_run(tmp_path)
    assert run.column("nan")[:, 0].tolist() == ([0, 2, 0] if bad != np.inf else [0, 0, 0])
    assert np.array_equal(run.column("first_nonfinite")[:, 0], [np.nan, 2, np.nan], equal_nan=True)
    assert run.column("update")[1:, 0].tolist() == [pytest.approx(3**0.5)] * 2
    assert np.isfinite(run.sketches()).all()


def test_complex_numbers_and_empty_and_single_ones_are_recorded(tmp_path):
    held = {"z": np.array([3 + 4j, 0]), "none": np.zeros((0, 3)), "one": np.float32(2), "flag": np.array([True])}
    with steelyard.record(tmp_path) as rec:
        rec(0, held)
        rec(1, held | {"z": np.array([0, 0j])})
    run = open_run(tmp_path)
    assert run.column("count")[0].tolist() == [2, 0, 1, 1]
    assert run.column("update")[1].tolist() == [5, 0, 0, 0]


def test_two_hundred_steps_of_a_usual_net_take_less_than_a_megabyte(tmp_path):
    net = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(4)))
    with steelyard.record(tmp_path) as rec:
        for step in range(200):
            rec(step, net, epoch=step // 10, metrics={"train_loss": 1 / (step + 1), "val_loss": 0.123456789})
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < 1e6


def test_a_recorder_that_is_slow_is_waited_for_and_nothing_is_dropped(tmp_path, monkeypatch):
    held, measured = threading.Event(), working.Worker._record
    monkeypatch.setattr(working.Worker, "_record", lambda worker, job: (held.wait(), measured(worker, job))[1])
    with steelyard.record(tmp_path) as rec:
        caller = threading.Thread(target=lambda: [rec(step, arrays(step)) for step in range(9)])
        caller.start()
        caller.join(0.2)
        assert caller.is_alive()
        assert rec._worker._made == 4
        held.set()
        caller.join()
    run = open_run(tmp_path)
    assert run.steps == list(range(9))
    assert run.column("mean")[:, 0].tolist() == [steelyard.stats(arrays(step))["a"].mean for step in range(9)]


def test_a_copy_is_of_the_moment_of_the_call(tmp_path):
    net = torch.nn.Linear(300, 300)
    with steelyard.record(tmp_path) as rec:
        for step in range(20):
            torch.nn.init.constant_(net.weight, step)
            rec(step, net)
    assert open_run(tmp_path).column("max")[:, 0].tolist() == list(range(20))


def test_parameters_that_move_and_layers_that_are_replaced_by_equal_ones_are_followed(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with steelyard.record(tmp_path) as rec:
        rec(0, net)
        net[0].weight.data = torch.full((2, 2), 5.0)
        rec(1, net)
        net[0] = torch.nn.Linear(2, 2)
        torch.nn.init.constant_(net[0].weight, 7.0)
        rec(2, net)
    assert open_run(tmp_path).column("max")[1:, 0].tolist() == [5, 7]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"w": np.ones(3), "v": np.ones(2)}, "the model has a new weight v"),
        ({}, "the model lacks w"),
        ({"w": np.ones(4)}, "w is float64 [4], in the run float64 [3]"),
        ({"w": np.ones(3, "f4")}, "w is float32 [3], in the run float64 [3]"),
    ],
)
def test_a_model_with_other_weights_is_refused(tmp_path, other, words):
    with steelyard.record(tmp_path) as rec:
        rec(0, {"w": np.ones(3)})
        with pytest.raises(ShapeError) as refused:
            rec(1, other)
        rec(2, {"w": np.ones(3)})
    assert words in str(refused.value)
    assert open_run(tmp_path).steps == [0, 2]


def test_a_net_that_grew_in_place_is_noticed(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with steelyard.record(tmp_path) as rec:
        rec(0, net)
        net.append(torch.nn.Linear(2, 2))
        with pytest.raises(ShapeError, match=r"new weight 1\.weight"):
            [rec(step, net) for step in range(1, 70)]


def test_weights_that_cannot_be_read_are_refused_by_name(tmp_path):
    with steelyard.record(tmp_path) as rec, pytest.raises(UnreadableError, match="weight"):
        rec(0, torch.nn.Linear(2, 2, device="meta"))


def test_steps_must_ascend_and_back_to_drops_the_later_ones(tmp_path):
    with steelyard.record(tmp_path, snapshot=1) as rec:
        for step in range(5):
            rec(step, arrays(step))
        with pytest.raises(ShapeError, match=r"step 3 is not after step 4; .*back_to=2\)"):
            rec(3, arrays(3))
    with steelyard.record(tmp_path, back_to=2) as rec:
        assert rec.next_step == 3
        rec(3, arrays(30))
    run = open_run(tmp_path)
    assert run.steps == [0, 1, 2, 3]
    assert sorted(run.snapshots()) == [0, 1, 2]
    assert run.column("mean")[3, 0] == steelyard.stats(arrays(30))["a"].mean
    assert np.isnan(run.column("update")[3]).all()


def test_an_error_of_the_thread_is_raised_by_the_next_call_or_by_close(tmp_path, monkeypatch):
    monkeypatch.setattr(working.Worker, "_record", lambda *_: 1 / 0)
    rec = steelyard.record(tmp_path)
    rec(0, arrays(0))
    with pytest.raises(ZeroDivisionError):
        rec.close()
    rec.close()
    with pytest.raises(ShapeError, match="is closed"):
        rec(1, arrays(1))


def fails(folder):
    with steelyard.record(folder) as rec:
        rec(0, arrays(0))
        raise KeyError("mine")


def test_an_error_of_the_training_is_raised_although_the_recorder_failed_too(tmp_path, monkeypatch):
    monkeypatch.setattr(working.Worker, "_record", lambda *_: 1 / 0)
    with pytest.raises(KeyError, match="mine") as raised:
        fails(tmp_path)
    assert "the recorder of" in raised.value.__notes__[0]


def test_on_a_full_disk_training_goes_on_with_one_warning_and_nothing_is_torn(tmp_path, monkeypatch):
    write, left = os.write, [30_000]

    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, content):
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken = min(left[0], len(content))
            left[0] -= taken
            return self.file.write(content[:taken])

    from steelyard.runs.appending import Appender

    opened = Appender._opened
    monkeypatch.setattr(Appender, "_opened", lambda self, name: Full(opened(self, name)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with steelyard.record(tmp_path) as rec:
            for step in range(60):
                rec(step, arrays(step))
    monkeypatch.undo()
    assert [each.category for each in caught] == [RecordingWarning]
    assert "No space left on device; recording stopped after step" in str(caught[0].message)
    assert caught[0].filename == __file__
    run = open_run(tmp_path)
    assert run.steps == list(range(len(run)))
    assert 5 < len(run) < 30
    assert (tmp_path / "stats.f64").stat().st_size == len(run) * run.layout.stats_bytes
    with steelyard.record(tmp_path) as rec:
        rec(60, arrays(60))
    assert open_run(tmp_path).steps == [*run.steps, 60]
    assert write is os.write


def test_only_one_recorder_at_a_time_writes_into_a_folder_and_a_reader_may_look(tmp_path):
    with steelyard.record(tmp_path) as rec:
        rec(0, arrays(0))
        with pytest.raises(ShapeError, match="is being recorded by another recorder"):
            steelyard.record(tmp_path)
    assert open_run(tmp_path).steps == [0]
    steelyard.record(tmp_path).close()


def test_a_fork_neither_records_nor_holds_the_lock(tmp_path):
    rec = steelyard.record(tmp_path)
    rec(0, arrays(0))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            rec(1, arrays(1))
        except ShapeError as error:
            os.write(writing, str(error).encode())
        os.read(reading, 0)
        os._exit(0)
    os.waitpid(child, 0)
    assert b"is a fork" in os.read(reading, 1000)
    rec(1, arrays(1))
    rec.close()
    assert open_run(tmp_path).steps == [0, 1]


def test_the_lock_and_the_records_do_not_outlive_a_recorder_that_is_let_go(tmp_path):
    steelyard.record(tmp_path)(0, arrays(0))
    with steelyard.record(tmp_path) as rec:
        rec(1, arrays(1))
    assert open_run(tmp_path).steps == [0, 1]


def test_snapshots_follow_their_rule(tmp_path):
    def kept(rule, rows, name):
        with steelyard.record(tmp_path / name, snapshot=rule) as rec:
            for step, (epoch, loss) in enumerate(rows):
                rec(step, {"w": np.ones(2)}, epoch=epoch, metrics={} if loss is None else {"loss": loss})
        return sorted(open_run(tmp_path / name).snapshots())

    rows = [(0, 5.0), (0, None), (1, float("nan")), (1, 4.0), (2, 4.5), (2, 4.0)]
    assert kept(None, rows, "none") == []
    assert kept(3, rows, "third") == [0, 3]
    assert kept("epoch", rows, "epoch") == [0, 2, 4]
    assert kept("best:loss", rows, "least") == [3]
    assert kept("best:max:loss", rows, "greatest") == [0]
    assert os.listdir(tmp_path / "least/w") == ["00000003.safetensors"]


def test_the_best_snapshot_is_still_the_best_one_after_a_restart(tmp_path):
    for losses in ([(0, 3.0), (1, 2.0)], [(2, 2.5), (3, 1.0), (4, 9.0)]):
        with steelyard.record(tmp_path, snapshot="best:loss") as rec:
            for step, loss in losses:
                rec(step, {"w": np.ones(2)}, metrics={"loss": loss})
        assert len(os.listdir(tmp_path / "w")) == 1
    assert sorted(open_run(tmp_path).snapshots()) == [3]


@pytest.mark.parametrize("rule", ["best", "best:", "epochs", 0, -1, True])
def test_an_unknown_rule_for_snapshots_is_refused(tmp_path, rule):
    with pytest.raises(ShapeError, match="snapshot is"):
        steelyard.record(tmp_path, snapshot=rule)


def test_a_metric_that_may_be_better_either_way_is_asked_about_and_an_epoch_that_is_missing(tmp_path):
    with pytest.raises(AmbiguityError, match="best:max:val_acc"):
        steelyard.record(tmp_path, snapshot="best:val_acc")
    with steelyard.record(tmp_path, snapshot="epoch") as rec, pytest.raises(ShapeError, match="needs the epoch"):
        rec(0, arrays(0))


def test_metrics_may_be_tensors_and_not_finite(tmp_path):
    with steelyard.record(tmp_path) as rec:
        rec(0, arrays(0), epoch=1, metrics={"loss": torch.tensor(0.5, requires_grad=True), "bad": float("nan"), "far": -np.inf})
    run = open_run(tmp_path)
    assert run.rows[0].epoch == 1
    assert run.metric("loss").tolist() == [0.5]
    assert np.isnan(run.metric("bad")[0])
    assert run.metric("far").tolist() == [-np.inf]
    json.loads((tmp_path / "journal.jsonl").read_text(), parse_constant=pytest.fail)


def test_a_folder_with_other_files_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ShapeError, match=r"holds other files, such as thesis\.tex"):
        steelyard.record(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_folder_of_which_a_killed_recorder_wrote_no_layout_is_still_its_own(tmp_path):
    steelyard.record(tmp_path).close()
    (tmp_path / ".run.json.0123456789abcdef.tmp").write_text("{")
    with steelyard.record(tmp_path) as rec:
        rec(0, arrays(0))
    assert open_run(tmp_path).steps == [0]
    assert not list(tmp_path.glob("*.tmp"))


def test_nothing_is_left_of_a_recorder_that_recorded_nothing(tmp_path):
    steelyard.record(tmp_path / "a").close()
    with pytest.raises(FileMissingError):
        open_run(tmp_path / "a")
    assert not [path for path in Path(tmp_path / "a").rglob("*") if path.stat().st_size and path.is_file()]
