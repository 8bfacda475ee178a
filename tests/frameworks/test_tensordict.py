"""A TensorDict is listed and written as the dict of its tensors, by the keys on their path."""

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import ShapeError


@pytest.fixture
def tensordict(monkeypatch):
    """Return a class of the name and with the methods of TensorDict, as of version 0.15."""

    class TensorDict:
        batch_size = torch.Size([])

        def __init__(self, leaves):
            self._leaves = leaves

        def items(self, include_nested=False, leaves_only=False):
            assert include_nested
            assert leaves_only
            return self._leaves.items()

    class LazyStackedTensorDict(TensorDict):
        def items(self, include_nested=False, leaves_only=False):
            return [(key, torch.stack(value)) for key, value in self._leaves.items()]

    module = types.ModuleType("tensordict")
    monkeypatch.setitem(sys.modules, "tensordict", module)
    for each in (TensorDict, LazyStackedTensorDict):
        each.__module__ = "tensordict._td"
    return TensorDict, LazyStackedTensorDict


def test_the_tensors_are_listed_under_their_joined_keys_and_written_in_place(tensordict):
    net = nn.Linear(3, 2)
    held = tensordict[0]({("fc", "weight"): net.weight, ("fc", "bias"): net.bias, "note": "text"})
    w = steelyard.weights(held)
    assert {name: each.axes for name, each in w.items()} == {"fc.weight": "out in", "fc.bias": "out"}
    assert w.assign(np.arange(8.0)) is held
    assert net.bias.tolist() == [6, 7]
    assert list(steelyard.weights({"x": held})) == ["x.fc.weight", "x.fc.bias"]


def test_tensors_that_a_lazy_stack_makes_are_read_and_refused(tensordict):
    held = tensordict[1]({"a": [torch.ones(3), torch.zeros(3)]})
    w = steelyard.weights(held)
    assert w["a"].numpy().tolist() == [[1, 1, 1], [0, 0, 0]]
    with pytest.raises(ShapeError, match="a of the LazyStackedTensorDict is made when it is asked for"):
        w.assign(np.zeros(6))
