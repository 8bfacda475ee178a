"""AWQ layers of odd sizes, and those that are refused."""

import numpy as np
from packed_files import effective, reason

ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def words(codes, order=range(8)):
    """Pack eight codes of a row into a word, in an order of its fields."""
    fields = codes.reshape(len(codes), -1, 8)[..., list(order)].astype(np.uint32)
    return (fields << np.arange(0, 32, 4, dtype=np.uint32)).sum(-1, dtype=np.uint32).view(np.int32)


def layer(inputs=96, outputs=40, group=32):
    """Return the leaves of a gemm layer and its weight."""
    rng = np.random.default_rng(0)
    codes, zeros = rng.integers(0, 16, (inputs, outputs)), rng.integers(0, 16, (inputs // group, outputs))
    scales = rng.random((inputs // group, outputs)).astype("f2")
    leaves = {"qweight": words(codes, ORDER), "qzeros": words(zeros, ORDER), "scales": scales}
    at = np.arange(inputs) // group
    return leaves, ((codes - zeros[at]).astype("f4") * scales.astype("f4")[at]).T


def test_gemm_without_a_config_is_known_by_its_shapes(tmp_path):
    leaves, known = layer()
    found = effective(tmp_path, leaves)["fc.weight"]
    assert np.array_equal(found.numpy(), known)
    assert found.derivation.scheme == "AWQ gemm"


def test_gemv_of_a_padded_row(tmp_path):
    rng = np.random.default_rng(0)
    inputs, outputs, group = 192, 24, 32
    codes, zeros = rng.integers(0, 16, (outputs, inputs)), rng.integers(0, 16, (outputs, 32))
    scales = rng.random((outputs, 32)).astype("f2")
    leaves = {"qweight": words(codes), "qzeros": words(zeros), "scales": scales}
    at = np.arange(inputs) // group
    found = effective(tmp_path, leaves, {"quant_method": "awq", "version": "gemv", "group_size": group})["fc.weight"]
    assert np.array_equal(found.numpy(), (codes - zeros[:, at]).astype("f4") * scales.astype("f4")[:, at])
    assert "do not have 32 padded scales" in reason(
        tmp_path, leaves, {"quant_method": "awq", "version": "gemv", "group_size": 64}
    )


def test_what_is_refused(tmp_path):
    leaves, _ = layer()
    awq = {"quant_method": "awq", "version": "gemm"}
    assert "says version 'marlin'" in reason(tmp_path, leaves, awq | {"version": "marlin"})
    assert "says version 'gemv', and" in reason(tmp_path, leaves, awq | {"version": "gemv"})
    assert "96 inputs in groups of 128" in reason(tmp_path, leaves, awq | {"group_size": 128})
    assert "other than 4" in reason(tmp_path, leaves, awq | {"bits": 8})
    assert "scales is missing" in reason(tmp_path, {key: leaves[key] for key in ("qweight", "qzeros")}, awq)
    assert "fit none of its layouts" in reason(tmp_path, leaves | {"qzeros": np.zeros((0, 5), "i4")}, awq)


def test_equal_zero_points_are_subtracted_at_once(tmp_path):
    leaves, _ = layer()
    zeros = np.full((3, 40), 8)
    found = effective(tmp_path, leaves | {"qzeros": words(zeros, ORDER)})["fc.weight"].numpy()
    others = effective(tmp_path, leaves | {"qzeros": words(zeros - 1, ORDER)})["fc.weight"].numpy()
    scales = np.repeat(leaves["scales"].T.astype("f4"), 32, axis=1)
    assert np.allclose(others - found, scales, atol=1e-6)
