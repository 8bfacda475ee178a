"""Batch norms folded into the layers before them, beside torch's own fusion and the outputs of the net."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import fusion

import steelyard
from steelyard.errors import ShapeError


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.grouped, self.second = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4, eps=1e-3, affine=False)
        self.kept, self.third = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        x = x + self.second(self.grouped(x))
        y = self.kept(x)
        return self.third(y) + y


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(self.fc(x)) if x.sum() > 0 else x


def trained(net):
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return net.eval()


def test_a_norm_is_folded_as_torch_fuses_it():
    net = trained(Residual())
    folded = steelyard.weights(net).effective(fold="norms")
    for conv, norm in ((net.conv, net.norm), (net.grouped, net.second)):
        name = "conv" if conv is net.conv else "grouped"
        fused = fusion.fuse_conv_bn_eval(conv, norm)
        assert np.allclose(folded[f"{name}.weight"], fused.weight.detach(), rtol=1e-6, atol=1e-7)
        assert np.allclose(folded[f"{name}.bias"], fused.bias.detach(), rtol=1e-6, atol=1e-7)


def test_a_norm_of_numbers_that_are_used_elsewhere_too_is_kept():
    folded = steelyard.weights(trained(Residual())).effective(fold="norms")
    assert [name for name in folded if name.startswith(("norm.", "second."))] == []
    assert [name for name in folded if name.startswith("third.")] == [
        "third.weight",
        "third.bias",
        "third.running_mean",
        "third.running_var",
        "third.num_batches_tracked",
    ]


def test_a_sequential_net_of_folded_weights_gives_the_same_outputs():
    net = trained(
        nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(75, 4), nn.BatchNorm1d(4))
    )
    plain = nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.Identity(), nn.Flatten(), nn.Linear(75, 4), nn.Identity()).eval()
    steelyard.weights(plain).assign(steelyard.weights(net).effective(fold="norms"))
    inputs = torch.randn(5, 2, 3, 3)
    assert torch.allclose(plain(inputs), net(inputs), atol=1e-5)


def test_a_dense_layer_is_folded_under_an_assumption_that_is_named():
    folded = steelyard.weights(trained(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))).effective(fold="norms")
    assert folded["0.weight"].derivation.assumed == (
        "the inputs of a dense layer before a batch norm have one axis besides the batch",
    )
    assert steelyard.weights(trained(Residual())).effective(fold="norms")["conv.weight"].derivation.assumed == ()


def test_folding_changes_nothing_in_the_net():
    net = trained(Residual())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    steelyard.weights(net).effective(fold="norms").arrays()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net.training


def test_a_net_that_cannot_be_traced_is_refused():
    with pytest.raises(ShapeError, match=r"batch norms of the Branching: torch\.fx cannot trace it"):
        steelyard.weights(Branching()).effective(fold="norms")


def test_weights_of_a_file_that_shows_no_order_are_refused():
    state = {name: value.numpy() for name, value in Residual().state_dict().items()}
    with pytest.raises(ShapeError, match="which layers feed batch norms"):
        steelyard.effective(state, fold="norms")
    with pytest.raises(ShapeError, match="fold is 'all'"):
        steelyard.effective(state, fold="all")
