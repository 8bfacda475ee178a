"""Weights of compressed-tensors in the packings, groups and types that its golden cases do not have, and those refused."""

import json

import ml_dtypes
import numpy as np
import pytest
from packed_files import effective, reason, stream

import steelyard
from steelyard.schemes.compressed_tensors import _by_words

RNG = np.random.default_rng(0)


def config(**weights):
    facts = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "channel", "group_size": None, **weights}
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": {"weights": facts}}}


def by_words(codes, bits):
    """Pack rows of codes into words of 32 bits, 32 // bits in each, as version 0.9 does."""
    count = 32 // bits
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % count))).reshape(len(codes), -1, count).astype(np.uint32)
    return (padded << np.arange(0, count * bits, bits, dtype=np.uint32)).sum(-1, dtype=np.uint32).view(np.int32)


def layer(bits, outputs=6, inputs=40, groups=1, pack=stream, *, zeros=False):
    """Return the leaves of a layer and its weight."""
    codes = RNG.integers(0, 1 << bits, (outputs, inputs))
    scale = RNG.random((outputs, groups)).astype("f4")
    middle = 1 << (bits - 1)
    zero = RNG.integers(0, 1 << bits, (outputs, groups)) if zeros else np.full((outputs, groups), middle)
    leaves = {"weight_packed": pack(codes, bits), "weight_scale": scale, "weight_shape": np.array([outputs, inputs])}
    if zeros:
        leaves["weight_zero_point"] = np.ascontiguousarray(pack(zero.T, bits).T)
    at = np.arange(inputs) // -(-inputs // groups)
    return leaves, (codes - zero[:, at]).astype("f4") * scale[:, at]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_streams_of_every_width_with_zero_points(bits, zeros, tmp_path):
    leaves, known = layer(bits, 6, 64, 4, zeros=zeros)
    settings = config(num_bits=bits, strategy="group", group_size=16, symmetric=not zeros) | {"version": "0.20.1"}
    found = effective(tmp_path, leaves, settings)["fc.weight"]
    assert np.array_equal(found.numpy(), known)
    assert np.array_equal(found.numpy()[3:5].ravel(), found.read(3 * 64, 5 * 64))


@pytest.mark.parametrize("bits", [3, 5, 6, 7])
def test_words_of_old_versions(bits, tmp_path):
    codes = RNG.integers(0, 1 << bits, (3, 50))
    assert np.array_equal(_by_words(by_words(codes, bits), bits)[:, :50], codes)
    leaves, known = layer(bits, 7, 64, 1, by_words, zeros=True)
    found = effective(tmp_path, leaves, config(num_bits=bits, symmetric=False) | {"version": "0.9.4"})["fc.weight"]
    assert np.array_equal(found.numpy(), known)


def test_where_both_packings_take_the_same_words_the_version_decides(tmp_path):
    for version, pack in (("0.9.4", by_words), ("0.20.1", stream)):
        leaves, known = layer(3, 5, 30, 1, pack)
        found = effective(tmp_path, leaves, config(num_bits=3) | {"version": version})["fc.weight"]
        assert np.array_equal(found.numpy(), known)
    assert "no known version says which" in reason(tmp_path, leaves, config(num_bits=3))


def test_without_a_config_the_shapes_show_the_bits(tmp_path):
    leaves, known = layer(4, 6, 37)
    found = effective(tmp_path, leaves)["fc.weight"]
    assert np.array_equal(found.numpy(), known)
    assert "no config says" in found.derivation.assumed[0]


def test_inputs_in_groups_by_activation(tmp_path):
    leaves, _ = layer(4, 3, 8, 2)
    order = np.array([1, 0, 0, 1, 1, 0, 1, 0], "i4")
    settings = config(strategy="group", group_size=4, actorder="group")
    found = effective(tmp_path, leaves | {"weight_g_idx": order}, settings)["fc.weight"]
    codes = np.stack([leaves["weight_packed"].view("u4")[:, 0] >> shift & 15 for shift in range(0, 32, 4)], 1).astype("f4")
    assert np.array_equal(found.numpy(), (codes - 8) * leaves["weight_scale"][:, order])
    for wrong in (order * 0, order + 1, order - 5):
        assert "weight_g_idx" in reason(tmp_path, leaves | {"weight_g_idx": wrong}, settings)


