"""ExecuTorch: programs written with the FlatBuffers library. Real programs are in the corpus."""

import numpy as np
import pytest
from executorch_programs import program

import steelyard
from steelyard.errors import FormatError
from steelyard.storage.source import open_path
from steelyard.testing import check_format

W = np.arange(24, dtype="f4").reshape(2, 3, 4)
CONSTANTS = ([((2, 3, 4), 1), ((4,), 2, None, 7, "fc.bias"), ((), 0)], [b"", W.tobytes(), np.arange(4.0).tobytes()])


@pytest.mark.parametrize("in_segment", [False, True])
def test_constants_are_read_where_they_are_by_their_places_or_whole_names(tmp_path, in_segment):
    (tmp_path / "net.pte").write_bytes(program(*CONSTANTS, in_segment))
    found = steelyard.weights(tmp_path / "net.pte")
    assert [(name, w.shape, w.dtype) for name, w in found.items()] == [
        ("forward.values[0]", (2, 3, 4), "float32"),
        ("fc.bias", (4,), "float64"),
    ]
    assert np.array_equal(found["forward.values[0]"].numpy(), W)
    assert found["fc.bias"].numpy().tolist() == [0, 1, 2, 3]
    check_format(open_path(str(tmp_path / "net.pte")))


def test_axes_in_another_order_are_turned(tmp_path):
    stored = np.ascontiguousarray(W.transpose(0, 2, 1))
    (tmp_path / "net.pte").write_bytes(program([((2, 3, 4), 1, (0, 2, 1))], [b"", stored.tobytes()]))
    found = steelyard.weights(tmp_path / "net.pte")["forward.values[0]"]
    assert np.array_equal(found.numpy(), W)
    assert found.read(5, 9).tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (((2, 3, 4), 9), "names the constant 9 of 2"),
        (((2, 3, 5), 1), "takes 120 bytes, but 96 are stored"),
        (((2, 3, 4), 1, (0, 0, 1)), "has the order [0, 0, 1] of 3 axes"),
        (((2, 3, 4), 1, None, 99), "of the type 99"),
        (((-2, 3), 1), "the shape [-2, 3], which is not one of numbers"),
    ],
    ids=["number", "length", "order", "type", "shape"],
)
def test_a_constant_that_cannot_be_read_is_listed_and_refused(tmp_path, tensor, reason):
    (tmp_path / "net.pte").write_bytes(program([tensor], [b"", W.tobytes()]))
    assert reason in steelyard.weights(tmp_path / "net.pte").unreadable["forward.values[0]"]


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    data = program(*CONSTANTS, in_segment=True)
    (tmp_path / "net.pte").write_bytes(data[:-1])
    with pytest.raises(FormatError, match="has a segment that ends at byte"):
        steelyard.weights(tmp_path / "net.pte")
    (tmp_path / "net.pte").write_bytes(data[:40])
    with pytest.raises(FormatError):
        steelyard.weights(tmp_path / "net.pte")
