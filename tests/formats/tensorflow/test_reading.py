"""Checkpoints and SavedModels that TensorFlow writes, compared with its own reader and with the live objects."""

import hashlib
import os
import shutil

import carried
import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import tensorflow as tf
from keras import layers as L

import steelyard
from steelyard.codecs.crc32c import crc32c, unmasked
from steelyard.errors import FormatError, SteelyardError, UnsafeFileError
from steelyard.formats.tensorflow.sstable import entries
from steelyard.storage.source import from_bytes

v1 = tf.compat.v1
# Keras 3.15 asks TensorFlow's variables for NumPy arrays in a way that NumPy 2 is leaving
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(autouse=True)
def fresh_names():
    keras.utils.clear_session()
    keras.utils.set_random_seed(7)


def trained():
    model = keras.Sequential([keras.Input((5,)), L.Dense(4), L.BatchNormalization(), L.Dense(3, name="head")], name="net")
    model.compile("adam", "mse")
    model.fit(np.random.rand(16, 5), np.random.rand(16, 3), epochs=2, verbose=0)
    return model


def same_as_tensorflow(path, prefix):
    """With scope "all" the keys, types, shapes and numbers are those of TensorFlow's own reader."""
    reader = tf.train.load_checkpoint(str(prefix))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    found = steelyard.weights(path, scope="all")
    assert sorted(found) == sorted(shapes)
    for name, weight in found.items():
        assert weight.shape == tuple(shapes[name])
        if dtypes[name] == tf.string:
            with pytest.raises(FormatError, match="string"):
                weight.numpy()
            continue
        assert weight.encoding == dtypes[name].name
        expected = reader.get_tensor(name)
        assert weight.numpy().tobytes() == np.asarray(expected).tobytes(), name


def same(found, variables, names=None):
    assert list(found) == (names or [v.path for v in variables])
    for weight, variable in zip(found.values(), variables, strict=True):
        assert weight.numpy().tobytes() == np.asarray(variable).tobytes()


class Parts(tf.Module):
    """Every kind of variable, with and without names."""

    def __init__(self):
        super().__init__()
        self.first = tf.Variable(np.arange(6, dtype="f4").reshape(2, 3), name="weights")
        self.list = [tf.Variable(1.0), tf.Variable(2.0, dtype=tf.bfloat16)]
        self.text = tf.Variable("hello")
        self.kinds = {kind.name: tf.Variable(np.arange(3), dtype=kind, name=kind.name) for kind in KINDS}
        self.kinds["bool"] = tf.Variable([True, False], name="bool")


KINDS = [
    tf.float16,
    tf.float64,
    tf.int8,
    tf.int16,
    tf.int32,
    tf.int64,
    tf.uint8,
    tf.uint16,
    tf.uint32,
    tf.uint64,
    tf.complex64,
    tf.complex128,
]


def test_a_checkpoint_of_a_keras_model_and_its_optimizer_has_the_weights_of_the_model(tmp_path):
    model = trained()
    prefix = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "ck"))
    for path in (prefix, f"{prefix}.index", f"{prefix}.data-00000-of-00001", tmp_path, tmp_path / "checkpoint"):
        same(steelyard.weights(path), model.weights)
        same_as_tensorflow(path, prefix)
    found = steelyard.weights(prefix)
    assert (found["net/dense/kernel"].role, found["net/dense/kernel"].axes) == ("kernel", "in out")
    assert [w.role for w in found.select(layer="net/batch_normalization").values()] == ["scale", "offset", "mean", "variance"]


def test_an_exported_keras_model_has_each_variable_once(tmp_path):
    model = trained()
    model.export(tmp_path / "out", verbose=False)
    for path in (tmp_path / "out", tmp_path / "out/saved_model.pb"):
        found = steelyard.weights(path)
        same(found, model.weights)
        assert [w.trainable for w in found.values()] == [v.trainable for v in model.weights]
        assert found.meta["tensorflow_version"] == tf.__version__
    same_as_tensorflow(tmp_path / "out", tmp_path / "out/variables/variables")


def test_variables_without_a_name_have_their_path_as_name(tmp_path):
    module = Parts()
    tf.saved_model.save(module, str(tmp_path / "sm"))
    found = steelyard.weights(tmp_path / "sm")
    assert list(found)[:3] == ["weights", "list/0", "list/1"]
    assert {str(name) for name in found} == {"weights", "list/0", "list/1", *(k.name for k in KINDS), "bool"}
    assert np.array_equal(found["weights"].numpy(), module.first.numpy())
    same_as_tensorflow(tmp_path / "sm", tmp_path / "sm/variables/variables")


