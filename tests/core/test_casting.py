"""Numbers are converted to a weight's own dtype, or refused with name and index; nothing is lost silently."""

import ml_dtypes
import numpy as np
import pytest

from steelyard.core.casting import common_dtype, converted
from steelyard.errors import LossyError, UnknownModelError

BF16, E4M3, E5M2 = (np.dtype(t) for t in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0.1, -1e-40, 1e30], "f4"),
        ([0.1, np.nan, np.inf, -np.inf], "f2"),
        ([0.1, 3.0], BF16),
        ([448.0, -0.001], E4M3),
        ([np.inf, 1.0], E5M2),
        ([1.0, -7.0], "i1"),
        ([0.0, 1.0], "?"),
        ([1 + 2j], "c8"),
        ([2.0], "c8"),
    ],
)
def test_rounding_a_float_and_exact_integers_are_allowed(values, dtype):
    result = converted("w", np.array(values), np.dtype(dtype))
    assert result.dtype == dtype
    assert np.array_equal(result, np.array(values).astype(dtype), equal_nan=True)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([1.0, 2.5]), "i8"),
        (np.array([1.0, np.nan]), "i4"),
        (np.array([1.0, np.inf]), "i4"),
        (np.array([1.0, 300.0]), "i1"),
        (np.array([1.0, -1.0]), "u1"),
        (np.array([1, -1]), "u8"),
        (np.array([0, 2]), "?"),
        (np.array([1.0, 1e300]), "f4"),
        (np.array([1.0, 1e5]), "f2"),
        (np.array([1.0, 3.5e38]), BF16),
        (np.array([1.0, 500.0]), E4M3),
        (np.array([1.0, 7.0]), ml_dtypes.float4_e2m1fn),
        (np.array([1.0, 1 + 2j]), "f8"),
        (np.array([1, 2**53 + 1]), "f8"),
        (np.array([1, 2**24 + 1]), "f4"),
    ],
)
def test_a_number_that_would_be_lost_is_refused_with_its_place(values, dtype):
    with pytest.raises(LossyError, match=r"^fc.w: .* at \[1\] does not fit into .*; nothing was written"):
        converted("fc.w", values, np.dtype(dtype))


def test_text_and_objects_are_not_numbers():
    for values in (np.array(["a"]), np.array([None])):
        with pytest.raises(UnknownModelError, match="not numbers"):
            converted("w", values, np.dtype("f4"))


@pytest.mark.parametrize(
    ("dtypes", "common"),
    [
        ([], "float32"),
        (["bfloat16"], "bfloat16"),
        (["float16", "bfloat16"], "float32"),
        (["int8", "float8_e4m3fn"], "float32"),
        (["float8_e4m3fn", "float8_e5m2"], "float32"),
        (["float32", "int64"], "float64"),
        (["bfloat16", "float64"], "float64"),
        (["int4", "uint4"], "int16"),
        (["bfloat16", "complex64"], "complex64"),
    ],
)
def test_a_common_type_holds_every_number_of_each(dtypes, common):
    assert common_dtype(dtypes).name == common
