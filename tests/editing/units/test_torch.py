"""A smaller PyTorch net equals the one in which the weights that read the removed units are zero."""

import copy

import numpy as np
import pytest
import torch
from editing.units import torch_nets
from torch import nn

import steelyard
from steelyard.errors import ShapeError


def made(kind):
    torch.manual_seed(0)
    net = kind().eval()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.bias)
    x = np.random.default_rng(0).standard_normal(kind.shape).astype("float32") if kind.shape else np.arange(8).reshape(2, 4) % 9
    return net, x


def output(net, x):
    with torch.no_grad():
        return net(torch.as_tensor(x)).numpy()


def unread(net, kind):
    """Return a net in which what reads the removed units is zero."""
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for name, units in kind.read.items():
            weight = twin.get_parameter(name)
            (weight if name in kind.by_row else weight.transpose(0, 1))[units] = 0
        for name, (groups, units) in kind.by_group.items():
            weight = twin.get_parameter(name)
            rows, columns = len(weight) // groups, weight.shape[1]
            for unit in units:
                weight[unit // columns * rows : (unit // columns + 1) * rows, unit % columns] = 0
    return twin


@pytest.mark.parametrize("kind", torch_nets.NETS)
def test_a_smaller_net_is_the_one_that_does_not_read_the_units(kind):
    net, x = made(kind)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    plan = steelyard.prune_units(net, kind.gone, probe=x)
    np.testing.assert_allclose(output(plan.model, x), output(unread(net, kind), x), atol=1e-6)
    assert plan.proof.proven
    assert {name: weight.shape for name, weight in plan.weights.items()} == {
        name: tuple(tensor.shape) for name, tensor in plan.model.state_dict().items()
    }
    assert plan.weights.size < steelyard.weights(net).size
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in before.items())


@pytest.mark.parametrize("kind", torch_nets.NETS)
def test_a_share_of_all_layers_leaves_a_net_that_runs_and_is_equal(kind):
    net, x = made(kind)
    plan = steelyard.prune_units(net, 0.5, probe=x)
    assert plan.removed
    assert plan.proof.proven
    assert output(plan.model, x).shape == output(net, x).shape


def test_the_units_with_the_smallest_kernels_go():
    net, x = made(torch_nets.Mlp)
    with torch.no_grad():
        net.fc1.weight[[2, 5]] *= 0.01
    assert steelyard.prune_units(net, {"fc1": 0.25}, probe=x).removed == {"fc1": [2, 5]}


def test_the_score_of_batch_norms_is_the_size_of_their_scales():
    net, x = made(torch_nets.ConvNorm)
    with torch.no_grad():
        net.b1.weight.copy_(torch.tensor([3.0, -0.1, 2.0, 0.05, -4.0, 1.0]))
    assert steelyard.prune_units(net, {"c1": 0.34}, score="bn", probe=x).removed["c1"] == [1, 3]
    mlp, x = made(torch_nets.Mlp)
    with pytest.raises(ShapeError, match="no batch norm scales the units of fc1"):
        steelyard.prune_units(mlp, {"fc1": 0.5}, score="bn", probe=x)


def test_tied_weights_stay_one_array():
    net, x = made(torch_nets.Tied)
    plan = steelyard.prune_units(net, torch_nets.Tied.gone, probe=x)
    assert plan.model.out.weight is plan.model.table.weight
    assert plan.weights["out.weight"].tied == "table.weight"
    assert plan.weights.size == 116
    assert plan.cuts["out.weight"] == {1: [3]}


def test_modules_know_their_new_sizes_and_the_plan_prints_them():
    net, x = made(torch_nets.Grouped)
    plan = steelyard.prune_units(net, torch_nets.Grouped.gone, probe=x)
    assert (plan.model.g.in_channels, plan.model.g.out_channels, plan.model.g.groups) == (6, 4, 2)
    assert plan.cuts["g.weight"] == {0: [2, 3], 1: [1, 6]}
    text = str(plan)
    assert "c loses 2 of 8 units: 1, 6" in text
    assert "g.weight   6x4x3x3  4x3x3x3" in text
    assert "395 elements before, 241 after, 39% fewer" in text
    heads, x = made(torch_nets.Heads)
    assert steelyard.prune_units(heads, {"q": 0.5}, probe=x).model.heads == 2


