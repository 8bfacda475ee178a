"""Live weights whose module, optimizer or state changed after they were listed: they are current, or refused."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.utils.parametrize
import torch.nn.utils.prune
from torch import nn

import steelyard
from steelyard.errors import ShapeError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, about its quantisation
    pytest.mark.filterwarnings("ignore:torch.quantize_per:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*TypedStorage:UserWarning"),
]


def _other_layer(net):
    net.fc = nn.Linear(3, 2)


def _no_layer(net):
    del net.fc


def _parametrized(net):
    torch.nn.utils.parametrize.register_parametrization(net.fc, "weight", nn.Identity())


def _pruned(net):
    torch.nn.utils.prune.l1_unstructured(net.fc, "weight", 1)


def _other_block(net):
    net.body[0] = nn.Sequential(nn.Linear(3, 3))


@pytest.mark.parametrize("change", [_other_layer, _no_layer, _parametrized, _pruned, _other_block])
@pytest.mark.parametrize("warm", [False, True])
def test_weights_that_the_module_does_not_hold_any_more_are_neither_read_nor_written(change, warm):
    net = nn.Module()
    net.fc, net.body = nn.Linear(3, 2), nn.ModuleList([nn.Sequential(nn.Linear(3, 3))])
    held = list(net.parameters())
    listed = steelyard.weights(net)
    vector = listed.to_vector()
    if warm:
        listed.to_vector()  # from now on addresses are remembered
    change(net)
    before = [parameter.detach().clone() for parameter in held]
    now = {name: value.clone() for name, value in net.state_dict().items()}
    gone = "body.0.0.weight" if change is _other_block else "fc.weight"
    actions = [
        listed.to_vector,
        listed.copy,
        listed[gone].numpy,
        lambda: listed.assign(vector + 1),
        lambda: listed.assign({gone: np.ones(listed[gone].shape)}),
    ]
    for action in actions:
        with pytest.raises(ShapeError, match=r"list the (model's )?weights again"):
            action()
    for parameter, old in zip(held, before, strict=True):
        assert torch.equal(parameter, old)
    assert all(torch.equal(value, now[name]) for name, value in net.state_dict().items())


def test_weights_of_other_layers_stay_listed_when_one_is_replaced():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    kept = steelyard.weights(net).select("0.*")
    net[1] = nn.Linear(3, 5)
    kept.assign(np.arange(12))
    assert torch.equal(net[0].bias.detach(), torch.arange(9.0, 12.0))


def test_a_parameter_that_is_bound_anew_is_read_and_written():
    net = nn.Sequential(nn.Linear(2, 1))
    listed = steelyard.weights(net)
    net[0].weight = nn.Parameter(torch.tensor([[5.0, 6.0]]))
    assert listed["0.weight"].numpy().tolist() == [[5, 6]]
    listed.assign([1, 2, 3])
    assert net[0].weight.tolist() == [[1, 2]]


@pytest.mark.parametrize("kind", ["Adam", "LBFGS"])
def test_the_state_that_an_optimizer_dropped_is_neither_read_nor_written(kind):
    net = nn.Linear(2, 1)
    optimizer = getattr(torch.optim, kind)(net.parameters())

    def loss():
        optimizer.zero_grad()
        value = (net(torch.ones(1, 2)) - 3).square().sum()
        value.backward()
        return value

    for _ in range(2):
        optimizer.step(loss)
    listed = steelyard.weights(optimizer)
    values = {name: weight.numpy().copy() for name, weight in listed.items()}
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    states = len(optimizer.state)
    for action in (listed.copy, lambda: listed.assign(values)):
        with pytest.raises(ShapeError, match=r"list the (model's )?weights again"):
            action()
    assert len(optimizer.state) == states


def _cast(module, state, prefix, _):
    for name in list(state):
        state[name] = state[name].double()


def _cast_and_rename(module, state, prefix, _):
    for name in list(state):
        state[f"net.{name}"] = state.pop(name).double()


def _cast_and_add(module, state, prefix, _):
    for name in list(state):
        state[name] = state[name].double() + 1


@pytest.mark.parametrize("hook", [_cast, _cast_and_rename, _cast_and_add])
def test_writes_to_data_behind_a_copy_are_read(hook):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    net._register_state_dict_hook(hook)
    listed = steelyard.weights(net)
    for change in (
        lambda: net[0].weight.data.add_(1),
        lambda: setattr(net[1].bias, "data", torch.tensor([9.0])),
        lambda: nn.init.ones_(net[0].bias),
        lambda: setattr(net[1], "weight", nn.Parameter(torch.full((1, 2), 3.0))),
        lambda: net.__setitem__(1, nn.Linear(2, 1)),
    ):
        change()
        for name, value in net.state_dict().items():
            np.testing.assert_array_equal(listed[name].numpy(), value.numpy())


def test_weights_that_a_packed_layer_was_given_later_are_read():
    net = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 2)), dtype=torch.qint8)
    listed = steelyard.weights(net)
    other = torch.quantize_per_tensor(torch.arange(6.0).reshape(2, 3), 0.5, 0, torch.qint8)
    net[0].set_weight_bias(other, torch.ones(2))
    net[0].scale = 4.0
    again = steelyard.weights(net)
    assert list(listed) == list(again)
    for name, weight in again.items():
        np.testing.assert_array_equal(listed[name].numpy(), weight.numpy())
    assert any(np.array_equal(weight.numpy(), np.arange(0, 12, 2).reshape(2, 3)) for weight in listed.values())


def test_a_sparse_weight_is_read_anew():
    net = nn.Module()
    net.table = nn.Parameter(torch.eye(3).to_sparse())
    listed = steelyard.weights(net)
    net.table.data = (torch.eye(3) * 5).to_sparse()
    np.testing.assert_array_equal(listed["table"].numpy(), np.eye(3) * 5)