def test_two_variables_of_the_same_name_have_their_paths_as_names(tmp_path):
    class Twin(tf.Module):
        def __init__(self):
            super().__init__()
            self.bias = tf.Variable(np.zeros(3), name="bias")

    root = tf.Module()
    root.left, root.right = Twin(), Twin()
    prefix = tf.train.Checkpoint(net=root).write(str(tmp_path / "ck"))
    assert list(steelyard.weights(prefix)) == ["net/left/bias", "net/right/bias"]


def test_a_damaged_saved_model_loses_its_names_and_no_weights(tmp_path):
    model = trained()
    model.export(tmp_path / "out", verbose=False)
    (tmp_path / "out/saved_model.pb").write_bytes(b"\xff\xff\xff")
    found = steelyard.weights(tmp_path / "out")
    same(found, model.weights)
    assert "saved_model.pb" in found.meta["note"]


@pytest.fixture
def one(tmp_path):
    """A checkpoint of TensorFlow 1 with partitioned variables, slot variables of an optimizer, and a step counter."""
    with tf.Graph().as_default(), v1.Session() as session:
        rows = v1.get_variable("rows", (100, 7), partitioner=v1.fixed_size_partitioner(3), use_resource=False)
        columns = v1.get_variable("columns", (5, 300), partitioner=v1.fixed_size_partitioner(2, axis=1), use_resource=False)
        kernel = v1.get_variable("dense/kernel", (7, 2))
        step = v1.train.get_or_create_global_step()
        loss = tf.reduce_sum(tf.matmul(tf.convert_to_tensor(rows), kernel) ** 2)
        train = v1.train.AdamOptimizer(0.1).minimize(loss, step)
        session.run(v1.global_variables_initializer())
        session.run(train)
        values = session.run(
            {"columns": tf.convert_to_tensor(columns), "dense/kernel": kernel, "rows": tf.convert_to_tensor(rows)}
        )
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), global_step=1)
    return tmp_path, values


def test_a_checkpoint_of_tensorflow_1_has_variables_without_slots_and_partitions_are_one_weight(one):
    folder, values = one
    for path in (folder, folder / "model.ckpt-1"):
        found = steelyard.weights(path)
        assert list(found) == list(values)
        for name, value in values.items():
            assert np.array_equal(found[name].numpy(), value)
            stop = min(405, value.size)
            assert np.array_equal(found[name].read(13, stop), value.reshape(-1)[13:stop])
    assert {"dense/kernel/Adam", "rows/Adam", "beta1_power", "global_step"} <= set(steelyard.weights(folder, scope="all"))
    same_as_tensorflow(folder, folder / "model.ckpt-1")


def test_a_partitioned_tensor_without_all_its_slices_is_refused(one, monkeypatch):
    from steelyard.formats.tensorflow import bundle as tensor_bundle

    folder, values = one
    monkeypatch.setattr(tensor_bundle, "slice_key", lambda name, extents: b"\0missing")
    found = steelyard.weights(folder)
    with pytest.raises(FormatError, match="a slice of the partitioned tensor rows is missing"):
        found["rows"].numpy()
    assert np.array_equal(found["dense/kernel"].numpy(), values["dense/kernel"])


def test_a_missing_file_of_numbers_is_reported_by_its_name(tmp_path):
    prefix = tf.train.Checkpoint(v=tf.Variable(np.arange(5.0), name="v")).write(str(tmp_path / "ck"))
    shutil.move(f"{prefix}.data-00000-of-00001", tmp_path / "elsewhere")
    with pytest.raises(FormatError, match=r"the shard 'ck\.data-00000-of-00001' is missing \(partial download\?\)"):
        steelyard.weights(prefix)["v"].numpy()


