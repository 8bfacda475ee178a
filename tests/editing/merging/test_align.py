"""`align` undoes a permutation of hidden units across names and layouts, and keeps the net."""

import numpy as np
import pytest

import steelyard
from steelyard.errors import ShapeError


def dense(seed=0):
    chance = np.random.default_rng(seed)
    return {
        "0.weight": chance.random((6, 4)),
        "0.bias": chance.random(6),
        "2.weight": chance.random((3, 6)),
        "2.bias": chance.random(3),
    }


ORDER = np.array([3, 1, 5, 0, 2, 4])


def moved(net):
    return {**net, "0.weight": net["0.weight"][ORDER], "0.bias": net["0.bias"][ORDER], "2.weight": net["2.weight"][:, ORDER]}


def equal(one, other):
    return [*one] == [*other] and all(np.array_equal(one[name], other[name]) for name in one)


def test_a_permuted_copy_is_aligned_bit_for_bit():
    net = dense()
    made = steelyard.align(moved(net), to=net)
    assert equal(made, net)
    assert any("chain" in note for note in made.meta["notes"])
    assert equal(steelyard.merge(net, made), net)
    assert equal(steelyard.align(moved(net), to=net, permute=False), moved(net))


def test_a_net_of_other_names_and_another_layout_gets_those_of_the_first():
    net = dense()
    other = moved(net)
    twin = {"a.kernel": other["0.weight"].T.copy(), "a.bias": other["0.bias"]}
    twin |= {"b.kernel": other["2.weight"].T.copy(), "b.bias": other["2.bias"]}
    assert equal(
        steelyard.align(steelyard.Weights.from_arrays(twin, axes=dict.fromkeys(("a.kernel", "b.kernel"), "in out")), to=net), net
    )


def test_a_weight_without_a_partner_is_named():
    net = dense()
    with pytest.raises(ShapeError, match=r"no partner: .*extra"):
        steelyard.align({**net, "extra": np.ones(7)}, to=net)
