"""Trees of registered classes are listed by JAX's own paths, and come back as objects of the same classes."""

import dataclasses
import typing

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import steelyard
from steelyard.errors import UnknownModelError


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Dense:
    w: jax.Array
    b: jax.Array
    name: str = dataclasses.field(default="dense", metadata={"static": True})


@flax.struct.dataclass
class Net:
    layers: typing.Any
    value: jax.Array
    tag: str = flax.struct.field(pytree_node=False, default="net")


@jax.tree_util.register_pytree_with_keys_class
class Keyed:
    def __init__(self, w, b):
        self.w, self.b = w, b

    def tree_flatten_with_keys(self):
        return ((jax.tree_util.GetAttrKey("w"), self.w), (jax.tree_util.GetAttrKey("b"), self.b)), None

    @classmethod
    def tree_unflatten(cls, _, parts):
        return cls(*parts)


@jax.tree_util.register_pytree_node_class
class Unkeyed(Keyed):
    def tree_flatten(self):
        return (self.w, self.b), None


class Pair(typing.NamedTuple):
    left: typing.Any
    right: typing.Any


@jax.tree_util.register_pytree_node_class
class Broken(Unkeyed):
    def tree_flatten(self):
        raise AttributeError("no part")


def dense(width=3):
    return Dense(jnp.arange(2.0 * width).reshape(2, width), jnp.ones(width))


TREES = {
    "dataclass": dense(),
    "flax.struct": Net([dense(), dense(4)], jnp.ones(2)),
    "keyed": Keyed(jnp.ones((2, 3)), jnp.zeros(3)),
    "unkeyed": Unkeyed(jnp.ones((2, 3)), jnp.zeros(3)),
    "nested": {"a": [dense(), Pair(dense(), jnp.ones(2))], "b": Unkeyed(dense(), Net((), jnp.ones(1)))},
    "of numpy": Dense(np.ones((2, 3), "f4"), np.zeros(3, "f4")),
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_a_registered_class_is_listed_by_the_paths_of_jax_and_comes_back_as_itself(tree):
    w = steelyard.weights(tree)
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    assert list(w) == [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    vector = np.asarray(ravel_pytree(tree)[0])
    assert w.to_vector().tobytes() == vector.tobytes()
    made = w.assign(vector * 2 + 1)
    assert type(made) is type(tree)
    assert jax.tree_util.tree_structure(made) == structure
    assert np.array_equal(ravel_pytree(made)[0], vector * 2 + 1)
    assert np.array_equal(ravel_pytree(tree)[0], vector)


def test_the_layers_of_a_registered_class_prove_its_roles_and_axes():
    w = steelyard.weights(TREES["flax.struct"])
    assert {name: (each.role, each.axes) for name, each in w.items()} == {
        "layers/0/w": ("kernel", "in out"),
        "layers/0/b": ("bias", "out"),
        "layers/1/w": ("kernel", "in out"),
        "layers/1/b": ("bias", "out"),
        "value": ("other", ""),
    }


def test_a_class_that_cannot_be_flattened_is_refused_with_its_own_reason():
    with pytest.raises(UnknownModelError, match=r"cannot flatten this Broken \(AttributeError: no part"):
        steelyard.weights(Broken(1, 2))


def test_an_object_that_is_not_registered_is_still_of_no_framework():
    with pytest.raises(UnknownModelError, match="does not know"):
        steelyard.weights(dataclasses.make_dataclass("Plain", ["w"])(jnp.ones(2)))