@pytest.mark.parametrize(
    ("kind", "gone", "why"),
    [
        (torch_nets.Separate, {"dw0": 0.5}, "dw0 cannot lose units: they are the net's inputs"),
        (torch_nets.Mlp, {"fc3": [0]}, "fc3 cannot lose these units: they are the net's outputs"),
        (torch_nets.GroupNormed, {"c": [2]}, r"c cannot lose \[2\] alone: \[3\] belong to the same heads or groups"),
        (torch_nets.Heads, {"q": [2]}, r"q cannot lose \[2\] alone: \[3\] belong"),
        (torch_nets.Grouped, {"c": [1, 2]}, "would lose different numbers of units"),
        (torch_nets.BothWays, {"gru": [1, 2]}, "would lose different numbers of units"),
        (torch_nets.Mlp, {"fc9": 0.5}, "'?fc9'? is not a layer with units of its own; those are fc1, fc2, fc3"),
        (torch_nets.Mlp, {"fc1": [8]}, "fc1 has 8 units, and none with the index 8"),
        (torch_nets.Mlp, {"fc1": [*range(8)]}, "would lose all of its units"),
        (torch_nets.Mlp, {"fc1": 1.0}, "must be at least 0 and below 1"),
    ],
)
def test_units_that_cannot_go_are_refused_by_name(kind, gone, why):
    net, x = made(kind)
    with pytest.raises(ShapeError, match=why):
        steelyard.prune_units(net, gone, probe=x)


class Stream(nn.Module):
    shape = (3, 4, 8)

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.deep, self.out = nn.Linear(8, 6), nn.LayerNorm(6), nn.LSTM(6, 4, 2), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.deep(self.norm(self.a(x)))[0])


class Mean(nn.Module):
    shape = (3, 8)

    def __init__(self):
        super().__init__()
        self.a, self.out = nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = self.a(x)
        return self.out(x - x.mean(1, keepdim=True))


class Fixed(nn.Module):
    """A size in the code, which no attribute holds."""

    shape = (3, 8)

    def __init__(self):
        super().__init__()
        self.a, self.out = nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.out(self.a(x).view(-1, 6))


@pytest.mark.parametrize(
    ("kind", "layer", "why"),
    [
        (Stream, "a", "a cannot lose units: norm normalises over them, and its mean and variance would change"),
        (Stream, "deep", "deep cannot lose units: all levels of deep have one hidden size"),
        (Mean, "a", "a cannot lose units: the function mean computes one number from all of them"),
    ],
)
def test_units_under_functions_of_all_of_them_are_refused(kind, layer, why):
    net, x = made(kind)
    with pytest.raises(ShapeError, match=why):
        steelyard.prune_units(net, {layer: 0.5}, probe=x)


def test_a_net_whose_code_has_a_size_is_refused_when_it_is_made():
    net, x = made(Fixed)
    plan = steelyard.prune_units(net, {"a": 0.5}, probe=x)
    assert plan.weights["a.weight"].shape == (3, 8)
    with pytest.raises(ShapeError, match="the smaller Fixed cannot be made: it does not run"):
        plan.model  # noqa: B018


def test_without_inputs_a_chain_runs_on_its_own_and_another_net_asks_for_them():
    chain = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    assert steelyard.prune_units(chain, 0.5).model[0].out_features == 4
    with pytest.raises(ShapeError, match="pass some as probe="):
        steelyard.prune_units(made(torch_nets.Concat)[0], 0.5)


def test_weights_alone_are_refused_since_nothing_shows_what_reads_them():
    net, _ = made(torch_nets.Mlp)
    with pytest.raises(ShapeError, match="it is not known what reads the units, so none can go"):
        steelyard.prune_units(net.state_dict(), 0.5)


class Valid(nn.Module):
    shape = (3, 2, 8, 8)

    def __init__(self):
        super().__init__()
        self.c1, self.b1, self.c2, self.fc = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3), nn.Linear(64, 3)

    def forward(self, x):
        return self.fc(torch.sigmoid(self.c2(torch.relu(self.b1(self.c1(x))))).flatten(1))


@pytest.mark.parametrize("kind", [torch_nets.Mlp, Valid])
def test_fold_moves_the_constant_of_units_without_kernels_into_the_next_bias(kind):
    net, x = made(kind)
    plan = steelyard.prune_units(net, 0.4, probe=x, fold=True)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for layer, units in plan.removed.items():
            if not layer.startswith("b"):
                twin.get_parameter(f"{layer}.weight")[units] = 0
    np.testing.assert_allclose(output(plan.model, x), output(twin, x), atol=1e-6)
    assert np.abs(output(plan.model, x) - output(net, x)).max() > 1e-3


@pytest.mark.parametrize(
    ("kind", "why"),
    [(torch_nets.ConvNorm, "c2 pads its inputs"), (torch_nets.Lstm, "does not bring|do not bring one constant to it")],
)
def test_fold_is_refused_where_units_bring_no_constant(kind, why):
    net, x = made(kind)
    with pytest.raises(ShapeError, match=why):
        steelyard.prune_units(net, 0.5, probe=x, fold=True)
