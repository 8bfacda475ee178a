"""Variables of Keras in lists, tuples and generators keep their paths."""

import keras
import numpy as np

import steelyard


def test_variables_in_a_container_have_their_paths_and_are_written_in_place():
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="a"), keras.layers.Dense(1, name="b")])
    paths = [variable.path for variable in net.trainable_variables]
    for given in (net.trainable_variables, tuple(net.variables), iter(net.weights), (each for each in net.weights)):
        w = steelyard.weights(given)
        assert list(w) == paths
        assert [each.role for each in w.values()] == ["kernel", "bias", "kernel", "bias"]
    steelyard.weights(net.trainable_variables).assign(np.arange(11.0))
    assert np.array_equal(np.concatenate([each.ravel() for each in net.get_weights()]), np.arange(11.0))
    assert list(steelyard.weights([net.weights[0], net.weights[0]])) == ["0", "1"]
