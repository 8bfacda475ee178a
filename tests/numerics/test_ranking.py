"""The threshold of the k smallest keys is that of sorting them all."""

import numpy as np
import pytest

from steelyard.numerics.ranking import smallest


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1000])
def test_the_threshold_is_that_of_a_sort(bits, count):
    chance = np.random.default_rng(count)
    keys = np.abs(chance.standard_normal(1000).round(2)).astype(f"float{bits}").view(f"uint{bits}")
    key, equal, ties = smallest(lambda: np.array_split(keys, 7), count, bits)
    ordered = np.sort(keys)
    assert (keys < key).sum() + equal == count
    if count:
        assert key == ordered[count - 1]
        assert ties == (keys == key).sum()
