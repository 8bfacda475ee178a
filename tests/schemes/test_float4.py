"""Numbers of E2M1: NVFP4 of ModelOpt and compressed-tensors, MXFP4 of gpt-oss, in blocks and with hostile shapes."""

import numpy as np
from ml_dtypes import float8_e4m3fn
from packed_files import effective, reason

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], "f4")
RNG = np.random.default_rng(0)


def numbers(stored):
    return E2M1[np.stack([stored & 15, stored >> 4], -1).reshape(*stored.shape[:-1], -1)]


def modelopt(*leading):
    stored = RNG.integers(0, 256, (*leading, 6, 16)).astype("u1")
    scale = (RNG.random((*leading, 6, 2)) + 0.5).astype(float8_e4m3fn)
    whole = RNG.random(leading or ()).astype("f4")
    known = numbers(stored) * np.repeat(scale.astype("f4") * whole.reshape(*leading, *[1] * 2), 16, -1)
    return {"weight": stored, "weight_scale": scale, "weight_scale_2": np.asarray(whole)}, known


def test_modelopt_multiplies_by_both_scales_of_layers_and_experts(tmp_path):
    for leading in ((), (3,)):
        leaves, known = modelopt(*leading)
        found = effective(tmp_path, leaves | {"input_scale": np.array(3, "f4")})
        assert [*found] == ["fc.weight"]
        assert np.array_equal(found["fc.weight"].numpy(), known)


def test_modelopt_with_scaled_inputs_is_refused(tmp_path):
    leaves, _ = modelopt()
    assert "pre_quant_scale scales its inputs" in reason(tmp_path, leaves | {"pre_quant_scale": np.ones(32, "f4")})
    assert "weight_scale is missing" in reason(tmp_path, {key: leaves[key] for key in ("weight", "weight_scale_2")})
    assert "need scales (6, 2)" in reason(tmp_path, leaves | {"weight_scale": np.ones((6, 4), float8_e4m3fn)})


def test_compressed_tensors_divides_by_the_global_scale(tmp_path):
    leaves, _ = modelopt()
    whole = np.array([3], "f4")
    packed = {"weight_packed": leaves["weight"], "weight_scale": leaves["weight_scale"], "weight_global_scale": whole}
    found = effective(tmp_path, packed)["fc.weight"]
    known = numbers(leaves["weight"]) * np.repeat(leaves["weight_scale"].astype("f4") / whole, 16, -1)
    assert found.dtype == "bfloat16"
    assert np.abs(found.numpy().astype("f4") - known).max() <= 2**-8 * np.abs(known).max()
    del packed["weight_global_scale"]
    assert "weight_global_scale is missing" in reason(tmp_path, packed)


def test_experts_of_gpt_oss_are_turned(tmp_path):
    blocks, scales = RNG.integers(0, 256, (3, 4, 2, 16)).astype("u1"), RNG.integers(120, 130, (3, 4, 2)).astype("u1")
    found = effective(tmp_path, {"down_proj_blocks": blocks, "down_proj_scales": scales})["fc.down_proj"]
    values = numbers(blocks) * np.exp2(scales.astype("f4") - 127)[..., None]
    known = values.reshape(3, 4, 64).swapaxes(1, 2)
    assert np.array_equal(found.numpy(), known)
    parts = [found.read(at, min(at + 13, found.size)) for at in range(0, found.size, 13)]
    assert np.array_equal(np.concatenate(parts), known.ravel())


def test_experts_whose_scales_do_not_fit_are_refused(tmp_path):
    blocks = np.zeros((3, 4, 2, 16), "u1")
    assert "scales are missing" in reason(tmp_path, {"x_blocks": blocks}, name="fc.x")
    assert "scales are uint8 (3, 4, 3)" in reason(
        tmp_path, {"x_blocks": blocks, "x_scales": np.zeros((3, 4, 3), "u1")}, name="fc.x"
    )
    assert "its scales are uint8 (0, 4, 2)" in reason(
        tmp_path, {"x_blocks": blocks[:0], "x_scales": np.zeros((0, 4, 2), "u1")}, name="fc.x"
    )
