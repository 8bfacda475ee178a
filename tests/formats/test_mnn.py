"""MNN: nets that its converter made, compared with the state dict that they were made from.

`tests/data/make_mnn.py` made the files.
"""

import struct

import carried
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError, SteelyardError
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


FLOATS, INTS = "f4", "i4"


def net_of(operators):
    """Return a net of operators, each a name, the kind of its settings, and its fields: a number, an array, or fields again."""
    import flatbuffers

    builder = flatbuffers.Builder(0)

    def table(fields):
        made = {place: value if np.isscalar(value) else vector(value) if isinstance(value, np.ndarray) else table(value)
                for place, value in fields.items()}  # fmt: skip
        builder.StartObject(16)
        for place, value in made.items():
            if np.isscalar(fields[place]):
                builder.PrependInt32Slot(place // 2 - 2, int(value), -1)
            else:
                builder.PrependUOffsetTRelativeSlot(place // 2 - 2, value, 0)
        return builder.EndObject()

    def vector(array):
        return builder.CreateNumpyVector(array.ravel())

    def operator(name, kind, fields):
        settings, text = table(fields), builder.CreateString(name)
        builder.StartObject(6)
        builder.PrependUint8Slot(1, kind, 0)
        builder.PrependUOffsetTRelativeSlot(2, settings, 0)
        builder.PrependUOffsetTRelativeSlot(3, text, 0)
        return builder.EndObject()

    made = [operator(*each) for each in operators]
    builder.StartVector(4, len(made), 4)
    for each in reversed(made):
        builder.PrependUOffsetTRelative(each)
    listed = builder.EndVector()
    builder.StartObject(12)
    builder.PrependUOffsetTRelativeSlot(3, listed, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(FLOATS)


def blob(array):
    return {4: np.array(array.shape, INTS), 8: 1, 18: array}


def test_the_weights_of_all_operators_of_the_schema_are_listed_or_named(tmp_path):
    volume = numbers(4, 3, 2, 2, 2)
    operators = [
        ("bn", 5, {4: 3, 6: numbers(3), 8: numbers(3) + 1, 10: numbers(3) + 2, 12: numbers(3) + 3}),
        ("mm", 25, {10: numbers(6), 12: numbers(2)}),
        ("norm", 27, {10: numbers(5)}),
        ("ln", 88, {4: np.array([-1], INTS), 8: numbers(4), 10: numbers(4) + 1}),
        ("apart", 88, {14: np.array([0, 16, 16], "i8")}),
        ("fc", 20, {4: 2, 10: numbers(2, 3), 12: numbers(2)}),
        ("lstm", 24, {10: blob(numbers(4, 3)), 12: blob(numbers(4, 1)), 14: blob(numbers(4))}),
        ("gru", 72, {12: blob(numbers(2, 5)), 30: blob(numbers(2))}),
        ("conv", 80, {4: {8: np.array([2, 2, 2], INTS), 16: 4}, 6: volume, 8: numbers(4)}),
        ("old", 67, {4: 1}),
        ("add", 6, {4: 1}),
    ]
    (tmp_path / "net.mnn").write_bytes(net_of(operators))
    found = steelyard.weights(tmp_path / "net.mnn")
    names = ["bn.slopeData", "bn.meanData", "bn.varData", "bn.biasData", "mm.weight", "mm.bias", "norm.scale", "ln.gamma", "ln.beta",
             "apart.gamma", "fc.weight", "fc.bias", "lstm.weightI", "lstm.weightH", "lstm.bias", "gru.fwGateWeight",
             "gru.bwRecurrentBias", "conv.weight", "conv.bias", "old.weight"]  # fmt: skip
    assert list(found) == names
    assert {name: found.unreadable[name].split(": ")[1] for name in found.unreadable} == {
        "apart.gamma": "has its numbers in 'net.mnn.weight', which is missing; put it next to this file",
        "old.weight": "old.weight is that of a quantised convolution of TensorFlow, which is not read",
    }
    assert [str(found[f"bn.{word}"].role) for word in ("slopeData", "meanData", "varData", "biasData")] == [
        *("scale", "mean", "variance", "offset"),
    ]
    assert np.array_equal(found["bn.varData"].numpy(), numbers(3) + 2)
    assert (found["fc.weight"].shape, found["fc.weight"].axes) == ((2, 3), "out in")
    assert (found["conv.weight"].shape, found["conv.weight"].axes) == (volume.shape, "out in kd kh kw")
    assert np.array_equal(found["conv.weight"].numpy(), volume)
    assert found["lstm.weightI"].shape == (4, 3)
    assert found["lstm.weightI"].layer == "lstm"


@pytest.mark.parametrize("kind", ["plain", "half", "eight", "four"])
def test_numbers_in_a_file_of_their_own_are_those_in_the_net(kind, made):
    here, apart = steelyard.weights(made / f"{kind}.mnn", scope="all"), steelyard.weights(made / f"{kind}-apart.mnn", scope="all")
    assert (made / f"{kind}-apart.mnn.weight").stat().st_size > 500
    assert [*here] == [*apart]
    for one, other in zip(here.values(), apart.values(), strict=True):
        assert (one.shape, one.dtype, one.encoding, one.role, one.axes) == (
            other.shape,
            other.dtype,
            other.encoding,
            other.role,
            other.axes,
        )
        assert np.array_equal(one.numpy(), other.numpy())


def test_norms_and_tables_in_a_file_of_their_own_are_those_of_the_state_dict(made):
    found, expected = steelyard.weights(made / "norms.mnn"), np.load(made / "norms.npz")
    norm = {word: expected[f"norm.{word}"] for word in ("weight", "bias", "running_mean", "running_var")}
    scale = norm["weight"] / np.sqrt(norm["running_var"] + 1e-5)
    held = {name.rpartition(".")[2]: weight.numpy() for name, weight in found.items()}
    assert np.allclose(held["scaleData"], scale, rtol=1e-5)
    assert np.allclose(held["biasData"], norm["bias"] - norm["running_mean"] * scale, rtol=1e-5)
    assert np.array_equal(held["gamma"], expected["layer.weight"])
    assert np.array_equal(held["beta"], expected["layer.bias"])
    assert np.array_equal(found["table.weight"].numpy(), expected["table.weight"])


def test_numbers_in_a_file_that_is_missing_or_cut_are_listed_and_refused(made, tmp_path):
    (tmp_path / "net.mnn").write_bytes((made / "plain-apart.mnn").read_bytes())
    for data, what in (
        (None, "has its numbers in 'net.mnn.weight', which is missing"),
        (bytes(900), r"has 900 bytes, of which [\d,]+ from [\d,]+ are wanted"),
    ):
        if data is not None:
            (tmp_path / "net.mnn.weight").write_bytes(data)
        found = steelyard.weights(tmp_path / "net.mnn")
        assert {"/conv/Conv_output_0.weight", "/fc/Gemm_output_0__matmul_converted.weight"} <= {*found.unreadable}
        with pytest.raises(SteelyardError, match=what):
            found["/fc/Gemm_output_0__matmul_converted.weight"].numpy()
