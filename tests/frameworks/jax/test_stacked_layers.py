"""Layers that vmap and scan stack have an axis of layers before those of each layer, where this is proven."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

import steelyard


def axes(model):
    return {name: each.axes for name, each in steelyard.weights(model).items()}


def keys(count=3):
    return jax.random.split(jax.random.key(0), count)


def test_equinox_layers_under_filter_vmap():
    assert axes(eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 5, key=key))(keys())) == {
        "weight": "layer out in",
        "bias": "layer out",
    }
    assert axes(eqx.filter_vmap(lambda key: eqx.nn.Conv1d(2, 5, 3, key=key))(keys())) == {
        "weight": "layer out in k",
        "bias": "layer out 1",
    }
    twice = eqx.filter_vmap(eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 5, key=key)))(keys(6).reshape(2, 3))
    assert axes(twice) == {"weight": "layer1 layer2 out in", "bias": "layer1 layer2 out"}
    elsewhere = eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 5, key=key), out_axes=-1)(keys())
    assert axes(elsewhere) == {"weight": "", "bias": ""}  # the layers are along the last axis


def test_nnx_layers_under_vmap():
    dense = nnx.vmap(lambda key: nnx.Linear(4, 5, rngs=nnx.Rngs(key)))(keys())
    assert axes(dense) == {"bias": "layer out", "kernel": "layer in out"}
    conv = nnx.vmap(lambda key: nnx.Conv(2, 5, (3,), use_bias=False, rngs=nnx.Rngs(key)))(keys())
    assert axes(conv) == {"kernel": "layer k in out"}


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        x = nn.LayerNorm()(nn.Dense(4)(x))
        return x + nn.Conv(4, (3,), use_bias=False)(x), None


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        blocks = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)()
        return nn.Dense(2)(blocks(x, None)[0])


def test_linen_layers_under_scan_and_a_vmapped_init():
    x = jnp.ones((1, 5, 4))
    scanned = axes(Scanned().init(jax.random.key(0), x))
    assert scanned == {
        "params/Dense_0/bias": "out",
        "params/Dense_0/kernel": "in out",
        "params/ScanBlock_0/Conv_0/kernel": "layer k in out",
        "params/ScanBlock_0/Dense_0/bias": "layer out",
        "params/ScanBlock_0/Dense_0/kernel": "layer in out",
        "params/ScanBlock_0/LayerNorm_0/bias": "layer channel",
        "params/ScanBlock_0/LayerNorm_0/scale": "layer channel",
    }
    members = axes(jax.vmap(lambda key: Block().init(key, x))(keys()))
    plain = axes(Block().init(jax.random.key(0), x))
    assert members == {name: f"layer {each}" for name, each in plain.items()}
    assert plain["params/Conv_0/kernel"] == "k in out"


def test_a_stack_without_a_bias_proves_nothing():
    class Bare(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, use_bias=False)(x)

    stacked = jax.vmap(lambda key: Bare().init(key, jnp.ones((1, 4))))(keys())
    assert axes(stacked) == {"params/Dense_0/kernel": ""}


def test_statistics_by_output_of_a_stack_are_those_of_numpy():
    stack = eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 5, key=key))(keys())
    rows = [row for row in steelyard.stats(stack, "out") if row.name == "weight"]
    assert np.allclose([row.mean for row in rows], np.asarray(stack.weight).mean((0, 2)))
