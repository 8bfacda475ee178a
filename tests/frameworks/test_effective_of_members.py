"""What containers and wrappers multiply with is what their members do: only the live members know it."""

import equinox as eqx
import jax
import keras
import numpy as np
import pytest
import skorch
import tensorflow as tf
import torch
from scikeras.wrappers import KerasRegressor
from sklearn.ensemble import VotingRegressor
from torch import nn

import steelyard

DRAW = np.random.default_rng(0)


def orthogonal():
    return nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))


def lora():
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    net.layers[0].enable_lora(2)
    net.layers[0].lora_kernel_b.assign(DRAW.normal(size=(2, 4)))
    net.compile("sgd", "mse")
    return net


class Module(tf.Module):
    def __init__(self, net):
        super().__init__()
        self.nets = {"first": net}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = orthogonal()

    def forward(self, x):
        return self.layer(x)


def same(holder, prefix, member):
    """Assert that a holder has the effective weights of a member, under their names with a prefix."""
    found, expected = steelyard.effective(holder), steelyard.effective(member)
    assert any(weight.derivation for weight in expected.values())
    for name, weight in expected.items():
        there = found[prefix + name]
        np.testing.assert_array_equal(there.numpy(), weight.numpy())
        assert (there.role, there.axes) == (weight.role, weight.axes)
        if weight.derivation:
            assert there.layer == (prefix + weight.layer if weight.layer else prefix.rstrip("./"))
            assert there.derivation.parts == tuple(prefix + part for part in weight.derivation.parts)
    return found


def test_a_container_has_the_effective_weights_of_its_members():
    layer, net = orthogonal(), lora()
    parts = {"a": layer, "b": [net, nn.Linear(2, 2)], "c": np.ones(3)}
    found = same(parts, "a.", layer)
    same(parts, "b.0.", net)
    assert [*found] == [
        "a.bias",
        "a.weight",
        *(f"b.0.{name}" for name in steelyard.effective(net)),
        "b.1.weight",
        "b.1.bias",
        "c",
    ]
    np.testing.assert_array_equal(found["a.weight"].numpy(), layer.weight.detach().numpy())
    normed = eqx.nn.WeightNorm(eqx.nn.Linear(3, 4, key=jax.random.key(0)))
    same([normed, nn.ReLU()], "0.", normed)


def test_a_module_of_equinox_whose_spectral_norm_is_in_another_object_is_refused():
    linear, key = eqx.nn.Linear(3, 4, key=jax.random.key(0)), jax.random.key(1)
    pair = eqx.nn.make_with_state(eqx.nn.SpectralNorm)(linear, "weight", key=key, inference=True)
    assert "pass eqx.Partial(model, state=state)" in steelyard.effective(pair).unreadable["0.layer.weight"]


def test_a_module_and_a_checkpoint_of_tensorflow_have_the_effective_weights_of_keras():
    net = lora()
    same(Module(net), "nets/first/", net)
    same(tf.train.Checkpoint(net=net), "net/", net)


@pytest.mark.filterwarnings("ignore")
def test_wrappers_of_nets_and_ensembles_of_these_have_the_effective_weights_of_the_nets():
    x = DRAW.normal(size=(20, 4)).astype("f4")
    skorched = skorch.NeuralNet(Net, nn.MSELoss).initialize()
    same(skorched, "", skorched.module_)
    wrapped = KerasRegressor(lora, epochs=1, verbose=0).fit(x, x)
    same(wrapped, "", wrapped.model_)
    ensemble = VotingRegressor([("a", skorch.NeuralNetRegressor(Net, max_epochs=1, train_split=None, verbose=0))])
    ensemble.estimators_ = [skorched]
    same(ensemble, "estimators_.0.", skorched.module_)
    torch.testing.assert_close(skorched.module_.layer.weight @ skorched.module_.layer.weight.T, torch.eye(4))
