"""Equal slices of a weight are found by a hash of each, whatever the type, the axis and the blocks that are read."""

import ml_dtypes
import numpy as np
import pytest

from steelyard import sizes
from steelyard.core.readers import from_array
from steelyard.measures.check.duplicate_units import UnitScan

DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "float8_e4m3fn")


def equal_rows(array, axis=0):
    return UnitScan(from_array("w", array), (axis,), axis).same()


@pytest.mark.parametrize("block", [24, 64, 1 << 17])
@pytest.mark.parametrize("columns", [7, 8, 30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_slices_are_found_along_each_axis(monkeypatch, dtype, columns, block):
    monkeypatch.setattr(sizes, "SUMMARY_BLOCK", block)
    array = np.random.default_rng(0).integers(1, 9, (40, columns)).astype(getattr(ml_dtypes, dtype, dtype))
    array[17] = array[3]
    array[:, 5] = array[:, 2]
    array[39, 0] = array[8, 0]
    distinct = np.unique(array.astype("f4"), axis=0, return_inverse=True)[1].reshape(-1)
    expected = [np.flatnonzero(distinct == row).tolist() for row in dict.fromkeys(distinct.tolist())]
    assert equal_rows(array) == [rows for rows in expected if len(rows) > 1]
    assert [2, 5] in equal_rows(array, 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8"])
def test_slices_of_ones_that_differ_by_two_signs_are_told_apart(dtype):
    array = np.ones((1 + 64 * 63 // 2, 64), dtype)
    pairs = [(one, other) for one in range(64) for other in range(one)]
    for row, (one, other) in enumerate(pairs, 1):
        array[row, [one, other]] = -1
    assert equal_rows(array) == []


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_both_zeros_are_one_number(dtype):
    array = np.ones((2, 8), getattr(ml_dtypes, dtype, dtype))
    array[0, 3], array[1, 3] = 0.0, -0.0
    assert equal_rows(array) == [[0, 1]]
