"""Checkpoints of T5X and old ones of Orbax, whose arrays are in folders of zarr beside a MessagePack."""

import shutil
from pathlib import Path

import flax.serialization
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore as ts

import steelyard
from steelyard.core.weight import Role
from steelyard.errors import FormatError, UnsafeFileError
from steelyard.formats import format_name

KERNEL = np.arange(48, dtype="f4").reshape(8, 6)
OLD = Path(ocp.__file__).parent / "testing"
"""Checkpoints that Orbax's own tests restore."""


def stored(folder, name, values, driver="file"):
    """Write an array with TensorStore, as T5X does, and return what T5X writes into its MessagePack."""
    spec = {"driver": "zarr", "dtype": str(values.dtype), "kvstore": {"driver": "file", "path": f"{name}/"}}
    spec["metadata"] = {
        "shape": [*values.shape],
        "chunks": [-(-n // 2) for n in values.shape],
        "compressor": {"id": "gzip", "level": 1},
    }
    place = {**spec, "kvstore": {"driver": "file", "path": f"{folder}/{name}/"}}
    ts.open(place, create=True).result()[...] = values
    return {**spec, "kvstore": {**spec["kvstore"], "driver": driver}}


@pytest.fixture
def t5x(tmp_path):
    """Make a checkpoint of T5X: arrays in zarr of several drivers, and a small one in the file."""
    folder = tmp_path / "checkpoint_1000"
    query = stored(folder, "target.encoder.layers_0.query.kernel", KERNEL)
    old = stored(folder, "target.decoder.logits.kernel", KERNEL[:4].astype(ml_dtypes.bfloat16), "gfile")
    cloud = {**stored(folder, "target.scale", np.zeros(6, "f4")), "kvstore": {"driver": "gcs", "bucket": "t5x-dummy-bucket"}}
    cloud["path"] = "target.scale"
    target = {
        "encoder": {"layers_0": {"query": {"kernel": query}, "norm": {"scale": np.ones(3, "f4")}}},
        "decoder": {"logits": {"kernel": old}, "norm": {"scale": cloud}},
    }
    state = {"step": np.int32(7), "param_states": {"kernel": {"v": stored(folder, "state.param_states.kernel.v", KERNEL[0])}}}
    whole = {"version": 3, "optimizer": {"state": state, "target": target}}
    (folder / "checkpoint").write_bytes(flax.serialization.msgpack_serialize(whole))
    return folder


@pytest.mark.parametrize("opened", [".", "checkpoint"])
def test_the_model_of_t5x_has_the_arrays_of_zarr_and_those_of_the_file(t5x, opened):
    found = steelyard.weights(t5x / opened)
    assert {name: (weight.shape, weight.dtype) for name, weight in found.items()} == {
        "target/encoder/layers_0/query/kernel": ((8, 6), "float32"),
        "target/encoder/layers_0/norm/scale": ((3,), "float32"),
        "target/decoder/logits/kernel": ((4, 6), "bfloat16"),
        "target/decoder/norm/scale": ((6,), "float32"),
    }
    kernel = found["target/encoder/layers_0/query/kernel"]
    assert np.array_equal(kernel.numpy(), KERNEL)
    assert kernel.role == Role.KERNEL
    assert np.array_equal(found["target/decoder/logits/kernel"].numpy().astype("f4"), KERNEL[:4])
    assert found["target/decoder/norm/scale"].numpy().tolist() == [0] * 6
    assert format_name(str(t5x)) == "flax"


def test_the_scope_all_adds_the_state_of_the_optimizer(t5x):
    found = steelyard.weights(t5x, scope="all")
    assert found["state/param_states/kernel/v"].numpy().tolist() == [0, 1, 2, 3, 4, 5]
    assert found["state/step"].numpy() == 7
    assert len(found) == 6


def test_a_folder_or_a_chunk_that_is_missing_is_refused_by_its_name(t5x):
    (t5x / "target.encoder.layers_0.query.kernel" / "1.0").unlink()
    shutil.rmtree(t5x / "target.scale")
    found = steelyard.weights(t5x)
    with pytest.raises(FormatError, match=r"its chunk target\.encoder\.layers_0\.query\.kernel/1\.0 is missing"):
        found["target/encoder/layers_0/query/kernel"].numpy()
    with pytest.raises(FormatError, match=r"'target/decoder/norm/scale' is missing: neither target\.scale/\.zarray"):
        found["target/decoder/norm/scale"].numpy()


def test_a_checkpoint_with_an_optimizer_alone_is_refused(tmp_path):
    whole = {"version": 3, "optimizer": {"state": {"step": np.int32(7)}, "target": {}}}
    (tmp_path / "checkpoint").write_bytes(flax.serialization.msgpack_serialize(whole))
    with pytest.raises(FormatError, match='has no arrays of a model; the scope "all" lists those of its optimizer'):
        steelyard.weights(tmp_path)


@pytest.mark.parametrize("path", ["../secret/", "/etc/", "a/../../secret/"])
@pytest.mark.parametrize("form", ["spec", "text"])
def test_no_folder_outside_of_the_checkpoint_is_opened(tmp_path, path, form):
    stored(tmp_path, "secret", KERNEL)
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": path}}
    folder = tmp_path / "net"
    folder.mkdir()
    leaf = spec if form == "spec" else f"PLACEHOLDER://{path}"
    (folder / "checkpoint").write_bytes(flax.serialization.msgpack_serialize({"w": leaf}))
    with pytest.raises(UnsafeFileError):
        steelyard.weights(folder)


@pytest.mark.parametrize("spec", [{"driver": "n5"}, {"kvstore": {"driver": "file"}}, {"kvstore": {"path": 5}}, {"kvstore": "x"}])
def test_a_description_without_a_folder_of_zarr_is_refused(tmp_path, spec):
    leaf = {"driver": "zarr", "kvstore": {"driver": "file", "path": "w/"}, **spec}
    (tmp_path / "checkpoint").write_bytes(flax.serialization.msgpack_serialize({"w": leaf}))
    with pytest.raises(FormatError, match="describes 'w' without the folder that it is in"):
        steelyard.weights(tmp_path)


@pytest.mark.parametrize("kind", ["aggregate_some", "aggregate_all"])
def test_an_old_checkpoint_of_orbax_has_what_orbax_restores(kind):
    restored = ocp.PyTreeCheckpointer().restore(OLD / f"{kind}.checkpoint")
    found = steelyard.weights(OLD / f"{kind}.checkpoint")
    expected = {"a": restored["a"], "b": restored["b"], "c/a": restored["c"]["a"], "c/e": restored["c"]["e"]}
    assert [*found] == [*expected]
    for name, weight in found.items():
        assert (weight.shape, weight.dtype) == (expected[name].shape, str(expected[name].dtype))
        assert np.array_equal(weight.numpy(), expected[name])
