"""The effective weights of live modules are what their layers multiply with, and looking at them changes nothing."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao import quantization
from torch.ao.nn.intrinsic import qat as intrinsic
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import steelyard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def response(layer):
    """Return what a linear layer multiplies with, as its outputs for unit vectors in evaluation mode show."""
    unit = torch.eye(layer.in_features)
    layer.eval()
    with torch.no_grad():
        layer(unit)  # hooks run in the order of their calls, so one may set what another one used before
        return (layer(unit) - layer(unit * 0)).T.numpy()


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).T


class Noisy(nn.Module):
    """A function that counts its calls, draws numbers, and behaves otherwise in training."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.seen = 0

    def forward(self, x):
        self.seen += 1
        self.calls += 1
        return x + torch.rand(1) if self.training else x * 2


def parametrized(layer, *functions):
    for function in functions:
        parametrize.register_parametrization(layer, "weight", function)
    return layer


def pruned_norm(layer):
    weight_norm(layer)
    prune.l1_unstructured(layer, "weight_v", amount=0.4)
    prune.random_unstructured(layer, "weight_g", amount=0.3)
    return layer


def pruned_twice(layer):
    prune.l1_unstructured(layer, "weight", amount=0.3)
    prune.ln_structured(layer, "weight", amount=0.25, n=2, dim=0)
    return layer


KINDS = {
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.4),
    "pruned twice": pruned_twice,
    "weight norm": weight_norm,
    "weight norm along 1": lambda layer: weight_norm(layer, dim=1),
    "spectral norm": spectral_norm,
    "spectral norm along 1": lambda layer: spectral_norm(layer, dim=1),
    "pruned norm": pruned_norm,
    "new weight norm": parametrizations.weight_norm,
    "new spectral norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "cayley": lambda layer: parametrizations.orthogonal(layer, orthogonal_map="cayley"),
    "symmetric": lambda layer: parametrized(layer, Symmetric()),
    "noisy": lambda layer: parametrized(layer, Noisy()),
    "chain": lambda layer: parametrizations.spectral_norm(parametrized(parametrizations.weight_norm(layer), Symmetric())),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_multiplies_with_its_effective_weight(kind):
    net = nn.Sequential(nn.Linear(4, 4))
    KINDS[kind](net[0])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.5)  # plain attributes are old now
    state, generator = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    modes = [(module.training, getattr(module, "seen", 0)) for module in net.modules()]
    found = steelyard.effective(net)
    numbers = found["0.weight"].numpy().copy()
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    assert torch.equal(generator, torch.get_rng_state())
    assert modes == [(module.training, getattr(module, "seen", 0)) for module in net.modules()]
    assert np.abs(numbers - response(net[0])).max() <= 1e-6 * np.abs(numbers).max()
    assert sorted(found) == ["0.bias", "0.weight"]
    assert (found["0.weight"].role, found["0.weight"].axes) == ("kernel", "out in")


def test_the_weights_follow_the_module_and_runs_of_one_pass_are_of_one_moment():
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2)))
    weight = steelyard.effective(net)["0.weight"]
    first = weight.read(0, 4)
    with torch.no_grad():
        net[0].parametrizations.weight.original0.mul_(3)
    assert np.concatenate([first, weight.read(4, 6)]).tolist() == pytest.approx(weight.numpy().reshape(-1) / 3)
    assert np.array_equal(weight.numpy(), net[0].weight.detach().numpy())


def test_the_cache_of_parametrizations_is_neither_used_nor_filled():
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2)))
    with parametrize.cached(), torch.no_grad():
        old = net[0].weight.clone()
        net[0].parametrizations.weight.original0.mul_(2)
        assert np.allclose(steelyard.effective(net)["0.weight"].numpy(), 2 * old.numpy())
        before = dict(parametrize._cache)
        steelyard.effective(net)["0.weight"].numpy()
        assert list(parametrize._cache) == list(before)


class Cut(nn.Module):
    def forward(self, x):
        return x[:1].double()


class Broken(nn.Module):
    def forward(self, x):
        raise KeyError("lost")


def test_a_function_may_change_the_shape_and_one_that_fails_is_a_refusal_with_the_reason():
    net = nn.ModuleDict({"cut": nn.Linear(3, 2), "broken": nn.Linear(3, 2)})
    parametrize.register_parametrization(net["cut"], "weight", Cut(), unsafe=True)
    found = steelyard.effective(net)
    assert (found["cut.weight"].shape, found["cut.weight"].dtype) == ((1, 3), "float64")
    parametrize.register_parametrization(net["broken"], "weight", nn.Identity())
    net["broken"].parametrizations.weight[0] = Broken()
    found = steelyard.effective(net)
    with pytest.raises(steelyard.errors.UnreadableError, match=r"broken.weight cannot be computed: KeyError: 'lost'"):
        found["broken.weight"].numpy()


