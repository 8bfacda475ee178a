"""FP8 weights with scales of every granularity, experts, and those that are refused."""

import shutil

import numpy as np
import pytest
from ml_dtypes import float8_e4m3fn
from packed_files import effective, reason

import steelyard
from tests import carried

RNG = np.random.default_rng(0)


def codes(*shape):
    return RNG.standard_normal(shape).astype(float8_e4m3fn)


def spread(scale, block):
    for axis, side in zip((-2, -1), block, strict=True):
        scale = np.repeat(scale, side, axis)
    return scale


@pytest.mark.parametrize(
    ("shape", "grid"),
    [((6, 8), ()), ((6, 8), (1,)), ((6, 8), (6,)), ((6, 8), (6, 1)), ((6, 8), (1, 8)), ((6, 8), (3, 2)), ((6, 8), (6, 2)),
     ((3, 6, 8), (3,)), ((3, 6, 8), (3, 1, 1)), ((3, 6, 8), (3, 6)), ((3, 6, 8), (3, 6, 1)), ((3, 6, 8), (3, 2, 4)),
     ((4, 3, 2, 2), (4,)), ((4, 3, 2, 2), (4, 1, 1, 1))],
)  # fmt: skip
def test_scales_of_a_tensor_its_rows_columns_blocks_and_experts(shape, grid, tmp_path):
    weight, scale = codes(*shape), RNG.random(grid).astype("f4") + np.float32(0.5)
    if len(grid) == len(shape) == 2 or (len(grid) == len(shape) == 3 and grid[1] > 1):
        full = spread(scale, (shape[-2] // grid[-2], shape[-1] // grid[-1]))
    else:  # leading axes
        full = scale.reshape(*grid, *[1] * (len(shape) - len(grid))) if grid not in {(), (1,)} else scale
    found = effective(tmp_path, {"weight": weight, "weight_scale": np.asarray(scale)})["fc.weight"]
    assert np.array_equal(found.numpy(), weight.astype("f4") * full)
    parts = np.concatenate([found.read(at, min(at + 5, found.size)) for at in range(0, found.size, 5)])
    assert parts.tobytes() == found.numpy().tobytes()


def test_the_last_blocks_are_cut_where_the_config_has_their_size(tmp_path):
    weight, scale = codes(5, 7), RNG.random((2, 2)).astype("f4")
    leaves = {"weight": weight, "weight_scale_inv": scale}
    found = effective(tmp_path, leaves, {"quant_method": "fp8", "weight_block_size": [4, 4]})["fc.weight"]
    assert np.array_equal(found.numpy(), weight.astype("f4") * spread(scale, (4, 4))[:5, :7])
    assert found.derivation.settings == {"weight_block_size": "4 x 4"}
    assert "need scales (2, 3)" in reason(tmp_path, leaves, {"quant_method": "fp8", "weight_block_size": [4, 3]})
    assert "not two positive integers" in reason(tmp_path, leaves, {"quant_method": "fp8", "weight_block_size": [4, 0]})


def test_blocks_that_no_config_decides_are_refused(tmp_path):
    assert "do not divide" in reason(tmp_path, {"weight": codes(5, 7), "weight_scale_inv": np.ones((2, 2), "f4")})
    both = {"weight": codes(128, 200), "weight_scale_inv": np.ones((1, 2), "f4")}
    assert "blocks of 128 x 100 and of 128 x 128" in reason(tmp_path, both)


def test_experts_of_any_name_and_scales_of_deepseek_v4_and_comfyui(tmp_path):
    weight = codes(2, 4, 6)
    found = effective(tmp_path, {"gate_up_proj": weight, "gate_up_proj_scale": np.array([2, 3], "f4")})["fc.gate_up_proj"]
    assert np.array_equal(found.numpy(), weight.astype("f4") * np.array([2, 3], "f4")[:, None, None])
    for leaf in ("scale", "scale_weight"):
        found = effective(tmp_path, {"weight": weight[0], leaf: np.array(2, "f4"), "input_scale": np.array(9, "f4")})
        assert [*found] == ["fc.weight"]
        assert np.array_equal(found["fc.weight"].numpy(), weight[0].astype("f4") * 2)


def test_int8_experts_have_two_numbers_in_a_byte(tmp_path):
    stored = RNG.integers(-128, 128, (2, 32)).astype("i1")
    exponents = RNG.integers(120, 130, (2, 2)).astype("u1")
    e2m1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], "f4")
    bytes_ = stored.view("u1")
    known = e2m1[np.stack([bytes_ & 15, bytes_ >> 4], -1).reshape(2, 64)] * np.repeat(
        np.exp2(exponents.astype("f4") - 127), 32, 1
    )
    leaves = {"weight": stored, "scale": exponents}
    assert np.array_equal(effective(tmp_path, leaves, {"quant_method": "fp8"})["fc.weight"].numpy(), known)


def test_lost_scales_and_weights_are_refused(tmp_path):
    assert "its scale is missing" in reason(tmp_path, {"weight": codes(3, 4)})
    assert "the weight is missing" in reason(tmp_path, {"weight_scale": np.ones(3, "f4")})
    for wrong in (np.ones((0,), "f4"), np.ones(3, "i4"), np.ones((2, 2, 2), "f4")):
        assert (
            "its scales are" in (why := reason(tmp_path, {"weight": codes(3, 4), "weight_scale": wrong})) or "do not fit" in why
        )


def test_the_cut_blocks_of_deepseek_need_their_config(tmp_path):
    folder = carried.folder("effective") / "fp8-block-deepseek-ragged"
    (name,) = (known := np.load(folder / "effective.npz")).files
    assert steelyard.effective(folder / "model.safetensors")[name].numpy() == pytest.approx(known[name], rel=1e-6)
    alone = shutil.copy(folder / "model.safetensors", tmp_path)
    assert "no config says the size of its blocks" in steelyard.effective(alone)[name].unreadable
