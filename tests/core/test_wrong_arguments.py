"""Calls with arguments of a wrong kind: each is refused where it is made, in one line."""

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

import steelyard
from steelyard.errors import ShapeError


def net():
    return {"fc.weight": np.ones((3, 2)), "fc.bias": np.zeros(3)}


def test_arguments_of_a_wrong_kind_are_refused_in_one_line_that_says_what_is_right():
    w = steelyard.weights(net())
    for call, what in (
        (lambda: w.select(5), "pattern is '5'; it must be text"),
        (lambda: w.select(role=[None]), "role is 'None'; it must be text"),
        (lambda: w.parameters.locate(1.5), "a whole number, not '1.5'"),
        (lambda: w.parameters.locate("fc.bias"), "a whole number, not 'fc.bias'"),
        (lambda: w.parameters.to_vector(dtype="flaot16"), "dtype is 'flaot16', which NumPy does not know"),
        (lambda: steelyard.size(w).fits("8"), "'8' gigabytes is no size of a memory"),
        (lambda: w.select(layer=3), "layer is '3'; it must be text"),
        (lambda: w.select(trainable="yes"), "trainable is 'yes'; it must be True"),
        (lambda: w.rename("fc", 3), "'3' is not text"),
        (lambda: w.rename("(", "x"), "'\\(' is not a regular expression"),
        (lambda: list(w["fc.bias"].blocks(-1)), "limit is '-1'; a block has at least one element"),
        (lambda: steelyard.diff(w, w, atol="x"), "atol is 'x'; it must be a number"),
        (lambda: steelyard.average([w, w], weights="ab"), "weights is 'ab'; it must have numbers only"),
        (lambda: steelyard.ema([w, w], decay="x"), "decay is 'x'; it must have numbers only"),
        (lambda: steelyard.apply_patch(w, w), "a patch is a file, whose path comes second, not a Weights"),
    ):
        with pytest.raises(ShapeError, match=what):
            call()
    with pytest.raises(steelyard.SteelyardError, match="'3' is not a function"):
        w.map(3)


def test_masked_numbers_are_refused_and_an_array_without_them_is_one_of_numbers():
    masked = np.ma.masked_array(np.arange(3.0), mask=[False, True, False])
    w = steelyard.weights({"b": np.zeros(3)})
    for call, name in (
        (lambda: steelyard.weights({"a": {"b": masked}}), "'a.b': the array"),
        (lambda: w.assign({"b": masked}), "b"),
        (lambda: w.from_vector(masked), "the vector"),
    ):
        with pytest.raises(ShapeError, match=f"^{name} has 1 masked of 3 numbers; fill them first"):
            call()
    w.assign({"b": np.ma.masked_array(np.arange(3.0))})
    assert w["b"].numpy().tolist() == [0, 1, 2]


def test_a_member_of_a_dict_or_list_that_has_no_weights_is_named():
    for model, where in (
        ({"a": np.ones(2), "b": {"c": object()}}, "'b.c': a builtins.object is of a framework"),
        ([np.ones(2), np.array(["x"])], "'1': the array holds <U1"),
        ({"fit": MLPClassifier()}, "'fit': this MLPClassifier is not fitted"),
    ):
        with pytest.raises(steelyard.SteelyardError, match=f"^{where}"):
            steelyard.weights(model)
