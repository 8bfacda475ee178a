"""Flax's MessagePack files, written by Flax and by us."""

from contextlib import suppress

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import ml_dtypes
import msgpack
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState
from hypothesis import given
from hypothesis import strategies as st

import steelyard
from steelyard.codecs.msgpack import Blob, decode, packed
from steelyard.errors import FormatError
from steelyard.formats import flax as flax_format
from steelyard.storage.source import from_bytes, open_path
from steelyard.testing import check_format

FLOATS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def saved(tmp_path, tree, name="a.msgpack"):
    path = tmp_path / name
    path.write_bytes(flax.serialization.msgpack_serialize(tree))
    return path


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(3, (2, 2))(x)
        x = nn.BatchNorm(use_running_average=True)(x)
        return nn.Dense(2)(x.reshape(len(x), -1))


def trained():
    """A train state after three steps, and its batch statistics."""
    net, x = Net(), jnp.ones((2, 4, 4, 1))
    variables = net.init(jax.random.key(0), x)
    state = TrainState.create(apply_fn=net.apply, params=variables["params"], tx=optax.adam(0.1))
    for _ in range(3):
        grads = jax.grad(lambda p: net.apply({**variables, "params": p}, x).sum())(state.params)
        state = state.apply_gradients(grads=grads)
    return state, {"params": state.params, "batch_stats": variables["batch_stats"]}


def test_the_variables_of_a_module_have_their_names_roles_axes_and_numbers(tmp_path):
    _, variables = trained()
    path = tmp_path / "net.msgpack"
    path.write_bytes(flax.serialization.to_bytes(variables))
    found = check_format(open_path(path))
    assert {name: (w.role, w.axes, w.layer, w.trainable) for name, w in found.items()} == {
        "params/BatchNorm_0/bias": ("offset", "channel", "params/BatchNorm_0", True),
        "params/BatchNorm_0/scale": ("scale", "channel", "params/BatchNorm_0", True),
        "params/Conv_0/bias": ("bias", "out", "params/Conv_0", True),
        "params/Conv_0/kernel": ("kernel", "kh kw in out", "params/Conv_0", True),
        "params/Dense_0/bias": ("bias", "out", "params/Dense_0", True),
        "params/Dense_0/kernel": ("kernel", "in out", "params/Dense_0", True),
        "batch_stats/BatchNorm_0/mean": ("mean", "channel", "batch_stats/BatchNorm_0", False),
        "batch_stats/BatchNorm_0/var": ("variance", "channel", "batch_stats/BatchNorm_0", False),
    }
    for name, weight in found.items():
        leaf = variables
        for key in name.split("/"):
            leaf = leaf[key]
        np.testing.assert_array_equal(weight.numpy(), leaf)


def test_the_optimizer_and_the_step_of_a_train_state_are_listed_with_scope_all_only(tmp_path):
    state, _ = trained()
    path = tmp_path / "state.msgpack"
    path.write_bytes(flax.serialization.to_bytes(state))
    assert all(name.startswith("params/") for name in steelyard.weights(path))
    found = steelyard.weights(path, scope="all")
    assert found["step"].numpy() == 3
    assert "opt_state/0/mu/Dense_0/kernel" in found
    np.testing.assert_array_equal(found["opt_state/0/nu/Conv_0/bias"].numpy(), state.opt_state[0].nu["Conv_0"]["bias"])


