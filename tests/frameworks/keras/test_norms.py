"""The moving statistics of Keras's batch norms, computed anew: the means of those that its own layer computes of each batch."""

import keras
import numpy as np
import pytest

import steelyard
from steelyard.errors import ShapeError

numbers = keras.ops.convert_to_numpy


def test_moving_statistics_are_the_means_of_those_of_the_batches():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.layers.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    )
    dense, norm, dropout = model.layers
    rng = np.random.default_rng(2)
    data = [rng.normal(1, 2, (size, 3)).astype("f4") for size in (8, 8, 2)]
    hidden = [numbers(dense(batch)) for batch in data]
    seeds = [numbers(variable) for variable in dropout.variables]
    assert steelyard.update_norms(model, [(batch, None) for batch in data]) is model
    assert np.allclose(numbers(norm.moving_mean), np.mean([h.mean(axis=0) for h in hidden], axis=0), rtol=1e-5)
    assert np.allclose(numbers(norm.moving_variance), np.mean([h.var(axis=0) for h in hidden], axis=0), rtol=1e-5)
    assert norm.momentum == 0.99
    assert all(np.array_equal(numbers(variable), before) for variable, before in zip(dropout.variables, seeds, strict=True))
    kept = numbers(norm.moving_mean)
    with pytest.raises(ValueError, match="compatible"):
        steelyard.update_norms(model, [data[0], np.ones((2, 5), "f4")])
    assert np.array_equal(numbers(norm.moving_mean), kept)
    norm.trainable = False
    with pytest.raises(ShapeError, match="not frozen"):
        steelyard.update_norms(model, data)
