"""Generators, views and pairs of names and parts are containers with the names of the pairs; variables in lists keep their paths."""

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import ShapeError


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))


PAIRS = {
    "named_parameters": lambda net: net.named_parameters(),
    "list of pairs": lambda net: list(net.named_parameters()),
    "items": lambda net: net.state_dict(keep_vars=True).items(),
    "zip": lambda net: zip(net.state_dict(), net.parameters(), strict=True),
}


@pytest.mark.parametrize("of", PAIRS.values(), ids=PAIRS)
def test_pairs_of_names_and_tensors_are_listed_and_written_under_the_names(net, of):
    w = steelyard.weights(of(net))
    assert {name: (each.role, each.axes) for name, each in w.items()} == {
        name: (each.role, each.axes) for name, each in steelyard.weights(net).items()
    }
    w.assign(np.arange(23.0))
    assert np.array_equal(nn.utils.parameters_to_vector(net.parameters()).detach(), np.arange(23.0))


def test_a_generator_of_tensors_has_indices_and_the_vector_of_torch(net):
    w = steelyard.weights(net.parameters())
    assert list(w) == ["0", "1", "2", "3"]
    assert np.array_equal(w.to_vector(), nn.utils.parameters_to_vector(net.parameters()).detach())
    assert list(steelyard.weights(each for each in net)) == list(net.state_dict())


def test_a_generator_is_consumed(net):
    generator = net.named_parameters()
    assert len(steelyard.weights(generator)) == 4
    assert len(steelyard.weights(generator)) == 0


def test_two_parts_of_one_name_are_refused():
    with pytest.raises(ShapeError, match="a name comes twice"):
        steelyard.weights([("a", torch.ones(2)), ("a", torch.zeros(2))])
