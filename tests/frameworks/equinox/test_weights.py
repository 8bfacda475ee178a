"""Equinox: names as Python's attribute paths, facts by class, and new modules instead of changed ones."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from outputs import assert_close

import steelyard
from steelyard.errors import NotFittedError, ShapeError


class Net(eqx.Module):
    layers: list
    norm: eqx.nn.BatchNorm
    heads: dict
    gain: jax.Array
    fixed: np.ndarray
    rate: float = 0.5
    width: int = eqx.field(static=True, default=3)

    def __init__(self, key):
        keys = iter(jax.random.split(key, 20))
        self.layers = [eqx.nn.Linear(3, 3, key=next(keys)) for _ in range(11)]
        self.layers.insert(1, jax.nn.tanh)
        self.norm = eqx.nn.BatchNorm(3, axis_name="batch", mode="ema")
        self.heads = {"mean": eqx.nn.Linear(3, 2, key=next(keys))}
        self.gain = jnp.ones(2)
        self.fixed = np.full(2, 0.5, "float32")

    def __call__(self, x, state):
        for layer in self.layers:
            x = layer(x)
        x, state = self.norm(x, state)
        return self.heads["mean"](x) * self.gain + self.fixed, state


def run(model, state, x):
    return jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)


@pytest.fixture(scope="module")
def trained():
    model, state = eqx.nn.make_with_state(Net)(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (8, 3))
    optimizer = optax.adam(0.01)
    moments = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state, moments):
        def loss(model, state):
            y, state = run(model, state, x)
            return ((y - 1) ** 2).mean(), state

        slope, state = eqx.filter_grad(loss, has_aux=True)(model, state)
        updates, moments = optimizer.update(slope, moments)
        return eqx.apply_updates(model, updates), state, moments

    for _ in range(3):
        model, state, moments = step(model, state, moments)
    return model, state, x


def test_names_are_the_paths_from_the_module_in_python(trained):
    model, _, _ = trained
    w = steelyard.weights(model)
    leaves = jax.tree_util.tree_flatten_with_path(eqx.filter(model, eqx.is_array_like))[0]
    arrays = [jax.tree_util.keystr(path)[1:] for path, leaf in leaves if hasattr(leaf, "shape")]
    assert list(w) == arrays
    assert {"layers[0].weight", "layers[11].bias", "heads['mean'].weight", "gain", "fixed"} <= set(w)
    for name, weight in w.items():
        np.testing.assert_array_equal(weight.numpy(), eval(f"model.{name}"))
    assert w["layers[0].weight"].layer == "layers[0]"
    assert list(w.layers)[-1] == ""
    assert len(w.select("layers[0].weight")) == 1


def test_the_vector_is_that_of_ravel_pytree_and_makes_an_equal_module(trained):
    model, state, x = trained
    w = steelyard.weights(model)
    vector = w.to_vector()
    expected = ravel_pytree(eqx.filter(model, lambda leaf: isinstance(leaf, (jax.Array, np.ndarray))))[0]
    assert vector.tobytes() == np.asarray(expected).tobytes()
    other, _ = eqx.nn.make_with_state(Net)(jax.random.key(7))
    before = steelyard.weights(other).to_vector()
    new = steelyard.weights(other).assign(vector)
    vector[:] = np.nan
    np.testing.assert_array_equal(steelyard.weights(other).to_vector(), before)
    np.testing.assert_array_equal(steelyard.weights(new).to_vector(), w.to_vector())
    assert_close(run(new, state, x)[0], run(model, state, x)[0])
    assert jax.tree.structure(new) == jax.tree.structure(other)
    part = w.assign({"gain": [3.0, 4.0]})
    assert part.gain.tolist() == [3, 4]
    assert part.layers[0].weight is model.layers[0].weight


def test_a_state_is_listed_and_assign_returns_a_new_one(trained):
    model, state, x = trained
    w = steelyard.weights(state)
    assert list(w) == ["0", "1[0]", "1[1]"]
    mean, var = state.get(model.norm.ema_state_index)
    np.testing.assert_array_equal(w["1[0]"].numpy(), mean)
    np.testing.assert_array_equal(w["1[1]"].numpy(), var)
    assert mean.any()
    new = w.assign({"1[0]": mean + 100})
    shown = eqx.nn.inference_mode(model)
    assert not np.allclose(run(shown, new, x)[0], run(shown, state, x)[0])
    both = steelyard.weights((model, state))
    assert {"0.layers[0].weight", "1.1[0]"} <= set(both)
    again = both.assign({"1.1[0]": mean, "0.gain": [1.0, 2.0]})
    assert again[0].gain.tolist() == [1, 2]


KEY = jax.random.key(0)
FACTS = [
    (eqx.nn.Linear(2, 3, key=KEY), {"weight": ("kernel", "out in"), "bias": ("bias", "out")}),
    (eqx.nn.Conv1d(2, 3, 2, key=KEY), {"weight": ("kernel", "out in k"), "bias": ("bias", "out 1")}),
    (eqx.nn.Conv(2, 2, 3, 2, key=KEY), {"weight": ("kernel", "out in kh kw"), "bias": ("bias", "out 1 1")}),
    (eqx.nn.ConvTranspose2d(2, 3, 2, key=KEY), {"weight": ("kernel", "out in -kh -kw"), "bias": ("bias", "out 1 1")}),
    (eqx.nn.ConvTranspose1d(2, 4, 2, groups=2, key=KEY), {"weight": ("kernel", "group*out in -k"), "bias": ("bias", "out 1")}),
    (eqx.nn.Embedding(5, 3, key=KEY), {"weight": ("embedding", "vocab out")}),
    (eqx.nn.LayerNorm(3), {"weight": ("scale", "channel"), "bias": ("offset", "channel")}),
    (eqx.nn.LayerNorm((2, 3)), {"weight": ("scale", ""), "bias": ("offset", "")}),
    (eqx.nn.RMSNorm(3), {"weight": ("scale", "channel"), "bias": ("offset", "channel")}),
    (eqx.nn.GroupNorm(1, 3), {"weight": ("scale", "channel"), "bias": ("offset", "channel")}),
    (eqx.nn.PReLU(), {"negative_slope": ("other", "")}),
    (eqx.nn.PReLU(jnp.zeros((3, 1, 1))), {"negative_slope": ("other", "channel 1 1")}),
    (
        eqx.nn.LSTMCell(2, 3, key=KEY),
        {
            "weight_ih": ("kernel", "[ifgo]*out in"),
            "weight_hh": ("recurrent kernel", "[ifgo]*out in"),
            "bias": ("bias", "[ifgo]*out"),
        },
    ),
    (
        eqx.nn.GRUCell(2, 3, key=KEY),
        {
            "weight_ih": ("kernel", "[rzn]*out in"),
            "weight_hh": ("recurrent kernel", "[rzn]*out in"),
            "bias": ("bias", "[rzn]*out"),
            "bias_n": ("bias", "[n]*out"),
        },
    ),
    (
        eqx.nn.MultiheadAttention(2, 4, key=KEY),
        {f"{name}_proj.weight": ("kernel", "out in") for name in ("query", "key", "value", "output")},
    ),
    (
        eqx.nn.WeightNorm(eqx.nn.Linear(2, 3, key=KEY)),
        {"layer.weight": ("kernel", "out in"), "layer.bias": ("bias", "out"), "g": ("scale", "out 1")},
    ),
]


@pytest.mark.parametrize(("layer", "expected"), FACTS, ids=range(len(FACTS)))
def test_roles_and_axes_by_class(layer, expected):
    found = {name: (str(w.role), w.axes) for name, w in steelyard.weights(layer).items()}
    assert found == expected


@pytest.mark.parametrize("rank", [1, 2])
def test_a_minus_marks_the_flipped_axes_of_a_transposed_kernel(rank):
    """Compares outputs with those of torch, whose transposed kernel is (in, out, space)."""
    import torch

    layer = getattr(eqx.nn, f"ConvTranspose{rank}d")(2, 3, 3, stride=2, key=KEY)
    kernel = steelyard.weights(layer)["weight"]
    places = [place for place, word in enumerate(kernel.axes.split()) if word.startswith("-")]
    assert len(places) == rank
    turned = np.flip(kernel.numpy(), places).swapaxes(0, 1).copy()
    x = np.random.default_rng(0).normal(size=(2, *[5] * rank)).astype("float32")
    theirs = getattr(torch.nn.functional, f"conv_transpose{rank}d")(torch.tensor(x)[None], torch.tensor(turned), stride=2)
    ours = layer(jnp.asarray(x)) - layer.bias
    np.testing.assert_allclose(ours, theirs[0], atol=1e-5)


def test_a_user_s_class_of_the_same_name_is_judged_only_by_its_fields():
    class Linear(eqx.Module):
        weight: jax.Array
        bias: jax.Array

    w = steelyard.weights(Linear(jnp.ones((2, 3)), jnp.ones(2)))
    assert [(str(x.role), x.axes) for x in w.values()] == [("kernel", ""), ("bias", "")]


def test_shapes_without_numbers_are_distinguished_from_settings():
    with pytest.raises(NotFittedError, match="without numbers"):
        steelyard.weights(eqx.filter_eval_shape(eqx.nn.Linear, 2, 3, key=KEY))
    assert len(steelyard.weights(eqx.nn.Dropout(0.5))) == 0
    assert list(steelyard.weights(eqx.filter(eqx.nn.Linear(2, 3, key=KEY), lambda x: x.ndim == 1))) == ["bias"]


def test_arrays_that_do_not_fit_raise_an_error_instead_of_a_new_module(trained):
    w = steelyard.weights(trained[0])
    with pytest.raises(ShapeError, match=r"\(3, 3\).*\(9,\)"):
        w.assign({"layers[0].weight": np.ones(9)})
    with pytest.raises(ShapeError, match="did you mean 'layers"):
        w.assign({"layers.0.weight": np.ones((3, 3))})


@pytest.mark.parametrize("mode", ["ema", "batch"])
def test_the_running_statistics_of_a_module_with_its_state_belong_to_the_norm(mode):
    class Net(eqx.Module):
        dense: eqx.nn.Linear
        norm: eqx.nn.BatchNorm

        def __init__(self, key):
            self.dense = eqx.nn.Linear(3, 4, key=key)
            self.norm = eqx.nn.BatchNorm(4, "batch", mode=mode)

    model, state = eqx.nn.make_with_state(Net)(jax.random.key(0))
    w = steelyard.weights((model, state))
    known = {each.role: name for name, each in w.items() if each.layer == "0.norm"}
    assert known.keys() == {"scale", "offset", "mean", "variance"}
    assert {w[name].axes for name in known.values()} == {"channel"}
    _, made = w.assign({known["mean"]: np.full(4, 2, "f4"), known["variance"]: np.full(4, 3, "f4")})
    index = model.norm.ema_state_index if mode == "ema" else model.norm.batch_state_index
    assert [each.tolist() for each in made.get(index)] == [[2] * 4, [3] * 4]
    assert w.counts.buffers == 8


def test_statistics_that_still_need_a_correction_have_no_role():
    model, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(4, "batch", mode="batch")
    _, state = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(jnp.ones((5, 4)), state)
    assert "mean" not in {each.role for each in steelyard.weights((model, state)).values()}
