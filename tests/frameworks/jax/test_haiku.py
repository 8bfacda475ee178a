"""Trees of Haiku, as `init` of its transformed functions returns them, have the roles, axes and layers of its modules."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import steelyard


def ones(**shapes):
    return {name: jnp.ones(shape) for name, shape in shapes.items()}


def average(*shape):
    return {"average": jnp.ones(shape), "hidden": jnp.ones(shape), "counter": jnp.array(0)}


CASES = {
    "linear": ({"linear": ones(w=(4, 4), b=(4,))}, {"linear/w": "in out", "linear/b": "out"}),
    "mlp": ({"mlp/~/linear_0": ones(w=(3, 4))}, {"mlp/~/linear_0/w": "in out"}),
    "conv": ({"conv2_d_1": ones(w=(3, 3, 8, 8), b=(8,))}, {"conv2_d_1/w": "kh kw in out", "conv2_d_1/b": "out"}),
    "conv of one axis": ({"conv1_d": ones(w=(3, 2, 8))}, {"conv1_d/w": "k in out"}),
    "transposed": ({"conv2_d_transpose": ones(w=(3, 3, 8, 2))}, {"conv2_d_transpose/w": "-kh -kw out in"}),
    "norm": (
        {"batch_norm": ones(scale=(1, 1, 1, 8), offset=(1, 1, 1, 8))},
        dict.fromkeys(("batch_norm/scale",), "1 1 1 channel"),
    ),
    "embedding": ({"embed": ones(embeddings=(5, 3))}, {"embed/embeddings": "vocab out"}),
    "gates": ({"gru": ones(w_i=(3, 15), w_h=(5, 15), b=(15,))}, {"gru/w_i": "", "gru/w_h": "", "gru/b": ""}),
    "layer_stack": (
        {"__layer_stack_no_per_layer/linear": ones(w=(3, 4, 4), b=(3, 4))},
        {"__layer_stack_no_per_layer/linear/w": "layer in out", "__layer_stack_no_per_layer/linear/b": "layer out"},
    ),
    "named by the user": (
        {"net/~/stem": ones(w=(3, 3, 2, 8), b=(8,)), "net/~/square": ones(w=(3, 3, 8, 8), b=(8,))},
        {"net/~/stem/w": "kh kw in out", "net/~/square/w": ""},
    ),
}


@pytest.mark.parametrize(("tree", "expected"), CASES.values(), ids=CASES)
def test_the_axes_follow_from_the_module_and_its_shapes(tree, expected):
    w = steelyard.weights(tree)
    assert {name: w[name].axes for name in expected} == expected
    kernels = {name for name, each in w.items() if each.role in ("kernel", "recurrent kernel")}
    assert kernels == {name for name in w if name.rpartition("/")[2] in ("w", "w_i", "w_h")}


def test_a_pair_of_parameters_and_state_is_one_net_whose_statistics_belong_to_their_norm():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    net(torch.randn(50, 3))
    parameters = {
        "linear": ones(w=(3, 4), b=(4,)),
        "batch_norm": ones(scale=(1, 4), offset=(1, 4)),
        "linear_1": ones(w=(4, 2), b=(2,)),
    }
    state = {"batch_norm/~/mean_ema": average(1, 4), "batch_norm/~/var_ema": average(1, 4)}
    w = steelyard.weights((parameters, state))
    norm = {each.role: each.axes for each in w.values() if each.layer == "batch_norm"}
    assert norm == dict.fromkeys(("scale", "offset", "mean", "variance"), "1 channel")
    assert (w["1/batch_norm/~/mean_ema/average"].role, w["1/batch_norm/~/var_ema/average"].role) == ("mean", "variance")
    done = steelyard.transfer(net.eval(), into=(parameters, state))
    made, held = done.model
    assert np.array_equal(made["linear_1"]["w"], net[3].weight.detach().numpy().T)
    assert np.array_equal(made["batch_norm"]["scale"], net[1].weight.detach().numpy()[None])
    assert np.array_equal(held["batch_norm/~/mean_ema"]["average"], net[1].running_mean.numpy()[None])
    assert np.array_equal(held["batch_norm/~/var_ema"]["average"], net[1].running_var.numpy()[None])


def test_a_dict_of_layers_with_other_names_is_not_taken_for_haiku():
    w = steelyard.weights({"fc": ones(w=(4, 4), b=(4,))})
    assert w["fc/w"].axes == ""


def test_a_net_that_haiku_made_has_roles_and_axes_and_comes_back_as_itself():
    import haiku as hk
    import jax

    def net(x, training):
        x = hk.Conv2D(4, 3, name="stem")(x).mean((1, 2))
        x = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(x, training)
        return hk.Linear(3, name="head")(x)

    made = hk.transform_with_state(net).init(jax.random.key(0), jnp.ones((2, 5, 5, 3)), training=True)
    w = steelyard.weights(made)
    assert {name: each.axes for name, each in w.items() if each.role == "kernel"} == {
        "0/stem/w": "kh kw in out",
        "0/head/w": "in out",
    }
    assert {each.role.value for each in w.values()} >= {"scale", "offset", "mean", "variance", "count"}
    assert list(w.parameters) == [name for name in w if name.startswith("0/")]
    assert not list(steelyard.weights(made[1]).parameters)  # `hidden` of a moving average is state too
    back = w.assign({"0/head/b": np.ones(3, "float32")})
    assert back[0]["head"]["b"].tolist() == [1, 1, 1]
    assert steelyard.diff(back[1], made[1]).same
