"""Batch norms folded into the layers before them, of live Keras nets and of their files."""

import keras
import numpy as np
import pytest
from keras import layers

import steelyard
from steelyard.errors import ShapeError


def net(*more):
    keras.utils.set_random_seed(1)
    keras.utils.clear_session(free_memory=False)
    first = [keras.Input((5, 5, 2)), layers.Conv2D(3, 3, use_bias=False), layers.BatchNormalization(epsilon=0.01)]
    second = [layers.Flatten(), layers.Dense(4, activation="relu"), layers.BatchNormalization(scale=False)]
    made = keras.Sequential([*first, *second, *more], name="net")
    for variable in made.weights:
        variable.assign(np.random.default_rng(len(variable.path)).uniform(0.5, 1.5, variable.shape))
    return made


@pytest.fixture(params=["live", "file"])
def source(request, tmp_path):
    made = net()
    if request.param == "live":
        return made, made
    made.save(tmp_path / "net.keras")
    return made, tmp_path / "net.keras"


def test_a_folded_layer_computes_what_the_layer_and_its_norm_do(source):
    made, what = source
    folded = steelyard.effective(what, fold="norms")
    plain = keras.Sequential([keras.Input((5, 5, 2)), layers.Conv2D(3, 3)])
    plain.set_weights([folded["net/conv2d/kernel"].numpy(), folded["net/conv2d/bias"].numpy()])
    inputs = np.random.default_rng(0).normal(size=(2, 5, 5, 2)).astype("f4")
    first = keras.Sequential(made.layers[:2])
    assert np.allclose(plain(inputs), first(inputs), atol=1e-5)


def test_a_norm_after_an_activation_is_kept(source):
    kept = [name for name in steelyard.effective(source[1], fold="norms") if "batch_normalization" in name]
    assert kept == [f"net/batch_normalization_1/{leaf}" for leaf in ("beta", "moving_mean", "moving_variance")]


def test_a_norm_over_another_axis_than_the_channels_is_refused():
    made = keras.Sequential([keras.Input((3, 2)), layers.Conv1D(3, 1), layers.BatchNormalization(axis=1)])
    with pytest.raises(ShapeError, match="not a norm of the channels"):
        steelyard.weights(made).effective(fold="norms")
