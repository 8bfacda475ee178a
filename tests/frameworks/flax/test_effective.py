"""What layers of Flax with LoRA and weight norm multiply with, compared with their response to unit vectors."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import steelyard

DRAW = np.random.default_rng(0)


def response(call, length):
    """Return the kernel of a layer by what it does to unit vectors, less what it does to zeros."""
    return np.asarray(call(jnp.eye(length)) - call(jnp.zeros((1, length))))


def test_lora_of_nnx_is_added_to_the_kernel():
    net = nnx.LoRALinear(6, 4, lora_rank=2, rngs=nnx.Rngs(0))
    net.lora.lora_b[...] = jnp.asarray(DRAW.normal(size=(2, 4)), jnp.float32)
    around = nnx.LoRA(6, 2, 5, base_module=nnx.Linear(6, 5, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    around.lora_b[...] = jnp.asarray(DRAW.normal(size=(2, 5)), jnp.float32)
    for each in (net, around):
        found = steelyard.effective(each)
        assert {*found} == {"kernel", "bias"}
        assert np.allclose(found["kernel"].numpy(), response(each, 6), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("axes", [-1, None, (0, 1)])
def test_weight_norm_of_nnx_divides_by_the_norm_over_the_other_axes(axes):
    net = nnx.WeightNorm(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), feature_axes=axes, rngs=nnx.Rngs(0))
    found = steelyard.effective(net)
    assert {*found} == {"kernel", "bias"}
    kernel = found["kernel"].numpy().copy()
    assert np.allclose(kernel, response(net, 6), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("axes", [-1, None])
def test_weight_norm_of_linen_is_found_by_the_key_of_its_scale(axes):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.WeightNorm(nn.Dense(4, name="d"), feature_axes=axes, name="normed")(x)

    variables = Net().init(jax.random.PRNGKey(0), jnp.ones((1, 5)))
    variables = jax.tree.map(lambda leaf: leaf * 1.5 + 0.1, variables)
    found = steelyard.effective(variables)
    assert {*found} == {"params/d/kernel", "params/d/bias"}
    assert np.allclose(found["params/d/kernel"].numpy(), response(lambda x: Net().apply(variables, x), 5), rtol=3e-6, atol=1e-6)


def test_spectral_norm_of_linen_is_refused():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.SpectralNorm(nn.Dense(4, name="d"))(x, update_stats=False)

    found = steelyard.effective(Net().init(jax.random.PRNGKey(0), jnp.ones((1, 5))))
    assert "power iterations" in found.unreadable["params/d/kernel"]
    assert {*found} == {"params/d/kernel", "params/d/bias"}


def test_norms_that_linen_makes_in_setup_are_found_below_the_path_of_the_kernel():
    class Normed(nn.Module):
        norm: type

        def setup(self):
            self.a = self.norm(nn.Dense(4))

        def __call__(self, x):
            return self.a(x, **({"update_stats": False} if self.norm is nn.SpectralNorm else {}))

    net = Normed(nn.WeightNorm)
    for start in (net, nn.WeightNorm(nn.Dense(4))):
        variables = start.init(jax.random.PRNGKey(0), jnp.ones((1, 5)))
        variables = jax.tree.map(lambda leaf: leaf * 1.5 + 0.1, variables)
        found = steelyard.effective(variables)
        (kernel,) = found.select(role="kernel").values()
        assert [*found] == [name for name in steelyard.weights(variables) if not name.endswith("/scale")]
        assert np.allclose(kernel.numpy(), response(lambda x: start.apply(variables, x), 5), rtol=3e-6, atol=1e-6)  # noqa: B023
    spectral = steelyard.effective(Normed(nn.SpectralNorm).init(jax.random.PRNGKey(0), jnp.ones((1, 5))))
    assert "power iterations" in spectral.unreadable["params/a/layer_instance/kernel"]


class Two(nnx.Module):
    def __init__(self):
        self.a, self.b = nnx.Linear(5, 4, rngs=nnx.Rngs(1)), nnx.Linear(4, 3, rngs=nnx.Rngs(2))

    def __call__(self, x):
        return self.b(jnp.tanh(self.a(x)))


def test_weight_norm_of_nnx_around_several_layers_divides_each_kernel():
    net, x = nnx.WeightNorm(Two(), rngs=nnx.Rngs(0)), jnp.asarray(DRAW.normal(size=(3, 5)), jnp.float32)
    net.scales = nnx.data({path: jnp.asarray(DRAW.normal(size=scale.shape), "float32") for path, scale in net.scales.items()})
    found, plain = steelyard.effective(net), Two()
    assert [*found] == [*steelyard.weights(plain)]
    steelyard.weights(plain).assign(found)
    assert np.allclose(plain(x), net(x), rtol=3e-6, atol=1e-6)


def test_spectral_norm_of_nnx_is_refused():
    net = nnx.SpectralNorm(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    found = steelyard.effective(net)
    assert "power iterations" in found.unreadable["kernel"]
    assert [*found] == ["kernel", "bias"]
    assert not np.allclose(response(net, 6), net.layer_instance.kernel[...])


def test_a_norm_of_a_layer_is_no_weight_norm():
    layer = {"params": {"norm": {"scale": np.ones(3), "bias": np.zeros(3)}, "d": {"kernel": np.ones((2, 3))}}}
    listed = steelyard.weights(
        {f"params/{outer}/{leaf}": v for outer, inner in layer["params"].items() for leaf, v in inner.items()}
    )
    assert listed.effective() is listed
