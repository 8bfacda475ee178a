"""PaddlePaddle: tensors and programs written byte by byte. Real models are in the corpus, with what Paddle reads of them."""

import struct

import numpy as np
import pytest

import steelyard
from steelyard.codecs.protobuf import BYTES, VARINT, tag, varint
from steelyard.errors import FormatError
from steelyard.storage.source import open_path
from steelyard.testing import check_format

TYPES = {"float32": 5, "int64": 3, "float16": 4}


def field(number, content):
    if isinstance(content, int):
        return tag(number, VARINT) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return tag(number, BYTES) + varint(len(content)) + content


def described(values):
    return field(1, TYPES[values.dtype.name]) + b"".join(field(2, length) for length in values.shape)


def tensor(values, levels=b"\0" * 8):
    values = np.asarray(values)
    desc = described(values)
    return bytes(4) + levels + bytes(4) + struct.pack("<i", len(desc)) + desc + values.tobytes()


def variable(name, values, stored=1):
    kind = field(1, 7) + field(3, field(1, described(values)))
    return field(3, field(1, name) + field(2, kind) + field(3, stored))


def operator(kind, inputs, more=b""):
    parts = b"".join(field(1, field(1, parameter) + field(2, name)) for parameter, name in inputs.items())
    return field(4, parts + field(3, kind) + more)


ARRAYS = {
    "conv.w_0": np.arange(24, dtype="f4").reshape(2, 3, 2, 2),
    "fc.b_0": np.ones(4, "f4"),
    "fc.w_0": np.arange(8, dtype="f2").reshape(2, 4),
    "pos": np.ones((1, 4), "f4"),
    "t.w_0": np.arange(8, dtype="f4").reshape(4, 2),
}
TRANS = field(4, field(1, "trans_y") + field(2, 6) + field(10, 1))
PROGRAM = field(
    1,
    b"".join(variable(name, values) for name, values in reversed(ARRAYS.items()))
    + variable("x", ARRAYS["pos"], stored=0)
    + operator("conv2d", {"Filter": "conv.w_0"})
    + operator("matmul_v2", {"X": "x", "Y": "fc.w_0"})
    + operator("elementwise_add", {"X": "x", "Y": "fc.b_0"})
    + operator("elementwise_add", {"X": "x", "Y": "pos"})
    + operator("matmul_v2", {"X": "x", "Y": "t.w_0"}, TRANS),
)
DATA = b"".join(map(tensor, ARRAYS.values()))


@pytest.fixture
def path(tmp_path):
    (tmp_path / "net.pdiparams").write_bytes(DATA)
    (tmp_path / "net.pdmodel").write_bytes(PROGRAM)
    return tmp_path / "net.pdiparams"


def test_the_program_next_to_the_tensors_gives_names_roles_and_axes(path):
    found = steelyard.weights(path)
    assert [(name, w.layer, w.role, w.axes) for name, w in found.items()] == [
        ("conv.w_0", "conv", "kernel", "out in kh kw"),
        ("fc.b_0", "fc", "bias", "out"),
        ("fc.w_0", "fc", "kernel", "in out"),
        ("pos", "", "other", ""),
        ("t.w_0", "t", "kernel", "out in"),
    ]
    for name, values in ARRAYS.items():
        assert found[name].numpy().tobytes() == values.tobytes()
    assert "notes" not in found.meta


def test_without_a_program_that_fits_the_tensors_are_numbered_and_this_is_said(path):
    path.with_suffix(".pdmodel").write_bytes(field(1, variable("w", ARRAYS["pos"])))
    found = steelyard.weights(path)
    assert list(found) == ["0", "1", "2", "3", "4"]
    assert "numbered" in found.meta["notes"][0]
    path.with_suffix(".pdmodel").unlink()
    assert list(steelyard.weights(path)) == ["0", "1", "2", "3", "4"]


def test_a_folder_of_tensors_is_one_model_and_a_single_one_has_the_name_of_its_file(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, values in ARRAYS.items():
        (folder / name).write_bytes(tensor(values))
    (folder / "__model__").write_bytes(PROGRAM)
    found = steelyard.weights(folder)
    assert list(found) == sorted(ARRAYS)
    assert found["t.w_0"].axes == "out in"
    assert np.array_equal(found["pos"].numpy(), ARRAYS["pos"])
    assert list(steelyard.weights(folder / "fc.w_0")) == ["fc.w_0"]
    (folder / "fc.w_0").write_bytes(tensor(ARRAYS["fc.w_0"]) + tensor(ARRAYS["pos"]))
    with pytest.raises(FormatError, match="after its tensor"):
        steelyard.weights(folder)


def test_levels_of_lengths_are_passed_over(tmp_path):
    levels = struct.pack("<QQ2Q", 1, 16, 0, 4)
    (tmp_path / "a.pdiparams").write_bytes(tensor(ARRAYS["fc.b_0"], levels))
    assert steelyard.weights(tmp_path / "a.pdiparams")["0"].numpy().tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (DATA[:-2], "cut off"),
        (DATA + b"\1" * 30, "no tensor of PaddlePaddle"),
        (DATA + bytes(4) + struct.pack("<Q", 99) + bytes(9), "99 levels"),
        (DATA + bytes(16) + struct.pack("<i", 4) + field(1, 99) + field(2, 1), "the type 99"),
        (DATA + bytes(16) + struct.pack("<i", 1 << 20) + bytes(30), "a description of 1,048,576 bytes"),
    ],
    ids=["cut", "other", "levels", "type", "description"],
)
def test_a_damaged_file_is_refused_in_a_line(path, data, reason):
    path.write_bytes(data)
    with pytest.raises(FormatError, match=reason):
        steelyard.weights(path)


def test_it_keeps_the_rules_of_a_format(path):
    check_format(open_path(path))
