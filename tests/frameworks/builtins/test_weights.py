"""Arrays, and dicts, lists and tuples of models and arrays, named by keys and places."""

import io
from collections import OrderedDict
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import SGDRegressor
from torch import nn

import steelyard
from steelyard.errors import ShapeError, UnknownModelError
from steelyard.testing import check_model


def test_a_bare_array_is_one_weight_without_a_name():
    array = np.arange(6.0).reshape(2, 3)
    w = steelyard.weights(array)
    assert list(w) == [""]
    w.assign(np.zeros(6))
    assert not array.any()
    assert steelyard.weights(np.float32(2.5)).to_vector().tolist() == [2.5]


def test_keys_and_places_become_names_at_any_depth():
    model = {"a": [np.zeros(2), (np.ones(1), {"deep": np.ones(3)})], 7: np.zeros(1)}
    assert list(steelyard.weights(model)) == ["a.0", "a.1.0", "a.1.1.deep", "7"]


def test_the_list_of_get_weights_is_named_by_place_and_flattened_in_order():
    arrays = [np.ones((3, 2), "f4"), np.zeros(2, "f4"), np.full((2, 1), 2, "f4")]
    w = steelyard.weights(arrays)
    assert list(w) == ["0", "1", "2"]
    assert np.array_equal(w.to_vector(), np.concatenate([a.ravel() for a in arrays]))


def test_models_of_several_frameworks_share_a_container():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = {
        "torch": nn.Linear(2, 1),
        "linear": SGDRegressor().fit(rng.normal(size=(20, 2)), rng.normal(size=20)),
        "array": np.ones(2),
    }
    w = steelyard.weights(model)
    assert list(w) == ["torch.weight", "torch.bias", "linear.coef_", "linear.intercept_", "array"]
    assert str(w["torch.weight"].role) == "kernel"
    assert w["torch.weight"].layer == "torch"
    check_model(model)


def test_containers_may_hold_weights_and_single_weights():
    inner = steelyard.weights({"w": np.ones(2)})
    w = steelyard.weights({"one": inner, "two": inner["w"]})
    assert list(w) == ["one.w", "two"]
    assert steelyard.weights(inner) is inner


class Point(NamedTuple):
    x: object
    y: object


def test_dicts_and_lists_are_changed_in_place_and_tuples_are_returned_new():
    array, kept = np.zeros(2), {"n": 3, "w": [1.0, 2.0]}
    model = OrderedDict(a=(array, 1.5), p=Point(np.zeros(1), 4), k=kept)
    back = steelyard.weights(model).assign([1, 2, 2.5, 3, 5, 6, 7, 8])
    assert back is model
    assert array.tolist() == [1, 2]
    assert model["a"][1] == 2.5
    assert model["p"] == Point(np.array([3.0]), 5)
    assert type(model["p"]) is Point
    assert kept == {"n": 6, "w": [7.0, 8.0]}
    assert type(kept["n"]) is int


def test_text_and_none_are_skipped_and_a_read_only_mapping_is_read():
    assert list(steelyard.weights(MappingProxyType({"name": "net", "none": None, "w": np.ones(1)}))) == ["w"]


def test_objects_without_numbers_are_refused_by_name():
    for model, message in [
        (
            object(),
            r"a builtins\.object is of a framework that Steelyard does not know; known are .*torch.*entry point steelyard\.frameworks",
        ),
        ({"a": {1, 2}}, "a set has no weights"),
        ({"a": object()}, r"a builtins\.object is of a framework that Steelyard does not know"),
        (np.array([None]), "holds object, not numbers"),
        ({"a": np.array(["x"])}, "not numbers"),
        (lambda: 0, "a function has no weights"),
    ]:
        with pytest.raises(UnknownModelError, match=message):
            steelyard.weights(model)


def test_a_ragged_list_is_refused():
    with pytest.raises(ShapeError, match=r"ragged.*\[\[1, 2\], \[3\]\]"):
        steelyard.weights([[1, 2], [3]])


def test_two_members_of_one_name_are_refused():
    with pytest.raises(ShapeError, match="two weights are called '1'"):
        steelyard.weights({1: np.zeros(1), "1": np.zeros(1)})


def test_a_container_that_contains_itself_is_refused():
    model = {"w": np.zeros(1)}
    model["self"] = [model]
    with pytest.raises(ShapeError, match=r"'self\.0' contains itself|contains itself"):
        steelyard.weights(model)
    endless = []
    endless.append(endless)
    with pytest.raises(ShapeError, match="contains itself"):
        steelyard.weights(endless)


def test_control_characters_in_printed_names_are_escaped():
    w = steelyard.weights({"\x1b[31mred\u202e": np.zeros(1)})
    assert "\x1b" not in repr(w)
    assert "\u202e" not in repr(w)
    assert "\\u001b[31mred\\u202e" in repr(w)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (nn.Linear, "Linear is a class; pass a model that it has made"),
        (b"abc", "bytes are no model; write them to a file, and pass its path"),
        (io.BytesIO(), "a _io.BytesIO is an open file or a stream; pass the path of a file"),
        (pd.DataFrame({"a": [1.0]}), r"DataFrame cannot be listed; pass what its to_numpy\(\) returns"),
        (None, "a NoneType has no weights; pass a model, an array, or a dict or list of them"),
    ],
)
def test_what_is_passed_for_a_model_by_mistake_is_told_from_one(given, told):
    with pytest.raises(UnknownModelError, match=told):
        steelyard.weights(given)


@pytest.mark.parametrize("paths", [["a.pt", "b.pt"], ("a.pt",), {"first": "a.pt"}])
def test_a_container_of_paths_alone_is_refused_and_not_listed_as_empty(paths):
    for look in (steelyard.weights, steelyard.check, steelyard.size):
        with pytest.raises(UnknownModelError, match=r"has no weights, but text, such as 'a\.pt'; .*several as \[steelyard"):
            look(paths)
    assert list(steelyard.weights({"note": "text", "w": np.ones(2)})) == ["w"]
    assert not steelyard.weights({})
