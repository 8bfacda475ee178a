"""MXNet: files written byte by byte. A real file is in the corpus, with what MXNet itself reads of it."""

import struct

import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError
from steelyard.storage.source import open_path
from steelyard.testing import check_format

MARKS = {1: 0xF993FAC8, 2: 0xF993FAC9, 3: 0xF993FACA}
TYPES = {"float32": 0, "float64": 1, "float16": 2, "int64": 6}


def array(values, version=2, kind=0):
    values = np.asarray(values)
    head = struct.pack("<I", MARKS[version]) if version else b""
    head += struct.pack("<i", kind) if version > 1 else b""
    head += struct.pack(f"<I{values.ndim}{'q' if version else 'I'}", values.ndim, *values.shape)
    return head + struct.pack("<3i", 1, 0, TYPES[values.dtype.name]) + values.tobytes()


def names(*words):
    return struct.pack("<Q", len(words)) + b"".join(struct.pack("<Q", len(word)) + word for word in words)


def file_of(arrays, words, count=None):
    return struct.pack("<3Q", 0x112, 0, len(arrays) if count is None else count) + b"".join(arrays) + names(*words)


KERNEL, BIAS = np.arange(6, dtype="f4").reshape(2, 3), np.ones(2, "f4")
NET = file_of(
    [
        array(KERNEL),
        array(BIAS, 1),
        array(np.float64(2.5), 3),
        array(np.arange(3), 0),
        array(np.ones(4, "f2")),
        array(np.ones(5, "f4")),
    ],
    [b"arg:fc1_weight", b"arg:fc1_bias", b"t", b"aux:bn_moving_mean", b"arg:bn_gamma", b"arg:prelu_gamma"],
)


@pytest.fixture
def path(tmp_path):
    def write(data):
        (tmp_path / "net-0001.params").write_bytes(data)
        return tmp_path / "net-0001.params"

    return write


def test_arrays_of_each_version_are_read_by_their_names(path):
    found = steelyard.weights(path(NET))
    facts = [(name, w.layer, w.shape, w.dtype, w.role, w.axes) for name, w in found.items()]
    assert facts == [
        ("arg:fc1_weight", "fc1", (2, 3), "float32", "kernel", "out in"),
        ("arg:fc1_bias", "fc1", (2,), "float32", "bias", "out"),
        ("t", "", (), "float64", "other", ""),
        ("aux:bn_moving_mean", "bn", (3,), "int64", "mean", "channel"),
        ("arg:bn_gamma", "bn", (4,), "float16", "scale", "channel"),
        ("arg:prelu_gamma", "prelu", (5,), "float32", "other", ""),
    ]
    assert np.array_equal(found["arg:fc1_weight"].numpy(), KERNEL)
    assert found["t"].numpy() == 2.5


def test_a_list_without_names_has_numbers_and_an_array_that_was_never_computed_is_refused(path):
    empty = struct.pack("<IiI", MARKS[2], 0, 0)
    found = steelyard.weights(path(file_of([array(BIAS), empty], [])))
    assert list(found) == ["0", "1"]
    assert "never computed" in found.unreadable["1"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (NET[:100], "cut off|ends at byte"),
        (file_of([], [], 1 << 60), "too many for"),
        (file_of([array(BIAS)], [b"a", b"b"]), "1 arrays and 2 names"),
        (file_of([array(BIAS), array(BIAS)], [b"a", b"a"]), "a name twice"),
        (file_of([array(BIAS, kind=1)], [b"a"]), "a sparse array"),
        (file_of([struct.pack("<II", MARKS[1], 1000)], [b"a"]), "1,000 axes"),
        (file_of([struct.pack("<IIqq", MARKS[1], 2, 1 << 40, 1 << 40)], [b"a"]), "impossible shape"),
        (file_of([struct.pack("<IIq3i", MARKS[1], 1, 1, 1, 0, 99)], [b"a"]), "of the type 99"),
    ],
    ids=["cut", "count", "names", "twice", "sparse", "axes", "huge", "type"],
)
def test_a_damaged_file_is_refused_in_a_line(path, data, reason):
    with pytest.raises(FormatError, match=reason):
        steelyard.weights(path(data))


def test_it_keeps_the_rules_of_a_format(path):
    check_format(open_path(path(NET)))