DTYPES = ["bool", "int8", "uint16", "int64", "float16", "float64", "complex64", "bfloat16", "float8_e4m3fn", "int4"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_survives_a_round_trip(tmp_path, dtype):
    array = np.arange(6).reshape(2, 3).astype(getattr(ml_dtypes, dtype, dtype))
    weight = steelyard.weights(saved(tmp_path, {"w": array}))["w"]
    assert weight.dtype == dtype
    assert weight.numpy().dtype == array.dtype
    np.testing.assert_array_equal(weight.numpy(), array)


def test_scalars_are_weights_and_bare_numbers_are_listed_with_scope_all(tmp_path):
    tree = {"a": np.float32(1.5), "b": np.array(2), "n": 7, "x": 0.5, "z": 1 + 2j, "text": "t", "none": None, "flag": True}
    path = saved(tmp_path, tree)
    assert list(steelyard.weights(path)) == ["a", "b"]
    found = steelyard.weights(path, scope="all")
    assert {name: (w.dtype, w.numpy().item()) for name, w in found.items()} == {
        "a": ("float32", 1.5),
        "b": ("int64", 2),
        "n": ("int64", 7),
        "x": ("float64", 0.5),
        "z": ("complex128", 1 + 2j),
        "flag": ("bool", True),
    }


def test_an_array_in_chunks_is_one_array(tmp_path, monkeypatch):
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 20)
    weight = steelyard.weights(saved(tmp_path, {"p": {"w": FLOATS}}))["p/w"]
    np.testing.assert_array_equal(weight.numpy(), FLOATS)
    np.testing.assert_array_equal(weight.read(4, 11), FLOATS.ravel()[4:11])


def test_flax_reads_what_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(flax_format, "CHUNK_LIMIT", 40)
    tree = {"a": {"kernel": FLOATS, "bias": FLOATS[0], "scale": FLOATS[0, 0]}, "b": {"h": FLOATS.astype(ml_dtypes.bfloat16)}}
    steelyard.save(saved(tmp_path, tree), tmp_path / "b.msgpack")
    assert msgpack.unpackb((tmp_path / "b.msgpack").read_bytes())["a"]["kernel"]["shape"] == {"0": 3, "1": 4}
    found = flax.serialization.msgpack_restore((tmp_path / "b.msgpack").read_bytes())
    jax.tree.map(np.testing.assert_array_equal, tree, found)
    assert found["b"]["h"].dtype == ml_dtypes.bfloat16


def test_names_with_an_array_on_their_path_survive(tmp_path):
    arrays = {"a/b/c": FLOATS, "a/b": FLOATS + 1, "a/b/d/e": FLOATS + 2}
    steelyard.save(arrays, tmp_path / "a.msgpack")
    found = steelyard.weights(tmp_path / "a.msgpack")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name].numpy(), array)
    flax.serialization.msgpack_restore((tmp_path / "a.msgpack").read_bytes())


def test_names_of_more_parts_than_a_reader_takes_are_refused_and_those_of_fewer_are_read(tmp_path):
    name = "/".join("a" * 64)
    steelyard.save({name: np.ones(3)}, tmp_path / "net.msgpack")
    for more in (1, 2000):
        with pytest.raises(FormatError, match="more than 64 maps in each other"):
            steelyard.save({name + "/a" * more: np.zeros(3)}, tmp_path / "net.msgpack")
    assert steelyard.weights(tmp_path / "net.msgpack")[name].numpy().sum() == 3


def test_paths_with_the_same_spelling_stay_distinct(tmp_path):
    found = steelyard.weights(saved(tmp_path, {"a": {"b": FLOATS}, "a/b": FLOATS + 1, "a.b": FLOATS + 2}))
    for name, more in (("a/b", 0), (r"a\/b", 1), ("a.b", 2)):
        np.testing.assert_array_equal(found[name].numpy(), FLOATS + more)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=20), inner, max_size=20),
    max_leaves=30,
)


@given(PLAIN)
def test_any_message_is_decoded_as_the_official_reader_does(value):
    data = msgpack.packb(value)
    assert decode(from_bytes(data)) == value


@given(st.text(max_size=70_000) | st.integers(0, 2**64 - 1) | st.booleans() | st.lists(st.integers(0, 300), max_size=40))
def test_packed_values_equal_those_that_the_official_reader_unpacks(value):
    assert msgpack.unpackb(packed(value)) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(data):
    with suppress(FormatError):
        decode(from_bytes(data))


