"""Weights of bitsandbytes in other storage types and odd sizes, and hostile states."""

import json

import numpy as np
import pytest
from packed_files import effective, reason

TABLE = np.linspace(-1, 1, 16, dtype="f4")


def layer(shape=(5, 7), block=8, stored="u1", **state):
    """Return the leaves of a layer and its weight."""
    rng = np.random.default_rng(0)
    size = int(np.prod(shape))
    codes = rng.integers(0, 16, size)
    absmax = rng.random(-(-size // block)).astype("f4")
    padded = np.pad(codes, (0, -size % (2 * np.dtype(stored).itemsize))).astype("u1")
    data = (padded[::2] << 4 | padded[1::2]).view(stored)[:, None]
    words = {"quant_type": "nf4", "blocksize": block, "dtype": "float32", "shape": list(shape), **state}
    leaves = {
        "weight": data, "weight.absmax": absmax, "weight.quant_map": TABLE,
        "weight.quant_state.bitsandbytes__nf4": np.frombuffer(json.dumps(words).encode(), "u1"),
    }  # fmt: skip
    return leaves, (TABLE[codes] * np.repeat(absmax, block)[:size]).reshape(shape)


@pytest.mark.parametrize("stored", ["u1", "f2", "f4"])
@pytest.mark.parametrize("shape", [(5, 7), (64,), (3, 2, 5, 5)])
def test_odd_sizes_and_bytes_in_other_types(shape, stored, tmp_path):
    leaves, known = layer(shape, stored=stored)
    assert np.array_equal(effective(tmp_path, leaves)["fc.weight"].numpy(), known)


def test_the_result_has_the_dtype_of_the_state(tmp_path):
    leaves, known = layer(dtype="float16")
    assert np.array_equal(effective(tmp_path, leaves)["fc.weight"].numpy(), known.astype("f2"))


@pytest.mark.parametrize(
    ("state", "reason_"),
    [({"shape": [1 << 40, 1 << 40]}, "no shape"), ({"shape": [-5, -7]}, "no shape"), ({"shape": [5, 7.5]}, "no shape"),
     ({"shape": [50, 70]}, "needs 1,750 bytes"), ({"blocksize": 0}, "block size of 0"), ({"blocksize": "8"}, "block size of None"),
     ({"blocksize": 16}, "3 scales"), ({"dtype": "float64"}, "dtype float64"), ({"nested_blocksize": 256}, "its scales are codes")],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused(state, reason_, tmp_path):
    leaves, _ = layer()
    words = {"quant_type": "nf4", "blocksize": 8, "dtype": "float32", "shape": [5, 7], **state}
    text = np.frombuffer(json.dumps(words).encode(), "u1")
    assert reason_ in reason(tmp_path, leaves | {"weight.quant_state.bitsandbytes__nf4": text})


def test_lost_parts_are_refused(tmp_path):
    leaves, _ = layer()
    state = "weight.quant_state.bitsandbytes__nf4"
    assert "quant_state is missing" in reason(tmp_path, {key: value for key, value in leaves.items() if key != state})
    assert "quant_state, which has" in reason(tmp_path, {"weight": leaves["weight"]})
    assert "absmax are missing" in reason(tmp_path, {key: value for key, value in leaves.items() if key != "weight.absmax"})
    assert "JSON" in reason(tmp_path, leaves | {state: np.frombuffer(b"{", "u1")})


def test_int8_in_the_order_of_a_kernel_is_refused(tmp_path):
    leaves = {"weight": np.ones((3, 4), "i1"), "SCB": np.full(3, 127, "f4"), "weight_format": np.array([1], "u1")}
    assert "weight_format is not 0" in reason(tmp_path, leaves)
    assert "other rows" in reason(tmp_path, leaves | {"SCB": np.ones(4, "f4")})
    found = effective(tmp_path, {key: leaves[key] for key in ("weight", "SCB")})["fc.weight"]
    assert found.numpy() == pytest.approx(1.0)
    assert found.derivation.assumed == ("its numbers are in row-major order",)


def test_scales_that_overflow_give_infinity_without_a_warning(tmp_path):
    leaves, _ = layer(dtype="float16")
    found = effective(tmp_path, leaves | {"weight.absmax": np.full(5, 1e30, "f4")})["fc.weight"]
    assert np.isinf(found.numpy()).all()
    int8 = {"weight": np.full((2, 3), 100, "i1"), "SCB": np.array([np.nan, 3e38], "f4")}
    assert not np.isfinite(effective(tmp_path, int8)["fc.weight"].numpy()).any()