def test_layers_inside_others_biases_and_buffers():
    net = nn.ModuleDict({"inner": nn.Sequential(nn.BatchNorm1d(3), nn.LSTM(3, 2))})
    prune.identity(net["inner"][0], "bias")
    weight_norm(net["inner"][1], "weight_hh_l0")
    parametrize.register_parametrization(net["inner"][0], "running_mean", nn.Identity())
    found = steelyard.effective(net)
    own = {name: getattr(net["inner"][int(name[6])], name[8:]) for name in found}
    assert {"inner.0.bias", "inner.0.running_mean", "inner.1.weight_hh_l0"} <= {*found}
    assert all(np.allclose(found[name].numpy(), tensor.detach().numpy()) for name, tensor in own.items())


def test_a_bidirectional_layer_of_equal_sizes_is_named_by_the_module():
    net = quantization.quantize_dynamic(nn.Sequential(nn.GRU(4, 4, bidirectional=True)), {nn.GRU})
    found = steelyard.effective(net)
    parts = {**net[0].get_weight(), **net[0].get_bias()}
    assert sorted(found) == sorted(f"0.{name}" for name in parts)
    for name, tensor in parts.items():
        real = tensor.dequantize() if tensor.is_quantized else tensor
        assert np.array_equal(found[f"0.{name}"].numpy(), real.detach().numpy())


class Halved(torch.Tensor):
    """A tensor of a subclass without memory of its own, which knows how to dequantise itself."""

    @staticmethod
    def __new__(cls, codes):
        return torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.bfloat16)

    def __init__(self, codes):
        self.codes = codes

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            return Halved(args[0].codes)
        raise NotImplementedError(function)

    def dequantize(self):
        return self.codes.float() / 2


def test_a_subclass_of_a_tensor_is_asked_for_its_numbers():
    net = nn.Sequential(nn.Linear(3, 2))
    codes = torch.arange(6, dtype=torch.int8).reshape(2, 3)
    net[0].weight = nn.Parameter(Halved(codes), requires_grad=False)
    found = steelyard.effective(net)["0.weight"]
    assert (found.shape, found.dtype) == ((2, 3), "bfloat16")
    assert np.array_equal(found.numpy().astype("float32"), codes.numpy() / 2)


def test_effective_weights_are_parameters_in_the_order_of_the_module():
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2)), prune.l1_unstructured(nn.Linear(2, 2), "weight", 1))
    found = steelyard.effective(net)
    assert (found.counts.parameters, found.counts.buffers) == (14, 0)
    assert sorted(found.in_order("parameters")) == sorted(found)
    packed = steelyard.effective(quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 2)), {nn.Linear}))
    assert (packed.counts.parameters, packed.counts.buffers, packed.counts.unknown) == (8, 0, 0)


QAT = quantization.get_default_qat_qconfig("x86")


@pytest.mark.parametrize("switch", [1, 0])
@pytest.mark.parametrize("kind", ["Linear", "LinearBn1d"])
def test_a_layer_in_training_for_quantisation_multiplies_with_the_rounded_weight(kind, switch):
    layer = torch.ao.nn.qat.Linear(6, 5, qconfig=QAT) if kind == "Linear" else intrinsic.LinearBn1d(6, 5, qconfig=QAT)
    layer.train()(torch.randn(9, 6))
    layer.weight_fake_quant.fake_quant_enabled[0] = switch
    with torch.no_grad():
        layer.weight[0] *= 3  # the observer sees the new numbers in the next call
    net, before = nn.Sequential(layer).eval(), copy.deepcopy(layer.state_dict())
    found = steelyard.effective(net)
    weight = found["0.weight"].numpy()
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert [*found][:2] == ["0.weight", "0.bias"] or kind != "Linear"
    assert not any("fake_quant" in name for name in found)
    with torch.no_grad():
        outputs = layer(torch.eye(6))  # one call, since each moves the scale
        plain = torch.eye(6) @ torch.from_numpy(weight).T + layer.bias
        known = plain if kind == "Linear" else layer.bn(plain)
    np.testing.assert_allclose(outputs.numpy(), known.numpy(), rtol=1e-4, atol=1e-6)
    assert (np.abs(weight - layer.weight.detach().numpy()).max() > 1e-4) == bool(switch)


def test_the_state_of_training_for_quantisation_lacks_the_range_of_the_codes():
    layer = torch.ao.nn.qat.Conv2d(3, 4, 3, qconfig=QAT)
    state = {f"conv.{name}": value for name, value in layer.state_dict().items()}
    state["quant.activation_post_process.scale"] = torch.ones(1)
    refused = steelyard.effective(state)
    assert [*refused] == ["conv.weight", "conv.bias"]
    assert "the range of its codes is in the module alone" in refused["conv.weight"].unreadable
    state["conv.weight_fake_quant.fake_quant_enabled"] = torch.zeros(1, dtype=torch.uint8)
    plain = steelyard.effective(state)["conv.weight"]
    assert np.array_equal(plain.numpy(), layer.weight.detach().numpy())
    assert plain.derivation.scheme.endswith("switched off")