def test_bytes_and_extensions_stay_in_the_file():
    found = decode(from_bytes(msgpack.packb([b"abc", msgpack.ExtType(5, b"xy")])))
    assert [(type(e), e.code, e.offset, e.length) for e in found] == [(Blob, None, 3, 3), (Blob, 5, 8, 2)]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x82\xa1a\x01\xa1a\x02", "duplicate key"),
        (b"\x81\xa1a", "cut off"),
        (b"\x81\xc3\x02", "neither a text nor an integer"),
        (b"\x82\x01\x02\xa11\x02", "duplicate key '1'"),
        (b"\x81\xa1a\xdd\xff\xff\xff\xff", "claims 4,294,967,295 items"),
        (b"\x81\xa1a\xc6\xff\xff\xff\xff", "claims 4,294,967,295 bytes"),
        (b"\x81\xa1a\xc1", "no meaning"),
        (b"\x81\xa1a\x01\x00", "1 more bytes"),
        (b"\x81\xa1a" + b"\x91" * 100 + b"\x01", "levels deep"),
    ],
)
def test_a_damaged_message_is_refused_with_its_reason(data, what):
    with pytest.raises(FormatError, match=what):
        decode(from_bytes(data))


def ndarray(*parts):
    return msgpack.ExtType(1, msgpack.packb(parts))


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        (([2], "float32", b"\0" * 9), "does not take 9 bytes"),
        (([-3], "float32", b""), "impossible shape"),
        (([2.0], "float32", b"\0" * 8), "impossible shape"),
        (([1], "object", b"\0" * 8), "not a supported type of numbers"),
        (([1], "V8", b"\0" * 8), "not a supported type of numbers"),
        (([1], "float64"), "not an array"),
    ],
)
def test_a_damaged_array_is_listed_and_refused_and_the_other_is_read(tmp_path, parts, what):
    path = tmp_path / "a.msgpack"
    path.write_bytes(msgpack.packb({"b": ndarray(*parts), "w": ndarray([1], "float32", b"\0\0\x80\x3f")}))
    found = steelyard.weights(path)
    with pytest.raises(FormatError, match=what):
        found["b"].numpy()
    assert found["w"].numpy().tolist() == [1.0]


def test_a_file_is_recognised_by_its_first_key(tmp_path):
    assert list(steelyard.weights(saved(tmp_path, {"params": {"w": FLOATS}}, "model.qlknn"))) == ["params/w"]
    assert not flax_format.sniff(from_bytes(b"\x80\x04\x95\x00", "a.pkl"))


def test_a_message_in_plain_bytes_is_read_as_a_part_of_the_tree(tmp_path):
    inner = flax.serialization.msgpack_serialize({"mean": np.arange(3.0), "name": "net"})
    path = saved(tmp_path, {"w": FLOATS, "config": inner})
    found = steelyard.weights(path)
    assert found["config/mean"].numpy().tolist() == [0, 1, 2]
    assert (set(found), found.unreadable) == ({"w", "config/mean"}, {})


def test_plain_bytes_are_listed_with_the_reason_and_check_names_them(tmp_path):
    path = saved(tmp_path, {"w": FLOATS, "blob": b"12345", "inner": {"more": b""}})
    found = steelyard.weights(path)
    assert set(found) == {"w", "blob", "inner/more"}
    assert (found["blob"].encoding, found["blob"].size) == ("bytes", 0)
    for name, length in (("blob", 5), ("inner/more", 0)):
        assert f"{name} is {length} raw bytes, not an array" in found.unreadable[name]
    checked = steelyard.check(path)
    assert (checked.readable, checked.ok) == (1, False)
    assert {finding.name for finding in checked.findings} == {"blob", "inner/more"}


def test_integers_as_keys_are_named_by_their_digits(tmp_path):
    tree = {"layers": {number: {"kernel": FLOATS * number} for number in (0, 1, 127, 300, -1, -200, 1 << 40)}}
    found = steelyard.weights(saved(tmp_path, tree))
    assert [*found] == [f"layers/{number}/kernel" for number in sorted(tree["layers"])]  # in JAX's order
    assert np.array_equal(found["layers/300/kernel"].numpy(), FLOATS * 300)
