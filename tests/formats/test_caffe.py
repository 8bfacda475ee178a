"""Caffe: messages written field by field. A real model is in the corpus, with what Caffe's own classes read of it."""

import struct

import numpy as np
import pytest

import steelyard
from steelyard.codecs.protobuf import BYTES, FIXED32, VARINT, tag, varint
from steelyard.errors import FormatError
from steelyard.storage.source import from_bytes, open_path
from steelyard.testing import check_format


def field(number, content):
    """Write a field: bytes, a text, or a number."""
    if isinstance(content, int):
        return tag(number, VARINT) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return tag(number, BYTES) + varint(len(content)) + content


def blob(shape, numbers, kind="f4", number=5):
    dims = field(7, field(1, b"".join(map(varint, shape))))
    return dims + field(number, np.asarray(numbers, kind).tobytes())


def layer(name, kind, *blobs, more=b""):
    return field(100, field(1, name) + field(2, kind) + b"".join(field(7, each) for each in blobs) + more)


def old_layer(name, kind, *blobs):
    return field(2, field(2, "data") + field(4, name) + field(5, kind) + b"".join(field(6, each) for each in blobs))


CONV = np.arange(2 * 3 * 2 * 2, dtype="f4")
NET = (
    field(1, "LeNet")
    + layer("data", "Input")
    + layer("conv/1", "Convolution", blob((2, 3, 2, 2), CONV), blob((2,), [1, 2]))
    + layer("bn", "BatchNorm", blob((2,), [3, 4]), blob((2,), [5, 6]), blob((1,), [7]))
    + layer("fc", "InnerProduct", blob((4, 2), range(8)), more=field(117, field(1, 4) + field(6, 1)))
    + layer("double", "Scale", blob((2,), [0.1, 0.2], "f8", 8))
)


@pytest.fixture
def path(tmp_path):
    def write(data, name="net.caffemodel"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def test_blobs_are_named_by_layer_and_place_with_roles_and_axes_by_the_type_of_the_layer(path):
    found = steelyard.weights(path(NET))
    assert [(name, w.layer, w.role, w.axes) for name, w in found.items()] == [
        ("conv/1.0", "conv/1", "kernel", "out in kh kw"),
        ("conv/1.1", "conv/1", "bias", "out"),
        ("bn.0", "bn", "mean", "channel"),
        ("bn.1", "bn", "variance", "channel"),
        ("bn.2", "bn", "count", ""),
        ("fc.0", "fc", "kernel", "in out"),
        ("double.0", "double", "scale", "channel"),
    ]
    assert np.array_equal(found["conv/1.0"].numpy(), CONV.reshape(2, 3, 2, 2))
    assert found["double.0"].dtype == "float64"
    assert found.meta["name"] == "LeNet"


def test_the_old_version_has_four_axes_and_numbers_one_by_one(path):
    numbers = b"".join(tag(5, FIXED32) + struct.pack("<f", value) for value in (1, 2, 3, 4, 5, 6))
    dims = field(1, 1) + field(2, 1) + field(3, 2) + field(4, 3)
    found = steelyard.weights(path(field(1, "old") + old_layer("ip", 14, dims + numbers)))
    assert found["ip.0"].numpy().tolist() == [[[[1, 2, 3], [4, 5, 6]]]]
    assert (found["ip.0"].role, found["ip.0"].axes) == ("kernel", "")


def test_it_is_known_by_its_content(path):
    assert next(iter(steelyard.weights(path(NET, "net.bin")))) == "conv/1.0"
    from steelyard.formats import caffe

    assert not caffe.sniff(from_bytes(field(1, field(1, "w") + field(2, "Const"))))  # a graph of TensorFlow
    assert not caffe.sniff(from_bytes(NET[:9]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (layer("a", "Convolution", blob((1,), [1])) * 2, "two layers of the name a"),
        (layer("a", "Convolution", blob((1 << 40, 1 << 40), [1])), "impossible shape"),
        (NET[:-3], "claims"),
        (old_layer("a", 4) + field(2, field(4, "b") + field(1, field(1, "v0"))), "oldest version"),
    ],
    ids=["twice", "huge", "cut", "v0"],
)
def test_a_damaged_file_is_refused_in_a_line(path, data, reason):
    with pytest.raises(FormatError, match=reason):
        steelyard.weights(path(data))


def test_a_blob_with_too_few_numbers_is_listed_and_refused(path):
    found = steelyard.weights(path(layer("a", "Convolution", blob((2, 2), [1, 2, 3]))))
    assert "has the shape [2, 2], but 3 numbers are stored" in found.unreadable["a.0"]


def test_it_keeps_the_rules_of_a_format(path):
    check_format(open_path(path(NET)))
