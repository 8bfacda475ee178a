"""What normed layers of Equinox multiply with, compared with their response to unit vectors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import steelyard
from tests import carried

KEY = jax.random.PRNGKey(0)


def response(call, length):
    """Return the kernel of a layer by what it does to unit vectors, less what it does to zeros."""
    zero = call(jnp.zeros(length))
    return np.stack([np.asarray(call(jnp.eye(length)[place]) - zero) for place in range(length)], 1)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_weight_norm_divides_by_the_norm_over_the_other_axes(axis):
    net = eqx.nn.WeightNorm(eqx.nn.Linear(5, 4, key=KEY), "weight", axis=axis)
    net = eqx.tree_at(lambda n: n.g, net, net.g * 1.5)
    found = steelyard.effective(net)
    assert [*found] == ["layer.weight", "layer.bias"]
    assert np.allclose(found["layer.weight"].numpy(), response(net, 5), rtol=2e-6, atol=1e-6)


def test_spectral_norm_takes_its_vectors_from_the_state():
    layer = eqx.nn.Linear(5, 4, key=KEY)
    net, state = eqx.nn.make_with_state(eqx.nn.SpectralNorm)(layer, "weight", key=KEY, inference=True)
    assert "in the state of the net" in steelyard.effective(net).unreadable["layer.weight"]
    bound = eqx.Partial(net, state=state)
    found = steelyard.effective(bound)["func.layer.weight"]
    assert np.allclose(found.numpy(), response(lambda x: net(x, state)[0], 5), rtol=2e-6, atol=1e-6)
    initial = steelyard.effective(eqx.nn.SpectralNorm(layer, "weight", key=KEY))["layer.weight"]
    assert initial.numpy().tobytes() == found.numpy().tobytes()


def test_a_file_of_leaves_alone_has_no_effective_weights():
    with pytest.raises(steelyard.errors.UnreadableError, match="a run of arrays without names"):
        steelyard.effective(carried.folder("effective") / "equinox-weight-norm" / "model.eqx")
