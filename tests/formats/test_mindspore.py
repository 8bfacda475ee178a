"""MindSpore's checkpoints: messages of its published schema, with slices of large parameters, an optimizer and a checksum."""

import ml_dtypes
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError

W, B = np.arange(6, dtype="f4").reshape(2, 3), np.ones(2, "f4")


def varint(number):
    data = b""
    while number > 127:
        data, number = data + bytes([number & 127 | 128]), number >> 7
    return data + bytes([number])


def field(number, content):
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def value(name, array, kind, dims=None, data=None):
    dims = array.shape if dims is None else dims
    shape = b"".join(b"\x08" + varint(length) for length in dims)
    content = array.tobytes() if data is None else data
    return field(1, field(1, name.encode()) + field(2, shape + field(2, kind.encode()) + field(3, content)))


NET = value("fc.weight", W, "Float32") + value("fc.bias", B, "Float32")
OPTIMIZER = value("moments.fc.weight", W, "Float32") + value("global_step", np.ones(1, "i4"), "Int32")


def read(folder, data, scope="model"):
    (folder / "m.ckpt").write_bytes(data)
    return steelyard.weights(folder / "m.ckpt", scope=scope)


def test_the_net_is_read_and_the_optimizer_is_in_scope_all(tmp_path):
    w = read(tmp_path, NET + OPTIMIZER)
    assert [*w] == ["fc.weight", "fc.bias"]
    assert np.array_equal(w["fc.weight"].numpy(), W)
    assert [(str(x.role), x.axes, x.layer) for x in w.values()] == [("kernel", "out in", "fc"), ("bias", "out", "fc")]
    assert [*read(tmp_path, NET + OPTIMIZER, "all")] == ["fc.weight", "fc.bias", "moments.fc.weight", "global_step"]


def test_types_scalars_and_the_checksum(tmp_path):
    half = np.arange(3).astype(ml_dtypes.bfloat16)
    data = NET + value("s", np.float32(5), "Float32", (0,)) + value("h", half, "BFloat16") + value("t", half, "str")
    w = read(tmp_path, data + b"crc_num" + b"0123456789")
    assert (w["s"].shape, w["s"].numpy().item()) == ((), 5)
    assert np.array_equal(w["h"].numpy(), half)
    assert "of the type 'str'" in w["t"].unreadable


def test_slices_of_a_parameter_are_joined(tmp_path):
    data = W.tobytes()
    parts = [value("fc.weight", W, "Float32", data=part) for part in (data[:8], data[8:20], data[20:])]
    w = read(tmp_path, b"".join(parts) + value("fc.bias", B, "Float32"))
    assert np.array_equal(w["fc.weight"].numpy(), W)
    assert w["fc.weight"].read(1, 4).tolist() == [1, 2, 3]


HOSTILE = {
    "a shape": (NET + value("x", W, "Float32", (1 << 40, 1 << 40)), "'x' is float32"),
    "too few": (NET + value("x", W, "Float32", (7,)), "has 24 bytes in 1 values"),
    "other slices": (NET + value("x", W, "Float32") + value("x", W, "Float16"), "in 2 values"),
    "two of a name": (NET + value("fc.weight", W, "Float32"), "two parameters with the name 'fc.weight'"),
    "a cut": (NET[:-2], "fc|ends|bytes"),
    "no tensor": (NET + field(1, field(1, b"x")), "a value without a tensor"),
    "axes": (NET + value("x", W, "Float32", (1,) * 70), "more than 64 axes"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_checkpoint_that_lies_is_refused_in_one_line(case, tmp_path):
    data, what = HOSTILE[case]
    with pytest.raises(FormatError, match=what):
        read(tmp_path, data)
