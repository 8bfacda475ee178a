"""Weights of no known layer are partners by name and shape, or by the user's word."""

import numpy as np
import pytest

from steelyard.core.readers import from_array
from steelyard.core.weights import Weights
from steelyard.errors import AmbiguityError, ShapeError
from steelyard.transfers.pairing.net import Net
from steelyard.transfers.pairing.unassigned import unassigned_layers, unassigned_pairs


def net(trainable=True, **shapes):
    return Net(Weights(from_array(name, np.zeros(shape), trainable=trainable) for name, shape in shapes.items()), None)


def pairs(source, target, given=(), kept=lambda weight: True):
    return [(each.source.name, each.target.name, each.why) for each in unassigned_pairs(source, target, dict(given), kept)]


ALIKE = "equal names and shapes"


def test_equal_names_and_shapes_are_partners_whatever_the_separator():
    one, other = net(**{"a.token": (1, 4), "b.table": (2, 3)}), net(**{"b/table": (2, 3), "a/token": (1, 4)})
    assert pairs(one, other) == [("a.token", "a/token", ALIKE), ("b.table", "b/table", ALIKE)]
    for wrong in ({"a/token": (4, 1)}, {"token": (1, 4)}, {"a/token": (1, 5)}):
        with pytest.raises(ShapeError, match="belongs to no known layer"):
            pairs(net(**{"a.token": (1, 4)}), net(**wrong))


def test_a_weight_that_is_trained_needs_a_partner_and_any_other_does_not():
    with pytest.raises(ShapeError, match="token of the source belongs to no known layer"):
        pairs(net(token=(1, 4)), net())
    with pytest.raises(ShapeError, match="token of the target belongs to no known layer"):
        pairs(net(), net(token=(1, 4)))
    for trainable in (False, None):
        assert pairs(net(trainable, token=(1, 4)), net(trainable, mark=(1, 4))) == []


def test_a_shape_with_two_equal_lengths_may_be_transposed_and_is_refused_unless_it_is_named():
    for shape in ((3, 3), (3, 1, 3), (2, 3, 2)):
        with pytest.raises(AmbiguityError, match=r"table of shape .* may be transposed in table"):
            pairs(net(table=shape), net(table=shape))
        assert pairs(net(table=shape), net(table=shape), {"table": "table"}) == [("table", "table", "given")]
    for shape in ((1, 1, 3), (1, 1), (3,), (), (2, 3)):
        assert pairs(net(table=shape), net(table=shape)) == [("table", "table", ALIKE)]


def test_a_given_partner_overrides_equal_names_and_must_have_the_shape():
    one, other = net(a=(2, 3), b=(2, 3)), net(a=(2, 3), b=(2, 3))
    assert pairs(one, other, {"a": "b", "b": "a"}) == [("a", "b", "given"), ("b", "a", "given")]
    with pytest.raises(ShapeError, match=r"a of shape \[2, 3\] was named for b of shape \[3, 2\]"):
        pairs(net(a=(2, 3)), net(b=(3, 2)), {"a": "b"})
    with pytest.raises(ShapeError, match="a of the target"):
        pairs(net(a=(2, 3)), net(a=(2, 3), b=(2, 3)), {"a": "b"})


def test_what_is_left_out_is_no_partner_and_needs_none():
    one, other = net(a=(2, 3), b=(2, 3)), net(a=(2, 3))
    assert pairs(one, other, kept=lambda weight: weight.name != "b") == [("a", "a", ALIKE)]
    assert pairs(one, other, kept=lambda weight: False) == []


def test_tied_weights_follow_their_owner():
    one = net(a=(2, 3), b=(2, 3))
    one.unassigned[1].tied = "a"
    assert [layer.name for layer in unassigned_layers(one)] == ["a"]
    (layer,) = unassigned_layers(net(a=(2, 3)))
    assert layer.kind == "other"
    assert layer.parts["values", ""].is_whole
