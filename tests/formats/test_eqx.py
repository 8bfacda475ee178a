"""Files of Equinox: the leaves of a tree without names, which go back into the model that they were saved from."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError, ShapeError


class Net(eqx.Module):
    layers: list
    drop: eqx.nn.Dropout
    scale: float
    act: object

    def __init__(self, seed):
        keys = jax.random.split(jax.random.PRNGKey(seed), 3)
        self.layers = [eqx.nn.Linear(3, 4, key=keys[0]), eqx.nn.Linear(4, 4, key=keys[1]), eqx.nn.Linear(4, 4, key=keys[2])]
        self.drop, self.scale, self.act = eqx.nn.Dropout(0.5), 2.0, jax.nn.relu


@pytest.fixture
def saved(tmp_path):
    net = Net(0)
    eqx.tree_serialise_leaves(tmp_path / "net.eqx", net)
    return net, tmp_path / "net.eqx"


def test_the_arrays_of_a_file_are_listed_by_their_places(saved):
    net, path = saved
    listed = steelyard.weights(path)
    leaves = [leaf for leaf in jax.tree_util.tree_leaves(net) if eqx.is_array_like(leaf)]
    assert [*listed] == [str(place) for place in range(len(leaves))]
    assert all(np.array_equal(weight, leaf) for weight, leaf in zip(listed.values(), leaves, strict=True))


def test_a_line_of_settings_before_the_leaves_is_passed_over(saved, tmp_path):
    path = tmp_path / "settings.eqx"
    path.write_bytes(json.dumps({"width": 4}).encode() + b"\n" + saved[1].read_bytes())
    assert steelyard.digest(path) == steelyard.digest(saved[1])


def test_two_bytes_without_a_type_are_bfloat16_as_jax_reads_them(tmp_path):
    array = jnp.arange(4, dtype=jnp.bfloat16)
    eqx.tree_serialise_leaves(tmp_path / "net.eqx", [array, array])
    listed = steelyard.weights(tmp_path / "net.eqx")
    assert (listed["1"].dtype, listed["1"].numpy().tolist()) == ("bfloat16", [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("cut", "reason"), [(-1, "ends within an array"), (-140, "the file ends at byte"), (10, "the file ends")]
)
def test_a_file_that_is_cut_off_is_refused(saved, cut, reason, tmp_path):
    data = saved[1].read_bytes()
    (tmp_path / "cut.eqx").write_bytes(data[:cut])
    with pytest.raises(FormatError, match=reason):
        steelyard.weights(tmp_path / "cut.eqx")


def test_something_else_between_the_arrays_is_refused(saved, tmp_path):
    (tmp_path / "more.eqx").write_bytes(saved[1].read_bytes() + b"something else")
    with pytest.raises(FormatError, match=r"is not a \.npy file"):
        steelyard.weights(tmp_path / "more.eqx")


def test_a_file_goes_back_into_a_model_of_the_same_code(saved):
    net, path = saved
    for made in (steelyard.weights(Net(1)).assign(path), steelyard.transfer(path, into=Net(1)).model):
        pairs = zip(jax.tree_util.tree_leaves(made), jax.tree_util.tree_leaves(net), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs if eqx.is_array(one))
    assert {row.kind for row in steelyard.diff(Net(0), path).rows if row.source} == {"equal"}


def test_a_file_of_another_model_is_refused(saved):
    other = eqx.tree_at(lambda net: net.layers[0], Net(1), eqx.nn.Linear(3, 5, key=jax.random.PRNGKey(2)))
    with pytest.raises(ShapeError, match="no weight is called '0'"):
        steelyard.weights(other).assign(saved[1])


def test_a_single_leaf_has_a_place_too(tmp_path):
    eqx.tree_serialise_leaves(tmp_path / "one.eqx", jnp.arange(3.0))
    assert [*steelyard.weights(tmp_path / "one.eqx")] == ["0"]


def test_a_module_and_its_state_in_one_file_go_back_into_both(tmp_path):
    made = [eqx.nn.make_with_state(eqx.nn.BatchNorm)(4, "batch", mode="ema") for _ in range(2)]
    one = steelyard.weights(made[0])
    one = one.assign({name: np.arange(weight.size).reshape(weight.shape) == 1 for name, weight in one.items() if weight.shape})
    eqx.tree_serialise_leaves(tmp_path / "both.eqx", one)
    back = steelyard.weights(made[1]).assign(tmp_path / "both.eqx")
    assert isinstance(back, tuple)
    assert steelyard.diff(back, one).same
