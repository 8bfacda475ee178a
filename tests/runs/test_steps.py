"""The steps of checkpoints are the numbers that frameworks write into names, and a name that could mean two is refused."""

import json

import numpy as np
import pytest
import torch
from runs.trained import train

import steelyard
from steelyard.errors import AmbiguityError, FormatError, ShapeError
from steelyard.runs import checkpoints
from steelyard.runs.steps import by_names


@pytest.mark.parametrize(
    ("names", "steps", "epochs", "origin"),
    [
        (["ckpt-2000.pt", "ckpt-1000.pt", "ckpt-10000.pt"], [1000, 2000, 10000], [None] * 3, "after 'ckpt' in the names"),
        (["epoch=1-step=20-v1.ckpt", "epoch=0-step=10.ckpt"], [10, 20], [0, 1], "after 'step=' in the names"),
        (["best-epoch=02-val_loss=0.32.ckpt", "best-epoch=10-val_loss=0.3.ckpt"], [2, 10], [2, 10], "after 'epoch='"),
        (["w.02-0.53.weights.h5", "w.10-0.31.weights.h5"], [2, 10], [None] * 2, "numbers in the names, such as 2 in"),
        (["v2/3/model.npz", "v2/20/model.npz"], [3, 20], [None] * 2, "in the names"),
        (["net7_step_5.pt", "net7_step_6.pt"], [5, 6], [None] * 2, "after 'step' in"),
        (["a/7.npz"], [7], [None], "such as 7 in '7.npz'"),
        (["net.npz"], [0], [None], "'net' has no number, and is step 0"),
    ],
)
def test_names_of_frameworks_tell_their_steps_in_natural_order(names, steps, epochs, origin):
    pile = by_names(names)
    assert [each.step for each in pile.checkpoints] == steps
    assert [each.epoch for each in pile.checkpoints] == epochs
    assert origin in pile.origin


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["a.pt", "b.pt"], "names such as 'a', 'b' are not alike"),
        (["run1-3.pt", "run2-4.pt"], "have more than one number"),
        (["a1.pt", "b2.pt"], "are not alike"),
        (["epoch=1-step=20.ckpt", "epoch=1-step=20-v1.ckpt"], "step 20 is in two names"),
        ([f"{'9' * 30}.pt"], "too large for a step"),
    ],
)
def test_a_name_that_does_not_tell_the_step_is_refused_with_a_remedy(names, what):
    with pytest.raises(AmbiguityError, match=what) as raised:
        by_names(names)
    assert "pass a mapping of steps to files" in str(raised.value)


def test_metrics_are_read_from_names_of_lightning():
    first, second = by_names(["e-epoch=2-val_loss=0.5.ckpt", "e-epoch=1-val_loss=1e-1.ckpt"]).checkpoints
    assert (first.metrics, second.metrics) == ({"val_loss": 0.1}, {"val_loss": 0.5})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    train(folder, steps=12, snapshot=1)
    return steelyard.history(folder)


def test_the_records_of_checkpoints_are_those_of_the_recorder_to_the_last_bit(run, monkeypatch):
    monkeypatch.setattr(checkpoints, "RUN", checkpoints.sketch.BLOCK)
    h = steelyard.history(run.path + "/w")
    assert h.steps == run.steps
    assert np.array_equal(h.run.stats, run.run.stats, equal_nan=True)
    assert np.array_equal(h.run.histograms[[0, 10]], run.run.histograms)
    assert np.allclose(h.distances(), run.distances(), rtol=0.01, atol=1e-4)
    assert h.compare(run).parted is None
    assert "steps are the numbers in the names, such as 0 in '00000000.safetensors'" in repr(h)


