"""Modules that PyTorch does not register are named, since neither its state nor a listing has them."""

import numpy as np
import skorch
from torch import nn

import steelyard


class Net(nn.Module):
    """Two layers that its state has, and four that it lacks."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.hidden = [nn.Linear(3, 3), nn.Linear(3, 3)]
        self.heads = {"a": (nn.Linear(3, 1), self.first), "b": [nn.BatchNorm1d(3, affine=False)]}
        self.shared = (self.first,)
        self.activations = [nn.ReLU()]
        self.sizes = [2, 3]
        self.listed = nn.ModuleList([nn.Linear(3, 3)])


HIDDEN = (
    "hidden holds 2 modules in a plain list, which state_dict() and this listing leave out; nn.ModuleList would register them"
)
HEADS = "heads holds 2 modules in a plain dict, which state_dict() and this listing leave out; nn.ModuleDict would register them"


def test_modules_in_plain_containers_are_named_with_what_registers_them():
    net = Net()
    listed = steelyard.weights(net)
    assert [*listed] == [*net.state_dict()] == ["first.weight", "first.bias", "listed.0.weight", "listed.0.bias"]
    assert listed.meta == {"notes": [HIDDEN, HEADS]}
    assert HIDDEN in repr(listed)
    net.hidden = nn.ModuleList(net.hidden)
    assert steelyard.weights(net).meta == {"notes": [HEADS]}


def test_the_place_is_the_path_of_the_module_also_in_a_container_of_models():
    net = nn.Sequential(nn.Sequential(Net()))
    assert steelyard.weights(net).meta["notes"][0] == f"0.0.{HIDDEN}"
    models = {"encoder": Net(), "scale": np.ones(3), "note": "a text", "sizes": [1, 2]}
    assert steelyard.weights(models).meta == {"notes": [f"encoder.{HIDDEN}", f"encoder.{HEADS}"]}
    assert steelyard.weights({"scale": np.ones(3)}).meta == {}


def test_a_net_of_skorch_has_the_notes_of_its_module():
    net = skorch.NeuralNet(Net, nn.MSELoss).initialize()
    assert steelyard.weights(net).meta == {"notes": [HIDDEN, HEADS]}


def test_modules_of_torch_have_no_such_notes():
    rnn = nn.utils.parametrizations.weight_norm(nn.LSTM(2, 3, 2), "weight_hh_l0")
    for module in (nn.Transformer(8, 2, 1, 1, 8, batch_first=True), rnn, nn.DataParallel(nn.Linear(2, 2)), nn.LazyLinear(3)):
        assert steelyard.weights(module).meta == {}
