"""Checkpoints of TensorFlow's first version: its own Saver writes them, and others are written field by field."""

import logging

import numpy as np
import pytest
from saved_slices import checkpoint, field, listed, numbers, shape_of, stored

import steelyard
from steelyard.errors import FormatError, IncompleteWarning
from steelyard.formats.tensorflow.sstable import Table
from steelyard.storage.source import Source, open_path
from steelyard.testing import check_format

tf = pytest.importorskip("tensorflow")
v1 = tf.compat.v1
KINDS = "float32 float64 float16 int64 int32 int16 uint16 int8 uint8 bool complex64 complex128"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder of a checkpoint in one file and in two, and the values of its variables."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    folder, rng = tmp_path_factory.mktemp("old"), np.random.default_rng(7)
    with tf.Graph().as_default(), v1.Session(config=v1.ConfigProto(device_count={"CPU": 2})) as session:
        made = [
            v1.get_variable(f"t/{kind}", initializer=(rng.standard_normal((3, 4)) * 50).astype(kind), use_resource=False)
            for kind in KINDS.split()
        ]
        made.append(v1.get_variable("step", initializer=3, use_resource=False))
        with v1.variable_scope("p", partitioner=v1.fixed_size_partitioner(3)), tf.device("/cpu:1"):
            parts = list(v1.get_variable("w", (10, 4), initializer=v1.random_normal_initializer(seed=1), use_resource=False))
        with v1.variable_scope("fc"):
            made.append(v1.get_variable("kernel", initializer=np.ones((300, 400), "f4"), use_resource=False))
            made.append(v1.get_variable("kernel/Adam", initializer=np.ones((300, 400), "f4"), use_resource=False))
        session.run(v1.global_variables_initializer())
        for name, sharded in (("net.ckpt", False), ("two/net.ckpt", True)):
            (folder / name).parent.mkdir(exist_ok=True)
            v1.train.Saver(write_version=1, sharded=sharded).save(session, str(folder / name), write_meta_graph=False)
        values = {variable.op.name: session.run(variable) for variable in made}
        values["p/w"] = np.concatenate([session.run(part) for part in parts])
    return folder, values


@pytest.mark.parametrize("name", ["net.ckpt", "checkpoint", "two/net.ckpt-00001-of-00002", "two"])
def test_every_variable_is_as_its_session_has_it_in_one_file_and_in_several(saved, name):
    folder, values = saved
    found = steelyard.weights(folder / name, scope="all")
    assert set(found) == set(values)
    assert found.meta["checkpoint_version"] == 1
    for key, value in values.items():
        assert (found[key].shape, found[key].dtype) == (value.shape, value.dtype.name)
        assert np.array_equal(found[key].numpy(), value), key


def test_slots_of_optimizers_are_left_out_and_names_give_roles(saved):
    found = steelyard.weights(saved[0] / "net.ckpt")
    assert "fc/kernel/Adam" not in found
    assert found["fc/kernel"].role == "kernel"


def test_it_keeps_the_rules_of_a_format(saved):
    check_format(open_path(saved[0] / "net.ckpt"))


def test_listing_reads_the_lists_and_not_the_numbers(saved):
    file, read = open_path(saved[0] / "net.ckpt"), []
    watched = Source(file.name, file.size, lambda at, buffer: (read.append(len(buffer)), file.fill(at, buffer))[1], file.beside)
    assert Table(watched).get(b"") is not None
    assert sum(read) < file.size * 0.6  # the first block has the list, and numbers up to the first large tensor


W = listed("w", (4,), 1, [(0, -1)])
WHOLE = stored("w", [(0, -1)], numbers([1, 2, 3, 4]))


@pytest.mark.parametrize(
    ("tensors", "slices", "reason"),
    [
        ([W], [], "a slice of w is missing"),
        ([listed("w", (4,), 1, [(0, 2)])], [stored("w", [(0, 2)], numbers([1, 2]))], "do not cover its shape exactly once"),
        ([listed("w", (4,), 1, [(3, 2)])], [], "does not fit its shape [4]"),
        ([listed("w", (4,), 7, [(0, -1)])], [WHOLE], "is of the type 7 and the shape [4]"),
        ([listed("w", (1 << 40, 1 << 40), 1, [(0, -1)] * 2)], [], "which is not read"),
        ([W], [stored("w", [(0, -1)], field(1, 1) + shape_of([4]) + field(4, bytes(8)))], "has 4 numbers, but 8 bytes"),
        ([W], [stored("w", [(0, -1)], numbers([1] * 5))], "5 numbers for a tensor of 4"),
    ],
    ids=["missing", "few", "outside", "type", "huge", "bytes", "many"],
)
def test_a_tensor_that_cannot_be_read_is_listed_and_refused(tmp_path, tensors, slices, reason):
    (tmp_path / "w.ckpt").write_bytes(checkpoint(tensors, *slices))
    found = steelyard.weights(tmp_path / "w.ckpt", scope="all")
    with pytest.raises(FormatError) as caught:
        found["w"].numpy()
    assert reason in str(caught.value)


def test_damaged_numbers_and_two_shapes_of_one_name_are_refused(tmp_path):
    data = checkpoint([W], WHOLE)
    (tmp_path / "w.ckpt").write_bytes(data)
    assert steelyard.weights(tmp_path / "w.ckpt")["w"].numpy().tolist() == [1, 2, 3, 4]
    place = data.index(np.float32(3).tobytes())
    (tmp_path / "w.ckpt").write_bytes(data[:place] + b"\1" + data[place + 1 :])
    with pytest.raises(FormatError, match="does not match its checksum"):
        steelyard.weights(tmp_path / "w.ckpt")["w"].numpy()
    (tmp_path / "w.ckpt").write_bytes(checkpoint([W, listed("w", (5,), 1, [(0, -1)])], WHOLE))
    with pytest.raises(FormatError, match="w has two shapes or types"):
        steelyard.weights(tmp_path / "w.ckpt")


def test_a_missing_file_of_several_is_noted_and_its_tensors_are_refused(tmp_path):
    half = checkpoint([listed("w", (4,), 1, [(0, 2)])], stored("w", [(0, 2)], numbers([1, 2])))
    (tmp_path / "w.ckpt-00001-of-00002").write_bytes(half)
    with pytest.warns(IncompleteWarning, match="lacks the file"):
        found = steelyard.weights(tmp_path / "w.ckpt-00001-of-00002")
    assert found.meta["incomplete"] == ["lacks the file 'w.ckpt-00000-of-00002'"]
    assert "do not cover its shape" in found.unreadable["w"]
