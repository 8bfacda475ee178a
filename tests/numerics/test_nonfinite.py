"""NaN and Inf: their count and the index of the first, for any block size."""

import ml_dtypes
import numpy as np
import pytest

import steelyard
from steelyard.core.readers import from_array
from steelyard.numerics.nonfinite import nonfinite


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "bfloat16"])
@pytest.mark.parametrize("first", [0, 6, 7, 23, 29])
def test_the_place_is_counted_from_the_start_of_the_weight(small_sizes, tmp_path, dtype, first):
    array = np.zeros(30, getattr(ml_dtypes, dtype, dtype))
    array[first:] = np.nan
    array[-1] = np.inf
    live = from_array("w", array.reshape(5, 6))
    with pytest.warns(steelyard.errors.NonFiniteWarning):
        steelyard.save({"w": live.numpy()}, tmp_path / "w.safetensors")
    for weight in (live, steelyard.weights(tmp_path / "w.safetensors")["w"]):
        (found,) = nonfinite([weight])
        assert (found.nan, found.inf, found.first) == (29 - first, 1, divmod(first, 6))


def test_a_finite_weight_and_an_integer_one_have_no_finding():
    assert list(nonfinite([from_array("a", np.zeros(9)), from_array("b", np.arange(9)), from_array("c", np.zeros((0, 3)))])) == []


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float16"])
def test_a_thread_gives_no_warning_of_its_own(small_sizes, dtype):
    array = np.zeros(30, getattr(ml_dtypes, dtype, dtype))
    array[5] = np.nan
    (row,) = steelyard.stats({"w": array}).rows
    assert (row.nan, row.count, row.first_nonfinite) == (1, 29, ("w", (5,)))
