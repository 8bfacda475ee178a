"""The public contracts pass for what keeps them, and fail for each promise that is broken."""

import numpy as np
import pytest

import steelyard
from steelyard.core.readers import from_array
from steelyard.core.weights import Weights
from steelyard.storage.source import open_path
from steelyard.testing import check_format, check_model, check_weights


def test_a_model_that_keeps_its_promises_passes_and_is_as_before():
    model = {"w": np.arange(6.0).reshape(2, 3), "n": np.int64(3)}
    assert check_model(model) is model
    assert model["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_a_format_that_keeps_its_promises_passes(tmp_path, suffix):
    steelyard.save({"a": np.ones((2, 3), "f4"), "b": np.arange(4)}, tmp_path / f"x.{suffix}")
    assert list(check_format(open_path(tmp_path / f"x.{suffix}"))) == ["a", "b"]


def broken(**facts):
    weight = from_array("w", np.arange(6.0).reshape(2, 3))
    return Weights([weight.replace(**facts)])


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"dtype": "float99"}, "not a dtype"),
        ({"shape": (2, -3)}, "not of ints"),
        ({"axes": "out"}, "does not name the axes"),
        ({"tied": "w"}, "tied to itself"),
        ({"dtype": "float32"}, "numpy\\(\\) is float64"),
        ({"read": lambda start, stop: np.arange(6.0)[: stop - start]}, "differs from numpy"),
    ],
    ids=["dtype", "shape", "axes", "tied", "other dtype", "reader"],
)
def test_a_broken_promise_is_named(facts, message):
    with pytest.raises(AssertionError, match=message):
        check_weights(broken(**facts))


def test_an_assign_that_does_nothing_is_noticed(monkeypatch):
    from steelyard.frameworks import numpy as framework

    monkeypatch.setattr(framework, "weights", lambda array: [from_array("", np.array(array).T.copy().T)])
    monkeypatch.setattr(framework, "assign", lambda array, arrays: array)
    with pytest.raises(AssertionError, match="assign of a mapping did not reach the model"):
        check_model(np.ones((2, 3)))
