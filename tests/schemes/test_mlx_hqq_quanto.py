"""MLX, HQQ and Quanto: configs of single layers, experts, odd sizes, ambiguous shapes and hostile facts."""

import ml_dtypes
import numpy as np
import pytest
from packed_files import effective, reason, stream

RNG = np.random.default_rng(0)


def mlx(bits=4, group=32, shape=(6, 64), dtype="f4"):
    codes = RNG.integers(0, 1 << bits, shape)
    scales, biases = (RNG.random((*shape[:-1], shape[-1] // group)).astype(dtype) for _ in range(2))
    words = stream(codes.reshape(-1, shape[-1]), bits).view("u4").reshape(*shape[:-1], -1)
    known = codes.astype("f4") * np.repeat(scales.astype("f4"), group, -1) + np.repeat(biases.astype("f4"), group, -1)
    return {"weight": words, "scales": scales, "biases": biases}, known.astype(dtype)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_mlx_of_every_width_with_experts(bits, tmp_path):
    leaves, known = mlx(bits, 32, (3, 4, 64))
    config = {"bits": 2, "group_size": 128, "fc": {"bits": bits, "group_size": 32}}
    assert np.array_equal(effective(tmp_path, leaves, config)["fc.weight"].numpy(), known)


def test_mlx_takes_what_nothing_else_fits_and_refuses_what_is_open(tmp_path):
    leaves, known = mlx(5, 32)
    found = effective(tmp_path, leaves)["fc.weight"]
    assert np.array_equal(found.numpy(), known)
    assert found.derivation.assumed == ("it has 5 bits in groups of 32, as nothing else fits the shapes",)
    assert "2 bits in groups of 64 or 4 bits in groups of 32" in reason(tmp_path, mlx(4, 32)[0])
    assert "a group has 160 bits" in reason(tmp_path, leaves, {"bits": 4, "group_size": 32})
    assert "mode 'mxfp4'" in reason(tmp_path, leaves, {"mode": "mxfp4"})
    assert "biases missing" in reason(tmp_path, {key: leaves[key] for key in ("weight", "scales")}, {"bits": 5})
    assert "weight is (6, 10), scales (5, 2)" in reason(tmp_path, leaves | {"scales": np.ones((5, 2), "f4")})


def test_mlx_mxfp4_is_known_by_its_shapes(tmp_path):
    words, scales = RNG.integers(0, 1 << 32, (2, 8), np.uint32), np.array([[127, 128], [126, 127]], "u1")
    found = effective(tmp_path, {"weight": words, "scales": scales})["fc.weight"]
    assert found.derivation.scheme == "MLX mxfp4 4 bits"
    assert found.shape == (2, 64)


SHIFTS = {8: [0], 4: [4, 0], 2: [6, 4, 2, 0], 1: [*range(7, -1, -1)], 3: [*range(27, -1, -3)]}


def hqq(bits, axis=1, shape=(9, 16), group=8, **facts):
    rows, width = (shape[0] * shape[1] // group, group) if axis else (group, shape[0] * shape[1] // group)
    codes = RNG.integers(0, 1 << bits, (rows, width))
    dims = (rows, 1) if axis else (1, width)
    scale, zero = (RNG.random(dims).astype("f4") for _ in range(2))
    parts = len(SHIFTS[bits])
    padded = np.pad(codes, ((0, -rows % parts), (0, 0))).reshape(parts, -1, width)
    packed = sum(part << shift for part, shift in zip(padded, SHIFTS[bits], strict=True)).astype("i4" if bits == 3 else "u1")
    leaves = {"W_q": packed, "scale": scale, "zero": zero, "shape": np.array(shape), "nbits": np.array([bits], "i4"),
              "axis": np.array([axis], "i4"), "group_size": np.array([group], "i4")}  # fmt: skip
    return leaves | facts, ((codes - zero) * scale).astype("f4").reshape(shape)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_hqq_of_every_width_and_axis_with_padded_rows(bits, axis, tmp_path):
    leaves, known = hqq(bits, axis)
    found = effective(tmp_path, leaves)["fc.weight"]
    assert found.numpy() == pytest.approx(known, rel=1e-6)
    assert [*effective(tmp_path, leaves)] == ["fc.weight"]


@pytest.mark.parametrize(
    ("facts", "why"),
    [({"quant_zero": np.array(1, "u1")}, "quant_zero is set"), ({"axis": np.array(2)}, "along axis 2"),
     ({"nbits": np.array(5)}, "5 bits"), ({"nbits": np.ones(2, "i4")}, "not an integer"), ({"shape": np.array([9, -16])}, "shape is"),
     ({"shape": np.array([1 << 40, 1 << 40])}, "shape is"), ({"shape": np.array([90, 16])}, "W_q is uint8"),
     ({"packing": np.frombuffer(b"marlin", "u1")}, "'marlin', which is not read"), ({"group_size": np.array(4)}, "group_size is 4"),
     ({"zero": np.ones((2, 2), "f4")}, "zero is (2, 2)"), ({"scale": np.ones((0, 1), "f4")}, "scale is (0, 1)")],
)  # fmt: skip
def test_hqq_with_facts_that_do_not_fit_is_refused(facts, why, tmp_path):
    assert why in reason(tmp_path, hqq(4)[0] | facts)


def quanto(bits, rows, width, shift="f4", **leaves):
    parts = 8 // bits
    codes = RNG.integers(0, 1 << bits, (rows, width))
    padded = np.pad(codes, ((0, -rows % parts), (0, 0))).reshape(parts, -1, width)
    data = sum(part << bits * at for at, part in enumerate(padded)).astype("u1")
    scale = RNG.random((rows, 1)).astype("f4")
    shift = (RNG.random((rows, 1)) * 3).astype(shift)
    known = codes * scale - shift if shift.dtype.kind == "f" else (codes - shift.astype("f4")) * scale
    return {"weight._data._data": data, "weight._scale": scale, "weight._shift": shift, **leaves}, known.astype("f4")


def test_quanto_groups_and_integer_shifts(tmp_path):
    leaves, known = quanto(4, 6, 128, "i1", bias=np.ones(3, "f4"))
    found = effective(tmp_path, leaves, quantization_map={"fc": {"weights": "qint4"}})["fc.weight"]
    assert found.shape == (3, 256)
    assert found.numpy() == pytest.approx(known.reshape(3, 256), rel=1e-6)


def test_quanto_bits_are_those_of_the_map_or_of_the_rows(tmp_path):
    leaves, known = quanto(2, 7, 32)
    assert effective(tmp_path, leaves)["fc.weight"].numpy() == pytest.approx(known, rel=1e-6)
    assert "says 'qint4', and 7 rows" in reason(tmp_path, leaves, quantization_map={"fc": {"weights": "qint4"}})
    (tmp_path / "quantization_map.json").unlink()
    assert "do not show the number of bits" in reason(tmp_path, quanto(4, 1, 32)[0])
    assert "outputs, or groups of inputs" in reason(tmp_path, quanto(4, 6, 128)[0])
    assert "_shift missing" in reason(tmp_path, {key: leaves[key] for key in ("weight._data._data", "weight._scale")})


def test_quanto_float8_by_columns(tmp_path):
    codes, scale = RNG.standard_normal((3, 4)).astype(ml_dtypes.float8_e4m3fn), RNG.random((1, 4)).astype("f4")
    found = effective(tmp_path, {"weight._data": codes, "weight._scale": scale})["fc.weight"]
    assert np.array_equal(found.numpy(), codes.astype("f4") * scale)
