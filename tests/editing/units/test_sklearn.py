"""A smaller perceptron of scikit-learn predicts as the one whose next layer does not read the removed units."""

import copy

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline

import steelyard
from steelyard.core.graph import Graph
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError

X = np.random.default_rng(0).standard_normal((20, 4))


def fitted(net, y):
    with pytest.warns(ConvergenceWarning):
        return net.fit(X, y)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_smaller_perceptron_is_the_one_that_does_not_read_the_units(kind):
    net = fitted(kind(hidden_layer_sizes=(9, 7), max_iter=3, random_state=0), np.arange(20) % 3)
    plan = steelyard.prune_units(net, {"0": [1, 5], "1": 0.5})
    twin = copy.deepcopy(net)
    twin.coefs_[1][[1, 5]] = 0
    twin.coefs_[2][plan.removed["1"]] = 0
    run = "predict_proba" if kind is MLPClassifier else "predict"
    np.testing.assert_allclose(getattr(plan.model, run)(X), getattr(twin, run)(X), atol=1e-12)
    assert plan.model.hidden_layer_sizes == (7, 3)
    assert [kernel.shape for kernel in plan.model.coefs_][:2] == [(4, 7), (7, 3)]
    assert net.coefs_[0].shape == (4, 9)


def test_fold_moves_the_constant_of_units_without_kernels_into_the_next_intercept():
    net = fitted(MLPRegressor(hidden_layer_sizes=(6,), activation="tanh", max_iter=3, random_state=0), X[:, 0])
    model = steelyard.prune_units(net, {"0": [2, 3]}, fold=True).model
    net.coefs_[0][:, [2, 3]] = 0
    np.testing.assert_allclose(model.predict(X), net.predict(X), atol=1e-12)


def test_a_model_without_hidden_units_and_one_inside_others_that_change_its_inputs():
    with pytest.raises(ShapeError, match="has a single unit, which stays"):
        steelyard.prune_units(LogisticRegression().fit(X, np.arange(20) % 2), {"": 0.5})
    last = fitted(make_pipeline(MLPRegressor(hidden_layer_sizes=(6,), max_iter=3, random_state=0)), X[:, 0])
    assert steelyard.prune_units(last, 0.5).model[-1].hidden_layer_sizes == (3,)


def test_a_net_of_which_the_outputs_are_not_known_keeps_all_units():
    weights = steelyard.weights(fitted(MLPRegressor(hidden_layer_sizes=(9, 7), max_iter=3), np.arange(20) % 3))
    graph = Graph(weights.graph.layers, is_execution_order=True, input_names=weights.graph.input_names, is_sequential=False)
    with pytest.raises(ShapeError, match="not known which layers give the outputs of the net"):
        steelyard.prune_units(Weights(weights.values(), graph=graph), {"0": [1]})
