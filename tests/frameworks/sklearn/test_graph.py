"""scikit-learn as graphs that run: layers with their activations, and the outputs of a net with the same weights."""

import copy
import warnings

import carried
import joblib
import numpy as np
import pytest
from outputs import assert_close
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import RFE
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    SGDOneClassSVM,
)
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import steelyard
from steelyard.core.plugins import load
from steelyard.errors import ShapeError, UnknownModelError

GOLDEN = carried.folder("golden")
INDEX = {case["id"]: case for case in carried.golden_cases()}
ACTIVATIONS = {
    "sk_mlp_regressor": ["tanh", "tanh", "linear"],
    "sk_mlp_classifier_multi": ["relu", "softmax"],
    "sk_mlp_classifier_binary": ["relu", "sigmoid"],
    "sk_logreg_binary": ["sigmoid"],
    "sk_logreg_multi": ["softmax"],
    "sk_sgd_logloss_ovr": ["sigmoid normalised"],
    "sk_linear_regression": ["linear"],
}
runner = load("frameworks", "sklearn")


def golden(case):
    return joblib.load(GOLDEN / INDEX[case]["files"]["sklearn"][0])


@pytest.mark.parametrize("case", ACTIVATIONS)
def test_a_golden_net_has_the_golden_output(case):
    with np.load(GOLDEN / INDEX[case]["io"]) as io:
        x, expected = io["x0"], io["y"]
    found = runner.run(golden(case), [x])
    assert found.outputs[0].shape == expected.shape
    assert abs(found.outputs[0] - expected).max() / abs(expected).max() <= INDEX[case]["tolerance"]
    last = list(found.layers.values())[-1]
    np.testing.assert_allclose(last, found.outputs[0], rtol=1e-12)


@pytest.mark.parametrize("case", ACTIVATIONS)
def test_the_graph_of_a_golden_net_has_its_dense_layers_with_their_activations(case):
    model = golden(case)
    graph = runner.graph(model, None)
    assert graph.is_execution_order
    assert [layer.name for layer in graph.layers] == list(steelyard.weights(model).layers)
    assert [(layer.kind, layer.settings["activation"]) for layer in graph.layers] == [("dense", w) for w in ACTIVATIONS[case]]
    sizes = [(layer["hp"]["in"], layer["hp"]["out"]) for layer in INDEX[case]["layers"]]
    assert [(*layer.input_shape, *layer.output_shape) for layer in graph.layers] == sizes


@pytest.fixture(scope="module")
def data(digits):
    return digits[0].astype("float64"), digits[1]


def quietly(model, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def test_a_search_and_a_frozen_estimator_run_as_their_estimator(data):
    x, y = data
    search = GridSearchCV(MLPClassifier((9,), max_iter=3, random_state=0), {"activation": ["logistic"]}, cv=2)
    quietly(search, x, y)
    for model in (search, FrozenEstimator(search.best_estimator_)):
        assert_close(runner.run(model, [x]).outputs[0], search.predict_proba(x))
        assert [layer.settings["activation"] for layer in runner.graph(model, None).layers] == ["sigmoid", "softmax"]


def test_a_pipeline_that_changes_its_inputs_has_a_graph_but_is_not_run(data):
    x, y = data
    pipeline = quietly(make_pipeline(StandardScaler(), MLPClassifier((5,), max_iter=3, random_state=0)), x, y)
    assert [layer.name for layer in runner.graph(pipeline, None).layers] == list(steelyard.weights(pipeline).layers)
    with pytest.raises(UnknownModelError, match=r"'standardscaler' \(StandardScaler\).*pipeline\[-1\]"):
        runner.run(pipeline, [x])
    plain = quietly(make_pipeline("passthrough", LogisticRegression(max_iter=10)), x, y)
    assert_close(runner.run(plain, [x]).outputs[0], plain.predict_proba(x))
    assert list(runner.run(plain, [x]).layers) == list(steelyard.weights(plain).layers)


@pytest.mark.parametrize(
    ("model", "word", "answer"),
    [
        (Perceptron(max_iter=5, tol=None), "linear", "decision_function"),
        (PoissonRegressor(max_iter=500), "exponential", "predict"),
        (LinearRegression(), "linear", "predict"),
        (SGDOneClassSVM(random_state=0), "linear", "decision_function"),
        (MLPRegressor(hidden_layer_sizes=(3, 4), activation="identity", max_iter=3), "linear", "predict"),
    ],
)
def test_the_output_is_the_activation_of_the_last_layer(data, model, word, answer):
    x, y = data
    quietly(model, x, y)
    layers = runner.graph(model, None).layers
    assert layers[-1].settings["activation"] == word
    found = runner.run(model, [x]).outputs[0]
    assert_close(found, getattr(model, answer)(x).reshape(len(x), -1))
    if word == "exponential":
        np.testing.assert_allclose(found[:, 0], np.exp(x @ model.coef_ + model.intercept_))


WRAPPERS = {
    "threshold": (FixedThresholdClassifier(MLPClassifier((3,), max_iter=3, random_state=0)), "predict_proba"),
    "target": (TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler()), ""),
    "selector": (RFE(LogisticRegression(max_iter=5), n_features_to_select=60, step=4), ""),
}


@pytest.mark.parametrize(("model", "answer"), WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_of_one_net_has_its_graph_and_runs_if_it_leaves_inputs_and_outputs_alone(data, model, answer):
    x, y = data
    quietly(model, x, (y > 4).astype(int))
    w = steelyard.weights(model)
    assert [layer.name for layer in w.graph.layers] == list(w.layers)
    assert w.graph.is_sequential == bool(answer)
    assert "dense" in str(steelyard.architecture(model))
    if answer:
        assert_close(runner.run(model, [x]).outputs[0], getattr(model, answer)(x).reshape(len(x), -1)[:, -1:])
    else:
        with pytest.raises(UnknownModelError, match=r"changes the inputs or the outputs of its (regressor|estimator)_"):
            runner.run(model, [x])


def test_several_labels_have_a_unit_each(data):
    x, y = data
    labels = np.stack([y > 4, y % 2], axis=1)
    model = quietly(MLPClassifier((5,), max_iter=3, random_state=0), x, labels)
    assert runner.graph(model, None).layers[-1].settings["activation"] == "sigmoid"
    assert_close(runner.run(model, [x]).outputs[0], model.predict_proba(x))


def test_running_changes_nothing_and_a_model_that_is_not_a_net_is_refused(data):
    x, y = data
    model = quietly(MLPClassifier((5,), max_iter=3, random_state=0), x, y)
    before = copy.deepcopy(steelyard.weights(model).to_vector())
    runner.run(model, [x.astype("float32")])
    np.testing.assert_array_equal(steelyard.weights(model).to_vector(), before)
    with pytest.raises(ShapeError, match="takes one input, not 2"):
        runner.run(model, [x, x])
    voting = quietly(VotingClassifier([("a", LogisticRegression(max_iter=5)), ("b", model)]), x, y)
    with pytest.raises(UnknownModelError, match="not one net that runs"):
        runner.graph(voting, None)
    with pytest.raises(UnknownModelError):
        runner.graph(RandomForestClassifier(2).fit(x, y), None)
