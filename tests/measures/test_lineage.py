"""Lineage: distances, duplicates and a tree; a common origin only if independently trained nets would not look like it."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.cli import main
from steelyard.errors import ShapeError
from steelyard.measures.diff.entries import norm_of
from steelyard.measures.lineage import _lengths


@pytest.fixture(scope="module")
def data():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return torch.from_numpy((x / 16).astype("f4")), torch.from_numpy(y)


def mlp(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 10))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small nets train faster in one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(net, data, steps=60, rate=1e-2):
    net = copy.deepcopy(net)
    optimizer = torch.optim.Adam(net.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(data[0]), data[1]).backward()
        optimizer.step()
    return net


@pytest.fixture(scope="module")
def family(data):
    """A base, two tuned from it (one further than the other), and a net of its own."""
    base = train(mlp(0), data)
    near = train(base, data, 30, 1e-3)
    far = train(base, data, 60, 3e-3)
    return {"base": base, "near": near, "far": far, "copy": copy.deepcopy(base), "alien": train(mlp(9), data)}


def verdicts(found):
    return {frozenset((pair.a, pair.b)): pair.verdict for pair in found.pairs}


def test_related_nets_are_found_and_an_unrelated_one_is_not(family):
    found = steelyard.lineage(family)
    told = verdicts(found)
    for pair, verdict in told.items():
        wanted = "" if "alien" in pair else "same weights" if pair == {"base", "copy"} else "same origin"
        assert verdict == wanted, found
    assert found.duplicates == [["base", "copy"]]


def test_the_tree_joins_the_nearest_first(family):
    found = steelyard.lineage(family)
    assert found.tree[0] == "alien"
    assert found.tree[2] == pytest.approx(1, abs=0.15), "unrelated nets are one apart"
    text = repr(found)
    assert "alien" in text
    assert "\u2514" in text


def test_fifty_pairs_of_independently_trained_nets_get_no_verdict(data):
    nets = {str(seed): train(mlp(100 + seed), data, 30) for seed in range(11)}
    found = steelyard.lineage(nets)
    assert len(found.pairs) == 55
    assert [pair for pair in found.pairs if pair.verdict] == []
    assert all(0.0001 <= pair.p <= 1 for pair in found.pairs)


def test_the_p_value_is_uniform_over_unrelated_nets():
    """About a tenth of 60 unrelated pairs may have p <= 0.1, not half of them."""
    chance = np.random.default_rng(0)
    nets = [{"a.weight": chance.standard_normal((20, 30)), "b.weight": chance.standard_normal((5, 20))} for _ in range(120)]
    p = [steelyard.lineage({"a": one, "b": other}).pairs[0].p for one, other in zip(nets[::2], nets[1::2], strict=True)]
    assert 0.3 < np.mean(p) < 0.7
    assert sum(each <= 0.1 for each in p) <= 14


def test_a_constant_that_all_units_share_is_not_kinship():
    chance = np.random.default_rng(0)
    one, other = (
        {"a.weight": 5 + chance.standard_normal((40, 30)), "b.weight": chance.standard_normal((3, 40))} for _ in range(2)
    )
    pair = steelyard.lineage({"a": one, "b": other}).pairs[0]
    assert pair.verdict == ""
    assert pair.distance < 0.5, "though they are near each other"


def test_the_outputs_of_a_net_are_not_evidence():
    """All nets have the classes in the same order, so the last layer alone must not make two nets related."""
    chance = np.random.default_rng(0)
    shared = chance.standard_normal((10, 20))
    nets = {
        name: {"a.weight": chance.standard_normal((20, 30)), "b.weight": shared + 0.1 * chance.standard_normal((10, 20))}
        for name in "ab"
    }
    assert verdicts(steelyard.lineage(nets)) == {frozenset("ab"): ""}


def test_keras_nets_are_tested_along_their_own_axes():
    chance = np.random.default_rng(0)
    base = {"d1/kernel": chance.standard_normal((30, 20)), "d2/kernel": chance.standard_normal((20, 5))}
    kin = {name: value + 0.5 * chance.standard_normal(value.shape) for name, value in base.items()}
    pair = steelyard.lineage({"a": base, "b": kin}).pairs[0]
    assert (pair.verdict, pair.layer) == ("same origin", "d1/kernel")


def test_nets_without_a_testable_layer_get_no_verdict():
    pair = steelyard.lineage([{"w": np.ones((3, 3))}, {"w": np.zeros((3, 3))}]).pairs[0]
    assert (pair.p, pair.verdict) == (None, "")
    other = steelyard.lineage([{"w": np.ones(3)}, {"v": np.ones(4)}])
    assert other.pairs[0].distance is None
    assert repr(other)
    assert repr(steelyard.lineage([])) == "nothing to compare"
    with pytest.raises(ShapeError):
        steelyard.lineage(["x.npz", "x.npz"])


def test_the_command_takes_a_folder(family, tmp_path, capsys):
    for name, net in family.items():
        torch.save(net.state_dict(), tmp_path / f"{name}.pt")
    assert main(["lineage", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "same origin" in text
    assert main(["lineage", str(tmp_path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert len(record["pairs"]) == 10
    assert main(["lineage", str(tmp_path / "base.pt")]) == 2


def test_nets_without_corresponding_weights_have_no_tree_and_the_text_says_so():
    chance = np.random.default_rng(0)
    found = steelyard.lineage({"a": {"x": chance.random((3, 4))}, "b": {"y": chance.random((5, 6))}})
    assert (found.tree, found.apart) == (None, ["a", "b"])
    assert "no two of them have corresponding weights, so there is no tree" in repr(found)
    assert "no tree" in found._repr_html_()
    assert "\u2514" not in repr(found) + found._repr_html_()
    assert found.to_dict()["apart"] == ["a", "b"]


def test_a_net_that_corresponds_to_no_other_is_named_and_not_in_the_tree(family):
    found = steelyard.lineage({**family, "foreign": {"z": np.eye(7)}})
    assert found.apart == ["foreign"]
    assert found.tree == steelyard.lineage(family).tree
    assert "not in the tree, without corresponding weights in any other: foreign" in repr(found)


def test_two_unrelated_families_are_two_trees_without_a_distance_between_them():
    chance = np.random.default_rng(0)
    nets = {name: {key: chance.random((3, 4))} for name, key in (("a1", "x"), ("a2", "x"), ("b1", "y"), ("b2", "y"))}
    found = steelyard.lineage(nets)
    assert found.tree[2] is None
    lines = repr(found).split("\n\n")[1].splitlines()
    assert [line for line in lines if line[0].isdigit()] == [line for line in lines if "a" not in line and "b" not in line]
    assert sum(line[0].isdigit() for line in lines) == 2


def test_folds_of_one_net_under_other_names_are_compared():
    """As Keras names the layers of a second model: `dense`, then `dense_2`."""
    chance = np.random.default_rng(0)
    shapes = {"{}/kernel": (30, 20), "{}/bias": (20,), "{}x/kernel": (20, 5), "{}x/bias": (5,)}
    base = {name: chance.standard_normal(shape) for name, shape in shapes.items()}
    tuned = {name: value + 0.3 * chance.standard_normal(value.shape) for name, value in base.items()}
    one, other = (
        {name.format(word): value for name, value in net.items()} for word, net in (("dense", base), ("dense_2", tuned))
    )
    found = steelyard.lineage({"one": one, "other": other}).pairs[0]
    assert (found.common, found.verdict) == (4, "same origin")
    copied = steelyard.lineage({"one": one, "copy": {name.format("fc"): value.copy() for name, value in base.items()}})
    assert copied.duplicates == [["one", "copy"]]


def test_nets_that_share_one_weight_only_are_not_near_each_other():
    """A pair found by its numbers is equal by construction, so it must not become a distance of zero."""
    chance = np.random.default_rng(0)
    shared = chance.random((3, 4))
    found = steelyard.lineage({"a": {"x": shared, "x2": chance.random((5, 6))}, "b": {"y": shared.copy(), "y2": np.eye(3)}})
    assert found.tree is None


def test_names_within_a_wrapper_correspond_and_a_line_says_so():
    net = {"a.weight": np.arange(6.0).reshape(2, 3), "b.weight": np.arange(4.0).reshape(2, 2)}
    wrapped = {f"module.{name}": array for name, array in net.items()} | {"module.new.weight": np.ones((9, 9))}
    found = steelyard.lineage({"one": net, "two": wrapped})
    (pair,) = found.pairs
    assert (pair.common, pair.shared, pair.distance, pair.verdict) == (2, 2, 0.0, "")
    assert "one and two: names were paired without their prefix 'module.' on the right" in repr(found)
    assert pair.to_dict()["prefixes"]["right"]["prefix"] == "module."
    (twin,) = steelyard.lineage({"one": net, "two": {f"module.{name}": array for name, array in net.items()}}).pairs
    assert twin.verdict == "same weights"


def test_the_norms_of_many_small_weights_have_the_bits_of_each_alone():
    chance = np.random.default_rng(0)
    nets = {f"w{nth}": (chance.normal(size=(7, 65, 1030)[nth % 3]) * 10.0 ** (nth % 5 * -40)).astype("f8") for nth in range(120)}
    nets |= {name: np.where(np.arange(value.size) == 0, np.nan, value) for name, value in list(nets.items())[::13]}
    listed = list(steelyard.weights(nets).values())
    assert _lengths(listed) == {weight.name: norm_of(weight, 0, weight.size) for weight in listed}