def test_plain_int8_with_zero_points_blocks_and_experts(tmp_path):
    codes, zero = RNG.integers(-128, 128, (2, 4, 6)).astype("i1"), RNG.integers(-8, 8, (2, 4, 3)).astype("i1")
    scale = RNG.random((2, 4, 3)).astype("f4")
    settings = config(num_bits=8, strategy="group", group_size=2, symmetric=False) | {"format": "int-quantized"}
    leaves = {"weight": codes, "weight_scale": scale, "weight_zero_point": zero}
    known = (codes - np.repeat(zero, 2, 2).astype("f4")) * np.repeat(scale, 2, 2)
    assert np.array_equal(effective(tmp_path, leaves, settings)["fc.weight"].numpy(), known)
    assert "zero_point is missing" in reason(tmp_path, {key: leaves[key] for key in ("weight", "weight_scale")}, settings)
    block = config(num_bits=8, strategy="block", block_structure=[3, 4]) | {"format": "float-quantized"}
    eights, grid = RNG.standard_normal((5, 6)).astype(ml_dtypes.float8_e4m3fn), RNG.random((2, 2)).astype("f4")
    found = effective(tmp_path, {"weight": eights, "weight_scale": grid}, block)["fc.weight"]
    assert np.array_equal(found.numpy(), eights.astype("f4") * np.repeat(np.repeat(grid, 3, 0), 4, 1)[:5, :6])


def test_bfloat16_scales_give_bfloat16(tmp_path):
    leaves, known = layer(4)
    scale = leaves["weight_scale"].astype(ml_dtypes.bfloat16)
    found = effective(tmp_path, leaves | {"weight_scale": scale}, config())["fc.weight"]
    assert found.dtype == "bfloat16"
    assert np.abs(found.numpy().astype("f4") - known).max() <= np.abs(known).max() * 2**-7


def test_what_is_refused(tmp_path):
    leaves, _ = layer(4)
    assert "is rotated" in reason(tmp_path, leaves, config() | {"transform_config": {"config_groups": {"u": {}}}})
    assert "'marlin-24', which is not read" in reason(tmp_path, leaves, config() | {"format": "marlin-24"})
    assert "zero_point is missing" in reason(tmp_path, leaves, config(symmetric=False))
    assert "bits of a number are 8" in reason(tmp_path, leaves, config(num_bits=8))
    assert "weight_scale is missing" in reason(
        tmp_path, {key: leaves[key] for key in ("weight_packed", "weight_shape")}, config()
    )
    for wrong in ([6, -40], [7, 40], [6, 1 << 60], [6], [0, 0]):
        assert "weight_shape" in reason(tmp_path, leaves | {"weight_shape": np.array(wrong)}, config())
    assert "do not divide" in reason(tmp_path, leaves | {"weight_scale": np.ones((5, 1), "f4")}, config())
    groups = config(strategy="group", group_size=32)
    assert "need scales (6, 2)" in reason(tmp_path, leaves | {"weight_scale": np.ones((6, 3), "f4")}, groups)


def test_a_config_in_the_folder_that_disagrees_with_the_metadata_is_named(tmp_path):
    kernel = np.random.default_rng(0).normal(size=(4, 64)).astype("f4")
    small = steelyard.quantize({"fc.weight": kernel}, "int4", group=32, like="compressed-tensors")
    steelyard.save(small, f"{tmp_path}/")
    known = steelyard.effective(tmp_path)["fc.weight"]
    assert known.derivation.assumed == ()  # both say the same
    config = json.loads((tmp_path / "config.json").read_text())
    inner = config["quantization_config"]
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {**inner, "format": "int-quantized"}}))
    found = steelyard.effective(tmp_path)
    assert found["fc.weight"].numpy().tobytes() == known.numpy().tobytes()
    (sentence,) = found["fc.weight"].derivation.assumed
    assert sentence.endswith('in the folder is not, which has format "int-quantized", not "pack-quantized"')
    assert f"assumed for 1 of them: {sentence}" in found.meta["notes"]