def test_weights_that_span_several_reads_are_measured_as_one(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    nets = {
        step: {"w": rng.standard_normal((3, checkpoints.sketch.BLOCK)), "n": np.arange(step + 5, step + 8)} for step in (1, 2)
    }
    whole = steelyard.history(nets)
    expected, sketches = np.array(whole.run.stats), whole.run.sketches()
    monkeypatch.setattr(checkpoints, "RUN", checkpoints.sketch.BLOCK)
    parts = steelyard.history(nets)
    assert np.allclose(parts.run.stats, expected, rtol=1e-12, equal_nan=True)
    assert np.allclose(parts.run.sketches(), sketches, rtol=1e-5)
    assert parts.updates()["w"][1] == pytest.approx(np.linalg.norm(nets[2]["w"] - nets[1]["w"]))


def test_nothing_is_read_before_a_record_is_asked_for_and_each_file_once(run, monkeypatch):
    paths = [run.run.snapshots()[step] for step in (2, 10, 4)]
    seen = []
    real = checkpoints.weights
    monkeypatch.setattr(checkpoints, "weights", lambda source: seen.append(source) or real(source))
    h = steelyard.history(paths)
    assert (h.steps, seen) == ([2, 4, 10], [])
    h.norms(), h.distances(), h.alarms()
    assert seen[1:] == [paths[0], paths[2], paths[1]]


def test_a_folder_of_transformers_has_the_losses_of_its_last_state(tmp_path):
    for step in (5, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
        steelyard.save({"w": np.full(4, float(step))}, tmp_path / f"checkpoint-{step}" / "model.safetensors")
    steelyard.save({"w": np.zeros(4)}, tmp_path / "model.safetensors")
    log = [
        {"step": 5, "epoch": 0.5, "loss": 2.0},
        {"step": 5, "eval_loss": 3.0, "note": "x"},
        {"step": 10, "epoch": 1.0, "loss": 1.0},
    ]
    (tmp_path / "checkpoint-10/trainer_state.json").write_text(json.dumps({"log_history": log}))
    h = steelyard.history(tmp_path)
    assert (h.steps, h.epochs, h.best("eval_loss")) == ([5, 10], [0.5, 1.0], 5)
    assert h.metrics["loss"].tolist() == [2.0, 1.0]
    assert h.origin.endswith("left out: model.safetensors")
    (tmp_path / "checkpoint-10/trainer_state.json").write_text('{"log_history": [7]}')
    assert steelyard.history(tmp_path).metrics == {}


def test_a_folder_of_lightning_leaves_out_the_last_one_and_says_so(tmp_path):
    for name in ("epoch=0-step=3", "epoch=1-step=6", "last"):
        torch.save({"state_dict": {"net.weight": torch.ones(2, 2)}, "epoch": 1}, tmp_path / f"{name}.ckpt")
    h = steelyard.history(tmp_path)
    assert (h.steps, h.epochs, h.names) == ([3, 6], [0.0, 1.0], ["net.weight"])
    assert "left out: last.ckpt" in h.origin


def test_checkpoints_of_other_weights_are_refused_by_their_step(tmp_path):
    nets = {1: {"a": np.ones(3)}, 2: {"a": np.ones(4)}}
    with pytest.raises(ShapeError, match=r"2 checkpoints, step 2: a is float64 \[4\], in the run float64 \[3\]"):
        steelyard.history(nets).norms()
    with pytest.raises(ShapeError, match="the model has a new weight b"):
        steelyard.history({1: {"a": np.ones(3)}, 2: {"a": np.ones(3), "b": np.ones(1)}}).norms()
    assert (
        steelyard.history({1: {"a": np.ones(3), "b": np.ones(1)}, 2: {"b": np.ones(1), "a": np.ones(3)}}).updates("all")["all"][1]
        == 0
    )
    with pytest.raises(ShapeError, match="without names have no steps"):
        steelyard.history([{"a": np.ones(3)}])
    with pytest.raises(ShapeError, match="keys of a mapping must be steps"):
        steelyard.history({"a": np.ones(3)})


def test_a_folder_of_a_search_names_one_of_its_runs(tmp_path):
    with steelyard.record(tmp_path / "fit-x") as rec:
        rec(1, {"w": np.ones(2)})
    with pytest.raises(FormatError, match="it holds runs, such as fit-x: pass one of them"):
        steelyard.history(tmp_path)


def test_checkpoints_without_a_weight_that_has_numbers_are_no_history():
    with pytest.raises(ShapeError, match=r"nothing to look back at: 2 checkpoints without a weight that has numbers"):
        steelyard.history({0: {}, 1: {"w": np.zeros(3)}}).norms()


def test_a_save_of_orbax_that_was_not_finished_is_left_out_and_named(tmp_path):
    for step in (1, 2):
        (tmp_path / str(step)).mkdir()
        steelyard.save({"w": np.full(2, float(step))}, tmp_path / str(step) / "model.safetensors")
    (tmp_path / "3.orbax-checkpoint-tmp").mkdir()
    h = steelyard.history(tmp_path)
    assert h.steps == [1, 2]
    assert h.origin.endswith("left out: 3.orbax-checkpoint-tmp")
