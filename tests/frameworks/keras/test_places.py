"""Files and twins of Keras models whose names differ in counters: they go back into the model by Keras's own paths."""

import keras
import numpy as np
import pytest
from keras import layers

import steelyard
from steelyard.errors import ShapeError


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.several, self.named = [layers.Dense(3) for _ in range(2)], {"x": layers.Dense(3)}
        self.factor = keras.Variable(1.5, name="factor")

    def call(self, inputs):
        for layer in self.several:
            inputs = layer(inputs)
        return self.named["x"](inputs) * self.factor


def subclassed():
    made = Subclassed()
    made(np.ones((1, 3)))
    return made


def sequential():
    return keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(4), layers.Dense(4)])


def functional():
    inputs = keras.Input((4, 4, 2))
    first = layers.Conv2D(2, 3, padding="same")(inputs)
    second = layers.Conv2D(2, 3, padding="same")(layers.BatchNormalization()(first))
    return keras.Model(inputs, layers.Add()([first, second]))


def filled(made, seed):
    for variable in made.weights:
        variable.assign(np.random.default_rng(seed + len(variable.path)).normal(size=variable.shape))
    return made


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


BUILDERS = pytest.mark.parametrize("build", [subclassed, sequential, functional])


@BUILDERS
def test_a_file_of_keras_goes_back_into_a_model_of_the_same_code(build, tmp_path):
    one = filled(build(), 0)
    one.save_weights(tmp_path / "one.weights.h5")
    by_assign, by_transfer, by_keras = build(), build(), build()
    steelyard.weights(by_assign).assign(tmp_path / "one.weights.h5")
    steelyard.transfer(tmp_path / "one.weights.h5", into=by_transfer)
    by_keras.load_weights(tmp_path / "one.weights.h5")
    assert same(by_assign, one)
    assert same(by_transfer, one)
    assert same(by_keras, one)
    assert str(steelyard.diff(build(), tmp_path / "one.weights.h5")).startswith("loads: yes")


@BUILDERS
def test_weights_and_any_file_of_a_twin_are_assigned_by_place(build, tmp_path):
    one, two, three = filled(build(), 1), build(), build()
    steelyard.weights(two).assign(steelyard.weights(one))
    steelyard.save(one, tmp_path / "one.safetensors")
    steelyard.weights(three).assign(tmp_path / "one.safetensors")
    assert same(two, one)
    assert same(three, one)


def test_a_difference_between_twins_is_paired_by_place():
    one, two = filled(sequential(), 0), filled(sequential(), 0)
    assert steelyard.diff(one, two).same
    two.layers[1].bias.assign_add(np.ones(4))
    changed = [row for row in steelyard.diff(one, two).rows if row.kind == "changed"]
    assert [row.name for row in changed] == [two.layers[1].bias.path]


def test_a_list_of_get_weights_in_a_file_is_assigned_in_order(tmp_path):
    one, two = filled(sequential(), 0), sequential()
    np.savez(tmp_path / "weights.npz", *one.get_weights())
    steelyard.weights(two).assign(tmp_path / "weights.npz")
    assert same(two, one)


def test_a_model_of_other_code_is_refused(tmp_path):
    filled(sequential(), 0).save_weights(tmp_path / "one.weights.h5")
    other = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(4, use_bias=False), layers.Dense(4)])
    with pytest.raises(ShapeError, match="nothing was written"):
        steelyard.weights(other).assign(tmp_path / "one.weights.h5")
