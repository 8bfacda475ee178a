"""The places of weights whose names differ in counters: what proves them, and what does not."""

import numpy as np
import pytest

from steelyard.core.places import same_places
from steelyard.core.weights import Weights


def listed(*names, shape=(2,)):
    return Weights.from_arrays({name: np.zeros(shape) for name in names})


def test_names_with_other_counters_in_the_same_order_have_the_same_places():
    one = listed("s/dense/kernel", "s/dense/bias", "s/dense_1/kernel")
    two = listed("s_3/dense_7/kernel", "s_3/dense_7/bias", "s_3/dense_9/kernel")
    assert same_places(one, two) == dict(zip(one, two, strict=True))


@pytest.mark.parametrize(
    "other",
    [
        ("s/dense_9/kernel", "s/dense_9/bias", "s/dense_7/kernel"),  # counters in another order
        ("s/dense_7/kernel", "s/dense_8/bias", "s/dense_9/kernel"),  # one layer is two there
        ("s/dense_7/kernel", "s/dense_7/bias", "s/dense_7/kernel_1"),  # two layers are one there
        ("s/dense_1/kernel", "s/dense_1/bias", "s/dense_2/kernel"),  # a name that is another weight's
        ("s/conv_7/kernel", "s/conv_7/bias", "s/conv_9/kernel"),  # other words
        ("s/dense_7/kernel", "s/dense_7/bias"),  # fewer
    ],
)
def test_names_that_differ_in_more_than_counters_prove_nothing(other):
    assert same_places(listed("s/dense/kernel", "s/dense/bias", "s/dense_1/kernel"), listed(*other)) == {}


def test_weights_of_other_shapes_have_no_common_place():
    assert same_places(listed("dense/kernel"), listed("dense_1/kernel", shape=(3,))) == {}


def test_a_name_that_both_have_keeps_its_place():
    assert same_places(listed("temp", "dense/kernel"), listed("temp", "dense_4/kernel"))["temp"] == "temp"


def test_paths_of_keras_prove_the_places_whatever_the_names_and_the_order():
    layout = {"layers/dense": {"name": "x", "vars": {"0": "a", "1": "b"}}}
    other = {"layers/dense": {"name": "y", "vars": {"0": "one", "1": "two"}}}
    one = listed("b", "a").with_weights(listed("b", "a").values(), meta={"layout": layout})
    two = listed("one", "two").with_weights(listed("one", "two").values(), meta={"layout": other})
    assert same_places(one, two) == {"a": "one", "b": "two"}
    damaged = one.with_weights(one.values(), meta={"layout": {"layers/dense": {"vars": {"0": "a", "1": 7}}}})
    assert same_places(damaged, two) == {}


def test_a_list_of_arrays_has_the_order_of_the_model():
    model = listed("fc/kernel", "fc/bias")
    assert same_places(listed("0", "1"), model) == {"0": "fc/kernel", "1": "fc/bias"}
    assert same_places(listed("arr_0", "arr_1"), model) == {"arr_0": "fc/kernel", "arr_1": "fc/bias"}
    assert same_places(listed("1", "0"), model) == {}
    assert same_places(listed("0", "arr_1"), model) == {}
    assert same_places(listed("0", "1", "2"), model) == {}


def test_equal_names_prove_nothing_about_places():
    assert same_places(listed("dense/kernel", "dense_1/kernel"), listed("dense/kernel", "dense_1/kernel")) == {}
