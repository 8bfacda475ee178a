"""MNN: nets that its converter made, compared with the state dict that they were made from.

`tests/data/make_mnn.py` made the files.
"""

import struct

import carried
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError
from steelyard.formats import mnn
from steelyard.storage.source import from_bytes, open_path
from steelyard.testing import check_format

NAMES = {
    "/conv/Conv_output_0": "conv",
    "/depth/Conv_output_0": "depth",
    "/up/ConvTranspose_output_0": "up",
    "/fc/Gemm_output_0__matmul_converted": "fc",
}


@pytest.fixture(scope="module")
def made():
    return carried.folder("mnn")


@pytest.fixture(scope="module")
def expected(made):
    return np.load(made / "net.npz")


def test_kernels_biases_and_constants_are_those_of_the_state_dict(made, expected):
    found = steelyard.weights(made / "plain.mnn")
    for name, theirs in NAMES.items():
        kernel, bias = expected[f"{theirs}.weight"], expected[f"{theirs}.bias"]
        weight = found[f"{name}.weight"]
        assert weight.shape == kernel.shape + (1,) * (4 - kernel.ndim)
        assert np.array_equal(weight.numpy().reshape(kernel.shape), kernel)
        assert np.array_equal(found[f"{name}.bias"].numpy(), bias)
        assert (weight.role, weight.axes) == ("kernel", "in out kh kw" if theirs == "up" else "out in kh kw")
    slopes = [weight for weight in found.values() if weight.shape == (6, 1, 1)]
    assert np.array_equal(slopes[0].numpy().ravel(), expected["slope.weight"])
    assert all(weight.dtype == "float32" for weight in found.values())
    assert "int32" in {weight.dtype for weight in steelyard.weights(made / "plain.mnn", scope="all").values()}
    check_format(open_path(made / "plain.mnn"))


def test_float16_is_read_in_kernels_and_constants(made, expected):
    found = steelyard.weights(made / "half.mnn")
    assert not found.unreadable
    for name, theirs in NAMES.items():
        kernel, half = expected[f"{theirs}.weight"], found[f"{name}.weight"].numpy()
        error = np.abs(kernel.reshape(half.shape)) - np.abs(half.astype("f4"))  # the converter rounds towards zero
        assert half.dtype == np.float16
        assert error.min() >= 0
        assert (error <= np.spacing(np.abs(half)).astype("f4")).all()


@pytest.mark.parametrize(("kind", "bits"), [("eight", 8), ("four", 4)])
def test_integers_and_their_scales_give_the_numbers_within_half_a_step(made, expected, kind, bits):
    found = steelyard.weights(made / f"{kind}.mnn")
    for name, theirs in NAMES.items():
        kernel = expected[f"{theirs}.weight"]
        weight = found[f"{name}.weight"]
        places = weight.numpy()
        assert places.dtype == np.int8
        assert weight.encoding == f"{1 << bits} values"
        assert np.array_equal(weight.read(5, 9), places.ravel()[5:9])
        low, step = found[f"{name}.alpha"].numpy().reshape(-1, 2).T.reshape(2, -1, 1)
        rows = kernel.reshape(len(step), -1) if theirs != "up" else None
        if rows is not None:
            near = (places.reshape(len(step), -1).astype("f4") + (1 << bits - 1)) * step + low
            assert np.abs(near - rows).max() <= np.abs(step).max() * 0.51


def test_a_table_of_few_values_is_unpacked_from_the_highest_bits():
    book = bytes([3, 0xFE, 0])  # sorted: -2, 0, 3
    data = from_bytes(book + bytes([0b00011000, 0b01000000]), "t.mnn")
    read = mnn._from_table(data, 3, 2, book)
    assert read(0, 5).tolist() == [-2, 0, 3, -2, 0]
    assert read(2, 4).tolist() == [3, -2]
    with pytest.raises(FormatError, match="names the value 3 of a table of 3"):
        mnn._from_table(from_bytes(book + b"\xff", "t.mnn"), 3, 2, book)(0, 1)


def test_damaged_files_are_refused_in_one_line(made, tmp_path):
    data = (made / "eight.mnn").read_bytes()
    (tmp_path / "cut.mnn").write_bytes(data[:400])
    with pytest.raises(FormatError):
        steelyard.weights(tmp_path / "cut.mnn")
    (tmp_path / "other.mnn").write_bytes(struct.pack("<I", 8) + bytes(60))
    with pytest.raises(FormatError, match="a model of MNN by its name"):
        steelyard.weights(tmp_path / "other.mnn")
