"""What a history says of a run is what the weights of each step say."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from runs.trained import train

import steelyard
from steelyard.errors import AmbiguityError, FileMissingError, FormatError, ShapeError, WeightNotFoundError
from steelyard.text.histories import history_text

STATE = ("1.running_mean", "1.running_var", "1.num_batches_tracked")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    return folder, *train(folder, snapshot=1)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "b"
    train(folder, broken_at=30, snapshot=20)
    return steelyard.history(folder)


def vector(weights):
    return torch.cat([tensor.double().flatten() for name, tensor in weights.items() if name != STATE[2]]).numpy()


def test_norms_updates_and_ratios_are_those_of_the_weights_of_each_step(run):
    h, kept = steelyard.history(run[0]), run[2]
    for name in h.names:
        norms = [each[name].double().norm().item() for each in kept]
        moves = [(b[name].double() - a[name].double()).norm().item() for a, b in pairwise(kept)]
        assert np.allclose(h.norms()[name], norms, rtol=1e-6)
        assert np.allclose(h.updates()[name][1:], moves, rtol=1e-4)
        assert np.allclose(h.ratios()[name][1:], np.divide(moves, norms[:-1]), rtol=1e-4)
        assert np.isnan(h.ratios()[name][0])
    layer = [torch.cat([each["3.weight"].flatten(), each["3.bias"]]).double().norm().item() for each in kept]
    assert np.allclose(h.norms("layer")["3"], layer, rtol=1e-6)
    parameters = [vector({name: tensor for name, tensor in each.items() if name not in STATE}) for each in kept]
    assert np.allclose(h.norms("all")["all"], [np.linalg.norm(each) for each in parameters], rtol=1e-6)


def test_distances_and_components_of_the_sketch_are_nearly_the_true_ones(run):
    h, true = steelyard.history(run[0]), np.array([vector(each) for each in run[2]])
    apart = np.sqrt(np.square(true[:, None] - true[None]).sum(axis=2))
    found, upper = h.distances(), np.triu_indices(len(true), 1)
    assert np.corrcoef(found[upper], apart[upper])[0, 1] > 0.99
    assert np.allclose(h.distances(to=7), found[:, 7])
    left, values, _ = np.linalg.svd(true - true.mean(axis=0), full_matrices=False)
    path = h.pca(2)
    for nth in range(2):
        assert abs(np.corrcoef(path.points[:, nth], left[:, nth])[0, 1]) > 0.99
    assert np.allclose(path.shares, np.square(values[:2]) / np.square(values).sum(), atol=0.03)


def test_quantiles_and_ridges_are_those_of_stats_and_have_an_area_of_one(run):
    h = steelyard.history(run[0])
    ridge, curve = h.ridgeline("0.weight"), h.curve("median")
    assert ridge.steps == curve.steps == [0, 10, 20, 30, 40, 50]
    expected = steelyard.stats(h.at(20))["0.weight"]
    assert curve["0.weight"][2] == expected.quantile(0.5)
    counts, edges = expected.histogram(128)
    assert ridge.counts[2].tolist() == counts.tolist()
    assert np.allclose(ridge.edges[2], edges)
    assert np.allclose((ridge.density() * np.diff(ridge.edges, axis=1)).sum(axis=1), 1)


def test_nan_is_found_with_its_step_and_place_and_no_update_is_made_of_it(broken):
    first, *later = broken.nonfinite()
    assert (first.weight, first.step, first.place, first.nan, first.inf) == ("3.weight", 30, (2, 5), 1, 0)
    assert {row.step for row in later} == {31, 32}
    assert broken.alarms()[0] == "NaN since step 30: 3.weight[2, 5]; 7 more later"
    assert np.isnan(broken.updates()["3.weight"][30:]).all()
    assert np.isfinite(broken.updates()["3.weight"][1:30]).all()
    assert broken.frozen() == []
    path = broken.pca()
    assert np.isfinite(path.points[:30]).all()
    assert np.isnan(path.points[30:]).all()
    assert "NaN since step 30" in history_text(broken)


def test_blame_names_the_weight_that_moved_most_and_leaves_out_what_no_optimizer_moves(run):
    h = steelyard.history(run[0])
    rows = h.blame()
    assert not {row.weight for row in rows} & set(STATE)
    assert rows[0].share == max(row.share for row in rows)
    assert sum(row.share for row in rows) == pytest.approx(1)
    updates = h.updates()["0.weight"]
    row = next(row for row in h.blame(since=10, until=20) if row.weight == "0.weight")
    assert row.path == pytest.approx(updates[11:21].sum())
    assert row.at == 11 + updates[11:21].argmax()


def test_a_jump_and_a_frozen_weight_are_alarms(tmp_path):
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal(50), np.ones(9), np.ones(3)
    with steelyard.record(tmp_path) as rec:
        for step in range(40):
            a = a + rng.standard_normal(50) / 1000
            c = c + (1.0 if step == 25 else 1e-4)
            rec(step, {"a": a, "b": b, "c": c})
    h = steelyard.history(tmp_path)
    jump = h.jumps(1)[0]
    assert (jump.step, jump.weight) == (25, "c")
    assert jump.factor == pytest.approx(3**0.5 / h.updates("all")["all"][26:30].mean(), rel=0.1)
    assert h.frozen() == ["b"]
    assert [line.split(":")[0].split(" moved")[0] for line in h.alarms()] == ["step 25", "frozen in the last 10 records"]


def test_the_best_step_goes_back_into_the_model_bit_for_bit(run):
    h, net, kept = steelyard.history(run[0]), run[1], run[2]
    losses = h.metrics["loss"]
    best = h.best("loss")
    assert losses[h.steps.index(best)] == losses.min()
    assert h.best("max:loss") == h.steps[int(losses.argmax())]
    after = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert h.restore(net, best) is net
    assert all(torch.equal(tensor, kept[best][name]) for name, tensor in net.state_dict().items())
    net.load_state_dict(after)


def test_the_average_of_steps_is_that_of_torch(run):
    h, net, kept = steelyard.history(run[0]), run[1], run[2]
    averaged = torch.optim.swa_utils.AveragedModel(net)
    for step in (40, 50, 59):
        net.load_state_dict(kept[step])
        averaged.update_parameters(net)
    found = h.average([40, 50, 59])
    for name, parameter in averaged.module.named_parameters():
        assert np.allclose(found[name].numpy(), parameter.detach().numpy(), atol=1e-7)
    assert found["1.running_mean"].numpy().tolist() == kept[59]["1.running_mean"].tolist()


def test_directions_have_the_norm_of_each_filter_and_leave_biases_and_norms(run):
    h = steelyard.history(run[0])
    w = h.at(59)
    one, other = h.directions(59)
    for name in ("0.weight", "3.weight"):
        assert np.allclose(np.linalg.norm(one[name].numpy(), axis=1), np.linalg.norm(w[name].numpy(), axis=1), rtol=1e-4)
        assert not np.array_equal(one[name].numpy(), other[name].numpy())
    assert not any(one[name].numpy().any() for name in w if name not in ("0.weight", "3.weight"))
    assert np.array_equal(h.directions(59)[1].to_vector(dtype="f8"), other.to_vector(dtype="f8"))
    moved = w.select(role="kernel") + 0.5 * one.select(role="kernel")
    assert np.allclose(moved["3.weight"].numpy(), w["3.weight"].numpy() + 0.5 * one["3.weight"].numpy())


def test_dead_and_frozen_units_are_found_between_two_snapshots(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.BatchNorm1d(6))
    with steelyard.record(tmp_path, snapshot=1) as rec:
        rec(0, net)
        with torch.no_grad():
            net[0].weight[[0, 1, 2, 4, 5]] += 1
            net[0].weight[4] = 0
            net[1].weight[1] = 1e-9
        rec(1, net)
    h = steelyard.history(tmp_path)
    found = {(row.weight, row.unit): row.verdict for row in h.units()}
    assert found == {("0.weight", 3): "frozen", ("0.weight", 4): "dead", ("1.weight", 1): "dead"} | {
        ("1.weight", unit): "frozen" for unit in (0, 2, 3, 4, 5)
    }
    assert h.at(1)["0.weight"].axes == "out in"  # which the file alone does not say


def test_two_runs_of_one_seed_part_where_one_of_them_breaks(run, broken, tmp_path):
    h = steelyard.history(run[0])
    found = h.compare(broken)
    assert (found.same_start, found.parted, found.first) == (True, 30, ["3.weight"])
    assert found.distances[:30].tolist() == [0.0] * 30
    assert np.isnan(found.distances[30:]).all()
    _, kept = train(tmp_path / "c", seed=1, steps=20)
    other = h.compare(tmp_path / "c")
    assert not other.same_start
    true = np.linalg.norm(vector(run[2][19]) - vector(kept[-1]))
    assert other.distances[19] == pytest.approx(true, rel=0.1)
    assert "different weights" in repr(other)
    assert h.compare(h).parted is None


def test_records_are_a_row_for_each_step_and_weight(run, tmp_path):
    h = steelyard.history(run[0])
    records = h.to_records()
    assert len(records) == 60 * len(h.names)
    row = records[21 * len(h.names)]
    expected = steelyard.stats(h.at(21))["0.weight"]
    assert (row["step"], row["weight"], row["mean"], row["zeros"]) == (21, "0.weight", expected.mean, expected.zeros)
    assert row["metric loss"] == h.metrics["loss"][21]
    h.write(str(tmp_path / "t.csv"))
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + len(records)
    assert h.norms().to_frame("polars").shape == (60 * len(h.names), 3)


def test_what_is_not_there_is_refused_by_one_line(run, tmp_path):
    h = steelyard.history(run[0])
    with pytest.raises(ShapeError, match=r"has no snapshot of step 1,000; there are those of 57, 58, 59 and 57 others"):
        h.at(1000)
    with pytest.raises(WeightNotFoundError, match=r"no weight is called .0\.weigth.; did you mean .0\.weight."):
        h.norms()["0.weigth"]
    with pytest.raises(AmbiguityError, match=r'is val_acc better when it is greater\? write best\("max:val_acc"\)'):
        h.best("val_acc")
    with pytest.raises(WeightNotFoundError, match="no metric is called 'val_loss'"):
        h.best("val_loss")
    with pytest.raises(ShapeError, match=r'by="weight" alone'):
        h.curve("mean", "layer")
    with pytest.raises(FileMissingError, match="neither a folder of a run nor one of checkpoints"):
        steelyard.history(tmp_path / "none")
    with pytest.raises(FormatError, match="holds no recorded run, and no checkpoints with a number"):
        steelyard.history(tmp_path)
    with steelyard.record(tmp_path / "empty"):
        pass
    with pytest.raises(FileMissingError, match="no recorded run"):
        steelyard.history(tmp_path / "empty")
