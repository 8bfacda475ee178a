"""An image is flattened in the order of its channels, unless a layer permutes its axes first."""

import numpy as np
import pytest

from steelyard.core.graph import Graph, Layer
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.errors import AmbiguityError
from steelyard.transfers.pairing import Pair
from steelyard.transfers.pairing.flatten_order import ends_last
from steelyard.transfers.pairing.net import Net


def net(where, kind="reshape", **settings):
    """Return a convolution, a layer that may permute axes, and a dense layer; and the same in the other order."""
    shapes = {"conv": ((4, 3, 2, 2), "out in kh kw"), "fc": ((5, 24), "out in")}
    weights = [from_array(f"{name}.w", np.zeros(shape), role=Role.KERNEL, axes=axes) for name, (shape, axes) in shapes.items()]
    layers = [
        Layer("conv", "conv", inputs=()),
        Layer("act", "activation", inputs=("conv",)),
        Layer("moved", kind, "", settings, inputs=("act",)),
        Layer("fc", "dense", inputs=("moved",)),
    ]
    return Net(Weights(weights), Graph(layers, channels=where, is_execution_order=True))


def moved(source, target):
    (mine,), (theirs,) = ([layer for layer in each.layers if layer.name == "fc"] for each in (source, target))
    return ends_last(source, target, Pair(mine, theirs, ""), behind=False)


FIRST_TO_LAST, LAST_TO_FIRST, AS_IT_IS, ODD = (2, 3, 1), (3, 1, 2), (1, 2, 3), (1, 3, 2)


@pytest.mark.parametrize(
    ("source", "target", "to_last"),
    [
        (net("first"), net("last"), True),
        (net("last"), net("first"), False),
        (net("first"), net("first"), None),
        (net("first", axes=AS_IT_IS), net("last", axes=AS_IT_IS), True),
        (net("first"), net("last", axes=LAST_TO_FIRST), None),
        (net("first", axes=FIRST_TO_LAST), net("last"), None),
        (net("first", axes=FIRST_TO_LAST), net("last", axes=LAST_TO_FIRST), False),
        (net("first", "flatten", axes=FIRST_TO_LAST), net("last"), None),
        (net("first", "pool", axes=FIRST_TO_LAST), net("last"), True),
        (net("first", channels="last"), net("last"), None),
        (net("first", axes=ODD), net("first", axes=ODD), None),
    ],
)
def test_the_channels_move_where_the_two_orders_differ(source, target, to_last):
    assert moved(source, target) is to_last


@pytest.mark.parametrize("target", [net("last"), net("first"), net("last", axes=ODD)])
def test_another_permutation_is_refused_unless_both_nets_have_it(target):
    with pytest.raises(AmbiguityError, match="the axes of the image at fc"):
        moved(net("first", axes=ODD), target)
