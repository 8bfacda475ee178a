"""A net as a chain of dense layers: the orientation of kernels, and networks that are not such a chain."""

import carried
import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard import Role, Weight, Weights
from steelyard.core.readers import from_array
from steelyard.errors import AmbiguityError, ShapeError
from steelyard.measures.chain import chain


def plain(*shapes, role=Role.KERNEL):
    """Return kernels of unknown axes, each in a layer of its own."""
    arrays = [np.random.default_rng(nth).standard_normal(shape) for nth, shape in enumerate(shapes)]
    return Weights([from_array(f"{nth}.w", array, role=role, layer=str(nth)) for nth, array in enumerate(arrays)])


def sizes(found):
    return [(layer.inputs, layer.units) for layer in found]


def test_layers_of_live_nets_are_inputs_by_units_in_any_layout():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2, bias=False))
    found = chain(net)
    assert sizes(found) == [(4, 5), (5, 2)]
    kernel = net[0].weight.detach().numpy().T
    rows, columns = np.array([0, 3]), np.array([1, 2, 4])
    np.testing.assert_array_equal(found[0].part(rows, columns), kernel[np.ix_(rows, columns)])
    by_input, by_unit = found[0].squares()
    np.testing.assert_allclose(by_input, np.square(kernel.astype(float)).sum(axis=1))
    np.testing.assert_allclose(by_unit, np.square(kernel.astype(float)).sum(axis=0))
    assert found[0].bias.name == "0.bias"
    assert found[1].bias is None


def test_an_nnet_of_r_has_a_skip_kernel_in_addition_to_the_kernel():
    found = chain(carried.folder("r") / "nnet" / "nnet_skip_softmax.rds")
    assert [(layer.name, layer.inputs, layer.units) for layer in found] == [("hidden", 3, 2), ("output", 2, 3)]
    assert found[0].skip is None
    assert found[1].skips(np.arange(3), np.array([0, 2])).shape == (3, 2)


def test_kernels_that_fit_in_one_order_only_have_that_order():
    assert sizes(chain(plain((4, 5), (5, 2)))) == [(4, 5), (5, 2)]
    assert sizes(chain(plain((5, 4), (2, 5)))) == [(4, 5), (5, 2)]


@pytest.mark.parametrize(("shapes", "fits"), [([(3, 3), (3, 3)], "both ways"), ([(2, 3), (7, 5)], "neither way")])
def test_kernels_that_fit_both_ways_or_neither_are_not_guessed(shapes, fits):
    with pytest.raises(AmbiguityError, match=f"the axes of 0.w are not known.*fits {fits}; pass axes="):
        chain(plain(*shapes))


def test_the_given_axes_are_used():
    assert sizes(chain(plain((2, 3)), axes="in out")) == [(2, 3)]
    assert sizes(chain(plain((2, 3)), axes="out in")) == [(3, 2)]
    with pytest.raises(ShapeError, match=r"axes is .out.; it must be"):
        chain(plain((2, 3)), axes="out")


@pytest.mark.parametrize(
    ("net", "what"),
    [
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), "1.weight of shape .4. has the role scale and the axes"),
        (nn.LSTM(3, 4), r"weight_ih_l0 of shape \[16, 3\] has the role kernel and the axes \[ifgo\]\*out in"),
        (nn.Conv2d(3, 4, 3), r"weight of shape \[4, 3, 3, 3\] has the role kernel"),
        ({}, "the network has no weights"),
        (nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2)), r"consecutive dense layers do not match: 0 \(3 to 4\), 1 \(5 to 2\)"),
        (Weights([from_array("b", np.ones(2), role=Role.BIAS, layer="fc")]), "layer 'fc' has 0 kernels and 1 biases"),
    ],
)
def test_a_net_that_is_not_a_chain_is_refused_with_the_reason(net, what):
    with pytest.raises(ShapeError, match=what) as error:
        chain(net)
    assert "\n" not in str(error.value)


def test_layers_are_picked_by_name_in_the_order_that_is_given():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    assert [layer.name for layer in chain(net, ["0", "2"])] == ["0", "2"]
    assert [layer.name for layer in chain(net, ["2", "0"])] == ["2", "0"]
    with pytest.raises(ShapeError, match="no layer is called '3'; the first are 0, 1, 2"):
        chain(net, ["3"])


def test_only_the_requested_part_of_a_large_kernel_is_kept():
    asked = []

    def read(start, stop):
        asked.append(stop - start)
        return np.arange(start, stop) % 7 - 3.0

    weight = Weight(name="w", shape=(3000, 2000), dtype="float64", read=read, role=Role.KERNEL, layer="w", axes="in out")
    (layer,) = chain(steelyard.weights(Weights([weight])))
    assert layer.squares()[0].shape == (3000,)
    part = layer.part(np.array([0, 2999]), np.array([5, 1999]))
    assert part.tolist() == [[(place % 7) - 3.0 for place in row] for row in ((5, 1999), (2999 * 2000 + 5, 2999 * 2000 + 1999))]
    assert max(asked) <= 1 << 20
