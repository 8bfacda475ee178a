"""The code above size thresholds, tested with a few elements: copies by two threads, transposition by tiles."""

import numpy as np
import pytest

import steelyard
from steelyard.core.axes import copy_turned


@pytest.mark.parametrize("shapes", [[(5,), (2, 3), (7,)], [(1,)] * 9, [(40,), (1,)], [(1,), (40,)], [(3,), (0,), (50,), (2,)]])
def test_every_weight_of_a_long_vector_is_copied_there_and_back(small_sizes, shapes):
    chance = np.random.default_rng(0)
    net = {f"w{nth}": chance.standard_normal(shape) for nth, shape in enumerate(shapes)}
    expected = np.concatenate([array.reshape(-1) for array in net.values()])
    found = steelyard.weights(net)
    for _ in range(2):  # the second time the addresses are known
        np.testing.assert_array_equal(found.to_vector(), expected)
        found.assign(-expected)
        np.testing.assert_array_equal(np.concatenate([array.reshape(-1) for array in net.values()]), -expected)
        expected = -expected


@pytest.mark.parametrize("shape", [(7, 7), (8, 50), (50, 8), (3, 20, 9)])
def test_a_large_array_is_transposed_tile_by_tile(small_sizes, shape):
    array = np.arange(np.prod(shape)).reshape(shape)
    turned = np.full(shape[::-1], -1).T
    copy_turned(turned, array)
    np.testing.assert_array_equal(turned, array)
