"""Inputs on which two nets are run, given or random, in the layout of each."""

import numpy as np
import pytest

from steelyard.core.graph import Graph, Layer
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError
from steelyard.transfers.pairing.net import Net
from steelyard.transfers.probes import BATCH, IMAGE, LENGTH, inputs_of, spoken


def net(kind="dense", shape=(2, 3), axes="out in", channels="", inputs=None, **settings):
    role = Role.EMBEDDING if kind == "embedding" else Role.KERNEL
    weights = Weights([from_array("x.weight", np.zeros(shape), role=role, axes=axes)])
    return Net(weights, Graph([Layer("x", kind, "", settings)], channels=channels, is_execution_order=True, input_shapes=inputs))


def conv(channels, inputs=None, **settings):
    return net("conv", (4, 3, 2, 2), "out in kh kw", channels, inputs, **settings)


def shapes(probe, source, target):
    return [[each.shape for each in side] for side in inputs_of(probe, source, target)]


@pytest.mark.parametrize(
    ("one", "shape"),
    [
        (net(), (BATCH, 3)),
        (net("rnn", (2, 3)), (BATCH, LENGTH, 3)),
        (net("embedding", (5, 2), "vocab out"), (BATCH, LENGTH)),
        (conv("first"), (BATCH, 3, IMAGE, IMAGE)),
        (conv("last"), (BATCH, IMAGE, IMAGE, 3)),
        (conv("first", groups=2), (BATCH, 6, IMAGE, IMAGE)),
        (net("conv transpose", (4, 3, 2, 2), "in out kh kw", "first", groups=2), (BATCH, 4, IMAGE, IMAGE)),
        (net(inputs=((None, 3),)), (BATCH, LENGTH, 3)),
        (net(inputs=((8, 3),)), (BATCH, 8, 3)),
    ],
)
def test_random_inputs_have_the_shape_of_the_graph_or_the_one_that_the_first_layer_implies(one, shape):
    assert shapes("random", one, one) == [[shape], [shape]]
    first, second = inputs_of("random", one, one)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[0], inputs_of("random", one, one)[0][0]), "the same each time"


def test_indices_are_below_the_size_of_the_table():
    table = net("embedding", (5, 2), "vocab out")
    ((indices,), _) = inputs_of("random", table, table)
    assert indices.dtype.kind == "i"
    assert set(indices.reshape(-1).tolist()) == set(range(5))


def test_random_images_have_their_channels_where_each_net_expects_them():
    for source, target in ((conv("first"), conv("last")), (conv("last"), conv("first"))):
        ((mine,), (theirs,)) = inputs_of("random", source, target)
        assert mine.shape == ((BATCH, 3, IMAGE, IMAGE) if source.channels == "first" else (BATCH, IMAGE, IMAGE, 3))
        assert np.array_equal(theirs, np.moveaxis(mine, 1, -1) if target.channels == "last" else np.moveaxis(mine, -1, 1))


def test_the_net_that_knows_its_input_decides_whichever_end_it_is():
    known, unknown = conv("last", ((5, 4, 3),)), conv("first")
    assert shapes("random", known, unknown) == [[(BATCH, 5, 4, 3)], [(BATCH, 3, 5, 4)]]
    assert shapes("random", unknown, known) == [[(BATCH, 3, 5, 4)], [(BATCH, 5, 4, 3)]]


def test_without_a_known_shape_random_inputs_are_refused():
    bare = Net(Weights([from_array("x.weight", np.zeros((2, 3)), role=Role.KERNEL, axes="out in")]), None)
    with pytest.raises(ShapeError, match="the shape of the input is known in neither net"):
        inputs_of("random", bare, bare)
    with pytest.raises(ShapeError, match='pass inputs, "random" or None'):
        inputs_of("anything", net(), net())


def test_given_inputs_are_moved_only_where_both_nets_take_images():
    image, matrix = np.zeros((2, 3, 5, 4)), np.zeros((2, 3))
    assert shapes(image, conv("first"), conv("last")) == [[(2, 3, 5, 4)], [(2, 5, 4, 3)]]
    assert shapes(image, conv("first"), conv("first")) == [[(2, 3, 5, 4)]] * 2
    assert shapes([image, matrix], conv("first"), conv("last")) == [[(2, 3, 5, 4), (2, 3)], [(2, 5, 4, 3), (2, 3)]]
    assert shapes(image, net(channels="first"), net(channels="last")) == [[(2, 3, 5, 4)]] * 2
    assert shapes(image, conv("first"), net()) == [[(2, 3, 5, 4)]] * 2
    assert shapes(image, conv("first"), conv("last", ((3, 5, 4),))) == [[(2, 3, 5, 4)]] * 2, "the shape decides where it is known"
    assert shapes(image, conv("first"), conv("last", ((5, 4, 3),))) == [[(2, 3, 5, 4)], [(2, 5, 4, 3)]]


def test_inputs_for_both_ends_are_taken_as_they_are():
    assert shapes({"source": np.zeros((1, 2)), "into": [np.zeros((3, 4))]}, conv("first"), conv("last")) == [[(1, 2)], [(3, 4)]]
    assert spoken([(1, 2), (3,)]) == "[1, 2], [3]"
