"""Tar archives of PyTorch 0.1, written by their layout, compared with what `torch.load` reads in them."""

import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
import torch

import steelyard
from steelyard.errors import FormatError

DATA = {1: ("FloatStorage", np.arange(12, dtype="f4")), 2: ("LongStorage", np.array([7], "i8"))}


class Reference:
    """Pickled as a reference to an object of the archive."""

    def __init__(self, number):
        self.number = number


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return str(value.number) if isinstance(value, Reference) else None


def pickled(*values):
    buffer = io.BytesIO()
    for value in values:
        Pickler(buffer, 2).dump(value)
    return buffer.getvalue()


def storages(views=()):
    parts = [pickled(len(DATA))]
    for number, (kind, array) in DATA.items():
        parts += [pickled((number, "cpu", getattr(torch, kind))), struct.pack("<q", len(array)), array.tobytes()]
    return b"".join([*parts, pickled(list(views))])


def tensor(number, storage, shape, strides, offset):
    axes = len(shape)
    numbers = struct.pack(f"<i4x{2 * axes + 1}q", axes, *shape, *strides, offset)
    return pickled((number, storage, torch.FloatTensor)) + numbers


TENSORS = [
    tensor(10, 1, (2, 3), (3, 1), 2),
    tensor(11, 1, (3, 2), (1, 3), 0),
    tensor(12, 3, (4,), (1,), 0),
    tensor(13, 2, (), (), 0),
]
STATE = {"fc.weight": Reference(10), "turned": Reference(11), "fc.bias": Reference(12), "steps": Reference(13)}
MEMBERS = {
    "sys_info": pickled({"protocol_version": 1000, "little_endian": True, "type_sizes": {"int": 4}}),
    "storages": storages([(3, 1, 5, 4)]),
    "tensors": pickled(len(TENSORS)) + b"".join(TENSORS),
    "pickle": pickled(STATE),
}


def written(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def test_every_tensor_is_what_torch_reads(tmp_path):
    path = written(tmp_path / "old.pth", MEMBERS)
    expected, found = torch.load(path, weights_only=False), steelyard.weights(path)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert (found[name].shape, found[name].dtype) == (tuple(value.shape), str(value.dtype).removeprefix("torch."))
        assert np.array_equal(found[name].numpy(), value.numpy())
    assert found["fc.weight"].role == "kernel"
    assert found.meta["format"] == "PyTorch 0.1"


@pytest.mark.parametrize(
    ("member", "data", "reason"),
    [
        ("storages", pickled(1 << 60), "parts, more than it has bytes"),
        ("storages", pickled(1) + pickled((1, "cpu", 3)) + bytes(16), "a storage has the invalid key"),
        ("storages", pickled(1) + pickled((1, "cpu", torch.FloatStorage)) + struct.pack("<q", 9), "claims 9 elements"),
        ("storages", storages([(3, 9, 0, 1)]), "has the invalid view"),
        ("tensors", pickled(1) + tensor(10, 9, (1,), (1,), 0), "a tensor has the invalid key"),
        ("tensors", pickled(1) + pickled((1, 1, 3)) + struct.pack("<i4x", 1000), "or 1000 axes"),
        ("tensors", pickled(2) + TENSORS[0], "cut|ends|partial"),
        ("sys_info", pickled({"little_endian": False}), "is big-endian"),
    ],
    ids=["count", "key", "length", "view", "owner", "axes", "cut", "order"],
)
def test_a_part_that_lies_is_refused(member, data, reason, tmp_path):
    path = written(tmp_path / "old.pth", {**MEMBERS, member: data})
    with pytest.raises(FormatError, match=reason):
        steelyard.weights(path)


def test_a_tensor_past_its_storage_and_an_unknown_reference_are_listed_and_refused(tmp_path):
    members = {"tensors": pickled(1) + tensor(10, 1, (20,), (1,), 0), "pickle": pickled({"w": Reference(10), "v": Reference(99)})}
    found = steelyard.weights(written(tmp_path / "old.pth", {**MEMBERS, **members}), scope="all")
    assert "ends at element 20" in found.unreadable["w"]
    assert "v" in found.unreadable


def test_a_missing_member_is_named(tmp_path):
    with pytest.raises(FormatError, match="lacks the pickle or the storages"):
        steelyard.weights(written(tmp_path / "old.pth", {"sys_info": MEMBERS["sys_info"], "pickle": MEMBERS["pickle"]}))
