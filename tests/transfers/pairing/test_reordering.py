"""Flattened features are reordered where one net has the channels of images first and the other last, and nowhere else."""

import numpy as np
import pytest

from steelyard.core.graph import Graph, Layer
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.errors import AmbiguityError
from steelyard.transfers.pairing import Pair
from steelyard.transfers.pairing.net import Net
from steelyard.transfers.pairing.reordering import refuse_unclear, reorderings

KINDS = {"conv": "conv", "up": "conv transpose", "fc": "dense", "norm": "batch norm", "rnn": "rnn", "slope": "prelu"}


def net(channels, *layers, ordered=True):
    """Return a net of layers (name, canonical shape of the kernel or length of the vector), as a net with these channels has them."""
    weights, nodes = [], []
    for name, shape, *settings in layers:
        kind = KINDS[name.rstrip("0123456789")]
        role = {"batch norm": Role.SCALE, "prelu": Role.OTHER}.get(kind, Role.KERNEL)
        axes = {"conv": "out in kh kw", "conv transpose": "in out kh kw", "dense": "out in", "rnn": "out in"}.get(kind, "channel")
        weights.append(from_array(f"{name}.w", np.zeros(shape), role=role, axes=axes, layer=name))
        nodes.append(Layer(name, kind, kind, *settings))
    return Net(Weights(weights), Graph(nodes, is_execution_order=ordered, channels=channels))


def changes(*layers, channels=("first", "last"), ordered=(True, True), left_out=()):
    """Return the reorderings by the name of the layer."""
    source, target = (
        net(*each, ordered=known) for each, known in zip(((where, *layers) for where in channels), ordered, strict=True)
    )
    pairs = [Pair(a, b, "") for a, b in zip(source.layers, target.layers, strict=True) if a.name not in left_out]
    refuse_unclear(source, target, pairs)
    found = reorderings(source, target, pairs)
    return {
        layer.name: [(c.label, c.channels, c.to_last) for c in found[id(layer)]] for layer in target.layers if id(layer) in found
    }


CONV, FC = ("conv", (4, 3, 2, 2)), ("fc", (5, 24))


@pytest.mark.parametrize("to_last", [True, False])
def test_the_inputs_of_a_dense_layer_after_a_flattened_image(to_last):
    channels = ("first", "last") if to_last else ("last", "first")
    assert changes(CONV, FC, channels=channels) == {"fc": [("in", 4, to_last)]}
    assert changes(CONV, FC, channels=("first", "first")) == {}


def test_features_that_the_channels_do_not_divide_are_not_flattened_and_one_for_each_channel_needs_no_order():
    assert changes(CONV, ("fc", (5, 23))) == {}
    assert changes(CONV, ("fc", (5, 4))) == {}
    assert changes(("conv", (1, 3, 2, 2)), FC) == {}


def test_the_nearest_convolution_counts_and_other_layers_end_the_image():
    assert changes(("conv1", (6, 3, 2, 2)), ("conv2", (4, 6, 2, 2)), FC) == {"fc": [("in", 4, True)]}
    assert changes(CONV, ("fc1", (24, 24)), ("fc2", (5, 24))) == {"fc1": [("in", 4, True)]}
    assert changes(CONV, ("rnn", (24, 24)), FC) == {}
    assert changes(FC) == {}


def test_a_transposed_convolution_has_its_channels_in_its_second_axis_times_its_groups():
    assert changes(("up", (3, 4, 2, 2)), FC) == {"fc": [("in", 4, True)]}
    assert changes(("up", (4, 2, 2, 2), {"groups": 2}), FC) == {"fc": [("in", 4, True)]}
    assert changes(("conv", (4, 1, 2, 2), {"groups": 3}), FC) == {"fc": [("in", 4, True)]}


def test_vectors_between_the_flatten_and_the_dense_layer_are_reordered_too():
    assert changes(CONV, ("norm", (24,)), FC) == {"norm": [("channel", 4, True)], "fc": [("in", 4, True)]}
    assert changes(CONV, ("norm", (24,))) == {}
    assert changes(CONV, ("norm", (24,)), ("fc", (5, 12))) == {"fc": [("in", 4, True)]}
    assert changes(CONV, ("norm", (4,)), FC) == {"fc": [("in", 4, True)]}
    assert changes(CONV, ("norm", (24,)), ("slope", (24,)), FC).keys() == {"norm", "slope", "fc"}


def test_the_outputs_of_a_dense_layer_before_an_image():
    fc = ("fc", (24, 5))
    assert changes(fc, ("up", (4, 3, 2, 2))) == {"fc": [("out", 4, True), ("channel", 4, True)]}
    assert changes(fc, ("conv", (3, 4, 2, 2))) == {"fc": [("out", 4, True), ("channel", 4, True)]}
    assert changes(fc, ("norm", (24,)), ("conv", (3, 4, 2, 2))).keys() == {"fc"}
    assert changes(fc, ("conv", (4, 2, 2, 2), {"groups": 2})) == {"fc": [("out", 4, True), ("channel", 4, True)]}
    assert changes(fc, ("up", (4, 2, 2, 2), {"groups": 2})) == {"fc": [("out", 4, True), ("channel", 4, True)]}
    for shape in ((3, 1, 2, 2), (3, 24, 2, 2), (3, 7, 2, 2)):
        assert changes(fc, ("conv", shape)) == {}
    assert changes(fc, ("fc2", (3, 24)), ("conv", (3, 4, 2, 2))) == {}


def test_a_layer_that_is_left_out_is_still_between_the_others():
    assert changes(("conv1", (6, 3, 2, 2)), ("conv2", (4, 6, 2, 2)), FC, left_out=("conv2",)) == {"fc": [("in", 4, True)]}
    assert changes(CONV, ("fc1", (24, 24)), FC, left_out=("fc1",)) == {}


def test_an_order_that_is_known_in_neither_net_is_refused_where_it_matters():
    for ordered in ((True, False), (False, True)):
        assert changes(CONV, FC, ordered=ordered) == {"fc": [("in", 4, True)]}
    with pytest.raises(AmbiguityError, match="fc may follow a flattened image"):
        changes(CONV, FC, ordered=(False, False))
    assert changes(CONV, FC, ordered=(False, False), channels=("last", "last")) == {}
    assert changes(CONV, ordered=(False, False)) == {}
    assert changes(FC, ordered=(False, False)) == {}