def test_a_flipped_bit_is_detected_anywhere(tmp_path):
    prefix = tf.train.Checkpoint(v=tf.Variable(np.arange(3000.0), name="v"), w=tf.Variable(1.0, name="w")).write(
        str(tmp_path / "ck")
    )
    data = bytearray((tmp_path / "ck.data-00000-of-00001").read_bytes())
    data[data.index(np.float64(2000.0).tobytes())] ^= 1
    (tmp_path / "ck.data-00000-of-00001").write_bytes(data)
    found = steelyard.weights(prefix)
    with pytest.raises(FormatError, match="checksum"):
        found["v"].read(0, 1)
    assert float(found["w"].numpy()) == 1.0
    index = (tmp_path / "ck.index").read_bytes()
    for place in range(0, len(index) - 60, 7):
        (tmp_path / "ck.index").write_bytes(index[:place] + bytes([index[place] ^ 4]) + index[place + 1 :])
        with pytest.raises(SteelyardError) as caught:
            steelyard.weights(tmp_path / "ck.index").to_vector()
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside/ck", "a/../../outside/ck"])
def test_a_checkpoint_outside_the_folder_is_refused(tmp_path, path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside").mkdir()
    tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(tmp_path / "outside/ck"))
    (tmp_path / "inside/checkpoint").write_text(f'model_checkpoint_path: "{path}"\n')
    for name in ("inside", "inside/checkpoint"):
        with pytest.raises(UnsafeFileError, match="outside the folder"):
            steelyard.weights(tmp_path / name)


def test_a_saved_model_without_variables_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(FormatError, match=r"SavedModel without variables/variables\.index"):
        steelyard.weights(tmp_path)


def test_an_index_compressed_by_snappy_is_read():
    text = b"a" * 300 + bytes(range(200)) + b"ab" * 100
    packed = (
        b"\xbc\x05"
        b"\x00a"
        + b"\xfe\x01\x00" * 4
        + b"\xaa\x01\x00"
        + b"\xf0\xc7"
        + bytes(range(200))
        + b"\x04ab"
        + b"\xfe\x02\x00" * 3
        + b"\x16\x02\x00"
    )
    from steelyard.formats.tensorflow.sstable import _unpacked

    assert _unpacked(from_bytes(b""), packed, 0) == text
    for cut in range(2, len(packed)):
        with pytest.raises(FormatError):
            _unpacked(from_bytes(b""), packed[:cut], 0)


def test_the_checksum_is_that_of_the_format():
    def plain(data):
        crc = 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        return crc ^ 0xFFFFFFFF

    data = np.random.default_rng(0).bytes(20_000)
    for length in (0, 1, 511, 512, 2047, 2048, 2049, 3584, 9999, 20_000):
        assert crc32c(data[:length]) == plain(data[:length])
        assert crc32c(data[length // 3 : length], crc32c(data[: length // 3])) == plain(data[:length])
    assert unmasked(((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF) == 0xE3069283


def test_an_index_of_many_blocks_is_read(tmp_path):
    many = {f"v{k:05d}": tf.Variable(float(k), name=f"v{k:05d}") for k in range(3000)}
    prefix = tf.train.Checkpoint(**many).write(str(tmp_path / "ck"))
    found = steelyard.weights(prefix)
    assert {name: float(w.numpy()) for name, w in list(found.items())[::100]} == {
        f"v{k:05d}": float(k) for k in range(0, 3000, 100)
    }
    with (tmp_path / "ck.index").open("rb") as file:
        assert len(list(entries(from_bytes(file.read())))) == 3002  # with the header and the graph


@pytest.mark.shared
def test_real_files_are_read_as_their_manifest_says():
    here = [e for e in carried.real()["entries"] if e["format"].startswith("tf-") and carried.is_outside(e)]
    assert {e["format"] for e in here} == {"tf-savedmodel", "tf-checkpoint"}
    for entry in here:
        found = steelyard.weights(carried.path_of(entry), scope="all")
        if entry["id"] == "tfx-keras-savedmodel":  # its names are in the SavedModel, not in the checkpoint
            names = [f"dense{k}/{leaf}" for k in ("", "_1", "_2") for leaf in ("kernel", "bias")]
            assert list(steelyard.weights(carried.path_of(entry))) == names
        assert list(map(str, found)) == [t["name"] for t in entry["tensors"]]
        for tensor, weight in zip(entry["tensors"], found.values(), strict=True):
            assert list(weight.shape) == tensor["shape"]
            if tensor["dtype"] == "string":
                assert weight.encoding == "string"
                continue
            assert weight.dtype == tensor["dtype"]
            assert hashlib.sha256(weight.numpy().tobytes()).hexdigest() == tensor["sha256"]
