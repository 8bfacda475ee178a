"""Ids that are joined are one class, and a class that is fixed keeps its reason."""

import numpy as np

from steelyard.core.coupling import NEUTRAL, Axis, Couplings, even_counts


def test_joined_ids_go_together_on_every_axis():
    net = Couplings()
    kernel, bias = net.axis(Axis("fc.weight", 0), 4), net.axis(Axis("fc.bias", 0), 4)
    reader = net.axis(Axis("out.weight", 1), 8)
    net.join(kernel, bias)
    net.join(np.repeat(kernel, 2), reader)
    found = net.indices({int(net.roots(bias[1:2])[0])})
    assert {axis.weight: places.tolist() for axis, places in found.items()} == {
        "fc.weight": [1],
        "fc.bias": [1],
        "out.weight": [2, 3],
    }


def test_a_class_keeps_the_first_reason_when_it_grows():
    net = Couplings()
    ids = net.new(3)
    net.fix(ids[2:], "it is the input")
    net.join(ids[:1], ids[2:])
    assert [net.why_fixed(int(root)) for root in net.roots(ids)] == ["it is the input", None, "it is the input"]


def test_what_is_neutral_joins_nothing():
    net = Couplings()
    ids = net.new(2)
    net.join(ids, np.array([NEUTRAL, NEUTRAL]))
    assert net.common(np.array([[ids[0], NEUTRAL]]), (1,), "differ").tolist() == [[ids[0]]]
    assert net.why_fixed(int(ids[0])) is None
    net.common(ids[None], (1,), "differ")
    assert net.why_fixed(int(ids[0])) == "differ"


def test_groups_must_lose_equally_many():
    net = Couplings()
    ids = net.new(6)
    net.even.append(ids.reshape(2, 3))
    assert even_counts(net, [0, 5])
    assert not even_counts(net, [0, 1])
