"""GPTQ layers whose codes, zero points and scales are packed here, by the bit streams that its formats describe."""

import numpy as np
import pytest
from packed_files import effective, reason, stream

IN, OUT, GROUPS = 64, 32, 2


def layer(bits=4, order=None, zeros=None, stored_less=0, outputs=OUT):
    """Return the leaves of a layer and its weight."""
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 1 << bits, (IN, outputs))
    zeros = rng.integers(1, 1 << bits, (GROUPS, outputs)) if zeros is None else np.full((GROUPS, outputs), zeros)
    scales = rng.random((GROUPS, outputs)).astype("f2")
    group = np.arange(IN) // (IN // GROUPS) if order is None else order
    leaves = {
        "qweight": np.ascontiguousarray(stream(codes.T, bits).T), "qzeros": stream(zeros - stored_less, bits), "scales": scales,
        "g_idx": group.astype("i4"),
    }  # fmt: skip
    return leaves, (scales.astype("f4")[group] * (codes - zeros[group]).astype("f4")).T


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("format_", ["gptq", "gptq_v2"])
def test_every_width_and_format_with_groups_in_any_order(bits, format_, tmp_path):
    order = np.random.default_rng(1).permutation(np.arange(IN) % GROUPS)
    leaves, known = layer(bits, order, stored_less=format_ == "gptq")
    config = {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": 32,
        "desc_act": True,
        "sym": False,
        "checkpoint_format": format_,
    }
    found = effective(tmp_path, leaves, config)["fc.weight"]
    assert np.array_equal(found.numpy(), known)
    assert (found.role, found.axes, found.derivation.scheme) == ("kernel", "out in", f"GPTQ {bits} bits")
    assert found.derivation.settings["checkpoint_format"] == format_


def test_outputs_that_end_within_a_word(tmp_path):
    leaves, known = layer(4, outputs=20)
    assert np.array_equal(effective(tmp_path, leaves, {"bits": 4, "checkpoint_format": "gptq_v2"})["fc.weight"].numpy(), known)


def test_without_an_order_the_groups_follow_one_another(tmp_path):
    leaves, known = layer(4)
    del leaves["g_idx"]
    config = {"bits": 4, "checkpoint_format": "gptq_v2"}
    assert np.array_equal(effective(tmp_path, leaves, config)["fc.weight"].numpy(), known)
    assert "g_idx is missing" in reason(tmp_path, leaves, config | {"desc_act": True})


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_symmetric_layer_with_groups_in_any_order(bits, tmp_path):
    order = np.random.default_rng(1).permutation(np.arange(IN) % GROUPS)
    leaves, known = layer(bits, order, zeros=1 << bits - 1)
    config = {"bits": bits, "checkpoint_format": "gptq_v2", "sym": True, "desc_act": True}
    assert np.array_equal(effective(tmp_path, leaves, config)["fc.weight"].numpy(), known)


@pytest.mark.parametrize(("stored", "format_"), [(7, "gptq"), (8, "gptq_v2")])
def test_equal_zero_points_show_the_format_without_a_config(stored, format_, tmp_path):
    leaves, known = layer(4, zeros=8, stored_less=8 - stored)
    found = effective(tmp_path, leaves)["fc.weight"]
    assert np.array_equal(found.numpy(), known)
    assert found.derivation.assumed == (f"its zero points are those of format {format_}, since all are {stored}",)


def test_a_file_of_the_second_format_that_says_it_is_of_the_first(tmp_path):
    leaves, known = layer(4, zeros=8)
    found = effective(tmp_path, leaves, {"bits": 4, "sym": True})["fc.weight"]
    assert np.array_equal(found.numpy(), known)
    assert found.derivation.assumed[0].endswith("all are 8, though the config says gptq")


def test_what_is_refused(tmp_path):
    leaves, _ = layer(4)
    v2 = {"bits": 4, "checkpoint_format": "gptq_v2"}
    assert "no config says whether its zero points" in reason(tmp_path, leaves)
    assert "not all 7 or 8" in reason(tmp_path, leaves, v2 | {"sym": True})
    assert "as in gptq_v2" in reason(tmp_path, layer(4, zeros=8)[0], {"bits": 4, "sym": False})
    planar = {"bits": 4, "sym": True, "checkpoint_format": "gptq_p"}
    assert "says format gptq_p" in reason(tmp_path, layer(4, zeros=7)[0], planar)
    assert "config says 8 bits, the shapes say 4" in reason(tmp_path, leaves, v2 | {"bits": 8})
    assert "'marlin', which is not read" in reason(tmp_path, leaves, v2 | {"checkpoint_format": "marlin"})
    assert "'exl2', which is not read" in reason(tmp_path, leaves, v2 | {"quant_method": "exl2"})
    assert "5 bits are known in format gptq_p only" in reason(tmp_path, layer(5)[0], {"bits": 5})
    assert "qzeros is missing" in reason(tmp_path, {key: value for key, value in leaves.items() if key != "qzeros"}, v2)
    for hostile in (-1, GROUPS, 1 << 30):
        wrong = leaves | {"g_idx": np.full(IN, hostile, "i4")}
        assert "g_idx names groups that are not among the 2" in reason(tmp_path, wrong, v2)
    assert "do not belong together" in reason(tmp_path, leaves | {"scales": np.ones((3, OUT), "f2")}, v2)
    assert "qweight is int32 (0, 32)" in reason(tmp_path, leaves | {"qweight": np.zeros((0, OUT), "i4")}, v2)
