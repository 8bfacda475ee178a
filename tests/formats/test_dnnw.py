"""The weights of Xiph's nets in C, block by block as they are written for RNNoise."""

import struct

import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError

FLOATS, CODES = np.arange(5, dtype="<f4"), np.arange(-6, 6, dtype="i1")


def block(name, data, kind, size=None, length=None):
    size = data.nbytes if size is None else size
    padded = data.tobytes() + bytes(-data.nbytes % 64)
    head = struct.pack("<4s4i44s", b"DNNw", 0, kind, size, len(padded) if length is None else length, name.encode())
    return head + padded


NET = block("conv1_bias", FLOATS, 0) + block("conv1_weights_int8", CODES, 3) + block("gru1_idx", FLOATS.astype("<i4"), 1)


def read(folder, data):
    (folder / "weights_blob.bin").write_bytes(data)
    return steelyard.weights(folder / "weights_blob.bin")


def test_arrays_have_their_names_types_and_numbers(tmp_path):
    w = read(tmp_path, NET)
    assert {name: (x.dtype, x.shape, str(x.role), x.layer) for name, x in w.items()} == {
        "conv1_bias": ("float32", (5,), "bias", "conv1"),
        "conv1_weights_int8": ("int8", (12,), "kernel", "conv1"),
        "gru1_idx": ("int32", (5,), "other", ""),
    }
    assert np.array_equal(w["conv1_bias"].numpy(), FLOATS)
    assert np.array_equal(w["conv1_weights_int8"].numpy(), CODES)


HOSTILE = {
    "a cut": (NET[:-1], "partial download"),
    "a size": (NET + block("x", FLOATS, 0, size=4000), r"'x' claims 4,000 bytes in a block of 64"),
    "a size below zero": (NET + block("x", FLOATS, 0, size=-4), "'x' claims -4 bytes"),
    "a block": (NET + block("x", FLOATS, 0, length=1 << 30), "in a block of 1,073,741,824"),
    "a part of a number": (NET + block("x", FLOATS, 0, size=6), "'x' is float32, and has 6 bytes"),
    "a type": (NET + block("x", FLOATS, 9), r"known type \(9\)"),
    "a name": (NET + block("x" * 44, FLOATS, 0), "an end of its name"),
    "two of a name": (NET + NET, "two arrays with the name 'conv1_bias'"),
    "another block": (NET + bytes(64), "a block without DNNw"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_lies_is_refused_in_one_line(case, tmp_path):
    data, what = HOSTILE[case]
    with pytest.raises(FormatError, match=what):
        read(tmp_path, data)
