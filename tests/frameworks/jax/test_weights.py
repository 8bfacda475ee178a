"""JAX: arrays and plain trees, by JAX's own paths, in JAX's own order, and never changed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from outputs import assert_close

import steelyard
from steelyard.errors import LossyError, NotFittedError, ShapeError, UnknownModelError


class Pair(NamedTuple):
    left: jax.Array
    right: jax.Array


def net(tree, x):
    for layer in tree["layers"]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return x @ tree["head"].left + tree["head"].right


@pytest.fixture(scope="module")
def trained():
    keys = iter(jax.random.split(jax.random.key(0), 20))
    layers = [{"w": jax.random.normal(next(keys), (3, 3)), "b": jnp.zeros(3)} for _ in range(11)]
    tree = {"layers": layers, "head": Pair(jax.random.normal(next(keys), (3, 2)), jnp.zeros(2))}
    x = jax.random.normal(next(keys), (8, 3))
    optimizer = optax.adam(0.01)
    state = optimizer.init(tree)
    for _ in range(3):
        slope = jax.grad(lambda tree: ((net(tree, x) - 1) ** 2).mean())(tree)
        updates, state = optimizer.update(slope, state)
        tree = optax.apply_updates(tree, updates)
    return tree, x, state


def test_a_tree_has_the_paths_the_order_and_the_vector_of_jax(trained):
    tree, _, _ = trained
    w = steelyard.weights(tree)
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    assert list(w) == [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]
    assert list(w)[:4] == ["head/left", "head/right", "layers/0/b", "layers/0/w"]
    assert list(w).index("layers/2/w") < list(w).index("layers/10/w")
    vector = ravel_pytree(tree)[0]
    assert w.to_vector().tobytes() == np.asarray(vector).tobytes()
    assert w["layers/0/w"].layer == "layers/0"
    assert (w["layers/0/w"].role, w["layers/0/b"].role, w["layers/0/w"].axes) == ("kernel", "bias", "")


def test_assign_returns_a_new_tree_and_leaves_the_old_one(trained):
    tree, x, _ = trained
    before = np.asarray(ravel_pytree(tree)[0])
    other = jax.tree.map(jnp.zeros_like, tree)
    vector = steelyard.weights(tree).to_vector()
    new = steelyard.weights(other).assign(vector)
    vector[:] = np.nan
    assert not np.asarray(ravel_pytree(other)[0]).any()
    np.testing.assert_array_equal(ravel_pytree(new)[0], before)
    assert_close(net(new, x), net(tree, x))
    assert jax.tree.structure(new) == jax.tree.structure(tree)
    part = steelyard.weights(tree).assign({"head/right": [5.0, 6.0]})
    assert part["head"].right.tolist() == [5, 6]
    assert part["head"].left is tree["head"].left, "what is not assigned is shared"
    np.testing.assert_array_equal(ravel_pytree(tree)[0], before)
    jax.grad(lambda tree: net(tree, x).sum())(new)


def test_the_state_of_an_optimizer_is_a_tree_too(trained):
    _, _, state = trained
    w = steelyard.weights(state)
    assert list(w)[:3] == ["0/count", "0/mu/head/left", "0/mu/head/right"]
    assert int(w["0/count"].numpy()) == 3


def test_numpy_arrays_and_numbers_in_a_tree_are_not_written_in_place():
    held = np.ones(2, "float32")
    tree = {"a": jnp.ones(2), "b": held, "c": 2.0, "d": None, "e": "text"}
    w = steelyard.weights(tree)
    assert list(w) == ["a", "b", "c"]
    new = w.assign({"a": [3.0, 3.0], "b": [4.0, 4.0], "c": 5.0})
    assert held.tolist() == [1, 1]
    assert tree["c"] == 2
    assert (new["b"].tolist(), new["c"], new["e"]) == ([4, 4], 5.0, "text")


def test_names_are_joined_by_dots_unless_all_arrays_are_of_jax():
    assert list(steelyard.weights({"fc": {"w": np.ones(2)}})) == ["fc.w"]
    assert list(steelyard.weights({"fc": {"w": jnp.ones(2)}})) == ["fc/w"]
    import torch

    mixed = {"old": torch.zeros(2), "new": {"fc": {"w": jnp.ones(2)}}}
    w = steelyard.weights(mixed)
    assert list(w) == ["old", "new.fc/w"]
    inner = mixed["new"]
    assert w.assign({"old": [1.0, 1.0], "new.fc/w": [7.0, 7.0]}) is mixed
    assert mixed["old"].tolist() == [1, 1]
    assert mixed["new"]["fc"]["w"].tolist() == [7, 7]
    assert inner["fc"]["w"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4", "int8", "bool", "complex64", "uint32"]
)
@pytest.mark.parametrize("shape", [(), (4, 3), (0, 2)])
def test_every_type_comes_back_bit_for_bit(dtype, shape):
    array = jnp.ones(shape, dtype)
    w = steelyard.weights(array)
    assert (list(w), w[""].dtype, w[""].shape) == ([""], dtype, shape)
    assert w[""].numpy().tobytes() == np.asarray(array).tobytes()
    new = w.assign(np.zeros(array.size, w[""].numpy().dtype))
    assert (new.dtype, new.shape) == (array.dtype, shape)
    assert not np.asarray(new).astype(bool).any()


def test_weak_types_and_devices_are_unchanged():
    weak = jnp.asarray(1.0)
    new = steelyard.weights(weak).assign({"": 2.0})
    assert (weak.weak_type, new.weak_type, float(new)) == (True, True, 2.0)
    placed = jax.device_put(jnp.ones((4, 2)), jax.sharding.NamedSharding(jax.make_mesh((1,), ("x",)), jax.P("x")))
    moved = steelyard.weights(placed).assign(np.arange(8.0))
    assert moved.sharding == placed.sharding
    assert moved.committed
    assert not steelyard.weights(jnp.ones(2)).assign(np.ones(2)).committed


def test_keys_for_random_numbers_are_not_weights():
    tree = {"w": jnp.ones(2), "key": jax.random.key(0)}
    w = steelyard.weights(tree)
    assert list(w) == ["w"]
    assert w.assign({"w": [2.0, 2.0]})["key"] is tree["key"]


def test_objects_without_numbers_are_refused_with_a_reason():
    with pytest.raises(UnknownModelError, match="outside of jit"):
        jax.jit(lambda x: len(steelyard.weights({"w": x})))(jnp.ones(2))
    with pytest.raises(NotFittedError, match="without numbers"):
        steelyard.weights(jax.eval_shape(lambda: {"w": jnp.ones(2)}))
    with pytest.raises(ShapeError, match="one type"):
        steelyard.weights({1: jnp.ones(2), "a": jnp.ones(2)})
    gone = jnp.ones(2)
    w = steelyard.weights(gone)
    gone.delete()
    with pytest.raises(ShapeError, match="deleted"):
        w.to_vector()


def test_arrays_that_do_not_fit_raise_an_error_instead_of_a_new_tree():
    tree = {"a": jnp.ones((2, 3)), "n": jnp.ones(2, "int32")}
    w = steelyard.weights(tree)
    with pytest.raises(ShapeError, match=r"\(2, 3\).*\(3, 2\)"):
        w.assign({"a": np.ones((3, 2))})
    with pytest.raises(LossyError):
        w.assign({"n": [0.5, 1.0]})


def test_two_names_that_become_one_are_refused():
    with pytest.raises(ShapeError, match="two weights are called 'a/b'"):
        steelyard.weights({"a/b": jnp.ones(1), "a": {"b": jnp.ones(1)}})


def test_an_array_that_is_in_a_tree_twice_is_tied_and_stays_so():
    shared, other = jnp.arange(3.0), jnp.arange(3.0)
    tree = {"a": shared, "b": {"c": shared}, "d": other}
    w = steelyard.weights(tree)
    assert [weight.tied for weight in w.values()] == [None, "a", None]
    assert w.size == 6
    new = w.assign({"b/c": np.ones(3)})
    assert new["a"] is new["b"]["c"]
    assert new["a"].tolist() == [1, 1, 1]
    assert new["d"] is other
    with pytest.raises(ShapeError, match="share one memory"):
        w.assign({"a": np.ones(3), "b/c": np.zeros(3)})


def test_the_moments_of_an_optimizer_are_neither_kernels_nor_parameters(trained):
    tree, _, state = trained
    w = steelyard.weights({"net": tree, "optimizer": state})
    assert {each.role.value for name, each in w.items() if "/mu/" in name or "/nu/" in name} == {"other"}
    assert all(name.startswith("net/") for name in w.select(role=["kernel", "bias"]))
    assert w.parameters.to_vector().tobytes() == np.asarray(ravel_pytree(tree)[0]).tobytes()
    assert not list(steelyard.weights(state).parameters)
