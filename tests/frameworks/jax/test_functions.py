"""The functions of JAX between the layers of Flax and Equinox, as a traced run shows them."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from steelyard.core.graph import KINDS
from steelyard.core.plugins import load

X = np.random.default_rng(0).normal(size=(2, 4)).astype("f4")


def functions(function, x=X):
    """Return the functions that a graph lists between two dense layers."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="b")(function(nn.Dense(x.shape[-1], name="a")(x)))

    net = Net()
    graph = load("frameworks", "flax").graph(net.bind(net.init(jax.random.key(0), x)), [x])
    assert [graph.layers[0].name, graph.layers[-1].name] == ["a", "b"]
    assert not graph.is_sequential
    assert {layer.kind for layer in graph.layers} <= KINDS
    for before, after in zip(graph.layers, graph.layers[1:], strict=False):
        assert before.output_shape == after.input_shape or len(after.inputs) != 1
    return graph.layers[1:-1]


ACTIVATIONS = {
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": jax.nn.gelu,
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
    "selu": jax.nn.selu,
    "relu6": jax.nn.relu6,
}


@pytest.mark.parametrize("word", ACTIVATIONS)
def test_an_activation_is_one_layer_however_many_operations_it_has(word):
    (layer,) = functions(ACTIVATIONS[word])
    assert layer.settings["activation"] == word
    assert layer.kind == ("softmax" if "softmax" in word else "activation")
    assert layer.inputs == ("a",)
    assert layer.settings.get("negative_slope") == (0.2 if word == "leaky_relu" else None)


def test_two_calls_are_two_layers():
    once = functions(lambda x: jax.nn.gelu(jax.nn.gelu(x)))
    assert [(layer.name, layer.inputs) for layer in once] == [("gelu", ("a",)), ("gelu#2", ("gelu",))]

    def in_a_loop(x):
        for _ in range(3):
            x = jax.nn.softmax(x)
        return x

    assert [layer.name for layer in functions(in_a_loop)] == ["softmax", "softmax#2", "softmax#3"]
    mixed = functions(lambda x: jax.nn.gelu(jax.nn.gelu(x), approximate=False))
    assert [layer.settings["activation"] for layer in mixed] == ["gelu_tanh", "gelu"]


def test_operators_know_their_inputs_in_order_and_with_repeats():
    found = functions(lambda x: jnp.concatenate([(h := jax.nn.relu(x)) + x, h - x * 2.0, x + x], 1))
    assert {layer.name: (layer.kind, layer.inputs) for layer in found} == {
        "relu": ("activation", ("a",)),
        "add": ("merge", ("relu", "a")),
        "mul": ("other", ("a",)),
        "sub": ("merge", ("relu", "mul")),
        "add#2": ("merge", ("a", "a")),
        "concatenate": ("merge", ("add", "sub", "add#2")),
    }
    by_name = {layer.name: layer for layer in found}
    assert by_name["mul"].settings == {"value": 2.0}
    assert by_name["concatenate"].settings == {"axis": 1}
    assert by_name["concatenate"].output_shape == (12,)


def test_shapes_that_change_are_named():
    image = np.zeros((2, 4, 4, 3), "f4")
    found = functions(lambda x: nn.max_pool(x, (2, 2), strides=(2, 2)).transpose(0, 3, 1, 2).reshape(x.shape[0], -1), image)
    assert [(layer.class_name, layer.kind, layer.settings) for layer in found] == [
        ("max_pool", "pool", {"pool": "max", "size": (2, 2), "strides": (2, 2), "padding": "valid"}),
        ("transpose", "reshape", {"axes": (3, 1, 2)}),
        ("reshape", "flatten", {}),
    ]
    (mixing,) = functions(lambda x: x.reshape(1, -1))
    assert mixing.settings == {"shape": (1, 8), "mixes_batch": True}


def test_what_nothing_needs_is_not_listed_and_what_is_unknown_is_other():
    def wasteful(x):
        jnp.sin(x)
        return jnp.cos(x)

    (layer,) = functions(wasteful)
    assert (layer.name, layer.kind) == ("cos", "other")


def test_a_users_compiled_function_shows_its_functions():
    @jax.jit
    def relu(x):
        return jnp.sin(x) + 1.0

    assert [(layer.name, layer.kind) for layer in functions(relu)] == [("sin", "other"), ("add", "other")]


def test_steps_of_a_sequence_in_nnx_and_single_examples_of_equinox():
    class Tagger(nnx.Module):
        def __init__(self, rngs):
            self.rnn = nnx.RNN(nnx.GRUCell(4, 3, rngs=rngs), rngs=rngs)
            self.head = nnx.Linear(3, 2, rngs=rngs)

        def __call__(self, x):
            return self.head(self.rnn(x)[:, -1])

    graph = load("frameworks", "flax").graph(Tagger(nnx.Rngs(0)), [np.zeros((2, 5, 4), "f4")])
    assert [(layer.name, layer.output_shape) for layer in graph.layers] == [
        ("rnn/cell", (5, 3)),
        ("getitem", (3,)),
        ("head", (2,)),
    ]

    class Net(eqx.Module):
        fc: eqx.nn.Linear

        def __call__(self, x):
            return jax.nn.log_softmax(self.fc(x.ravel()))

    graph = load("frameworks", "equinox").graph(Net(eqx.nn.Linear(4, 3, key=jax.random.key(0))), [np.zeros((5, 2, 2), "f4")])
    assert [(layer.kind, layer.input_shape, layer.output_shape) for layer in graph.layers] == [
        ("flatten", (2, 2), (4,)),
        ("dense", (4,), (3,)),
        ("softmax", (3,), (3,)),
    ]
