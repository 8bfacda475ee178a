"""scikit-learn: multilayer perceptrons and linear models as dense layers; a search stands for its best estimator.

A run returns the outputs of a net with these weights: the probabilities of the classes if the model has them (for two
classes only that of the second), otherwise the decision function of a classifier, otherwise the prediction. A pipeline that
transforms its inputs first is refused, since its weights do not describe it; its last step is the net.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_outlier_detector
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, SGDClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline

from steelyard.core.graph import Graph, Layer, Run, chained
from steelyard.core.plugins import framework_of
from steelyard.errors import ShapeError, UnknownModelError, printable, quoted
from steelyard.frameworks.sklearn.members import members_of

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_WORDS = {"logistic": "sigmoid", "identity": "linear"}
_WRAPPERS = ("best_estimator_", "estimator", "estimator_", "regressor_")
"""The attributes that hold the only estimator of a wrapper."""
_TRANSPARENT = (
    "FrozenEstimator",
    "FixedThresholdClassifier",
    "RANSACRegressor",
    "SelfTrainingClassifier",
    "TunedThresholdClassifierCV",
)
"""Wrappers whose probabilities or predictions are those of the estimator inside."""
_CURVES: dict[str, Callable[[Array], Array]] = {  # activation -> function, computed as scikit-learn computes it
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 0.5 * (1 + np.tanh(z / 2)),
}


def graph(model: BaseEstimator, inputs: Sequence[Array] | None) -> Graph:
    """Return the dense layers in their order, which is certain.

    Raises `UnknownModelError` for a model that is not a net, such as an ensemble.
    """
    prefix, estimator = _net(model)
    if isinstance(estimator, (MLPClassifier, MLPRegressor)):
        layers, width = _perceptron(prefix, estimator), estimator.n_features_in_
    else:
        width, units = _widths(estimator)
        layers = [Layer(prefix, "dense", type(estimator).__name__, {"activation": _output(estimator)}, (width,), (units,))]
    return Graph(
        chained(layers, "X"),
        is_execution_order=True,
        input_names=["X"],
        input_shapes=((width,),),
        is_sequential=_is_alone(model),
    )


def run(model: BaseEstimator, inputs: Sequence[Array]) -> Run:
    """Run the model on one array of shape (examples, features), in float64 if it was fitted in float64.

    Raises `UnknownModelError` for a model that is not one net, and `ShapeError` for several inputs.
    """
    prefix, estimator = _net(model, running=True)
    if len(inputs) != 1:
        raise ShapeError(f"a {type(estimator).__name__} takes one input, not {len(inputs)}")
    x = np.asarray(inputs[0], np.float64)
    output = _answer(estimator, x)
    if not isinstance(estimator, (MLPClassifier, MLPRegressor)):
        return Run([output], {prefix: output})
    return Run([output], _hidden(prefix, estimator, x))


def _net(model: BaseEstimator, *, running: bool = False) -> tuple[str, BaseEstimator]:
    """Return the only estimator with weights, and the prefix of its names; no other may take part in a run."""
    prefix, net = "", model
    while True:
        if isinstance(net, Pipeline):
            if running:
                _check_steps(net)
            prefix, net = f"{prefix}.{net.steps[-1][0]}" if prefix else net.steps[-1][0], net.steps[-1][1]
        elif (inner := _wrapped(net, running=running)) is not None:
            net = inner
        else:
            break
    if {weight.name for weight in framework_of(net).weights(net)} & {"coefs_.0", "coef_"}:
        return prefix, net
    raise UnknownModelError(
        f"a {printable(type(net).__name__)} is not one net that runs; pass the perceptron or linear model inside, if any"
    )


def _wrapped(model: BaseEstimator, *, running: bool) -> BaseEstimator | None:
    """Return the estimator inside a wrapper, or None; for a run the wrapper must leave inputs and outputs as they are."""
    attribute, members = members_of(model)
    if attribute not in _WRAPPERS:
        return None
    if running and attribute != "best_estimator_" and type(model).__name__ not in _TRANSPARENT:
        raise UnknownModelError(
            f"a {printable(type(model).__name__)} changes the inputs or the outputs of its {attribute}, which is not part of its "
            f"weights; pass {attribute}, and the inputs that it takes"
        )
    return next(member for _, member in members)


def _is_alone(model: BaseEstimator) -> bool:
    """Whether the inputs reach the net unchanged."""
    try:
        _net(model, running=True)
    except UnknownModelError:
        return False
    return True


def _check_steps(pipeline: Pipeline) -> None:
    for name, step in pipeline.steps[:-1]:
        if step not in (None, "passthrough"):
            raise UnknownModelError(
                f"this Pipeline changes its inputs by {quoted(name)} ({printable(type(step).__name__)}) first, "
                "which is not part of its weights; pass its last step, pipeline[-1], and the inputs of that step"
            )


def _perceptron(prefix: str, net: MLPClassifier | MLPRegressor) -> list[Layer]:
    hidden, last = _WORDS.get(net.activation, net.activation), _WORDS.get(net.out_activation_, net.out_activation_)
    listed = []
    for place, kernel in enumerate(net.coefs_):
        activation = last if place == len(net.coefs_) - 1 else hidden
        name = f"{prefix}.{place}" if prefix else str(place)
        takes, gives = kernel.shape
        listed.append(Layer(name, "dense", type(net).__name__, {"activation": activation}, (takes,), (gives,)))
    return listed


def _hidden(prefix: str, net: MLPClassifier | MLPRegressor, x: Array) -> dict[str, Array]:
    """Return the output of each layer of a perceptron."""
    given = {}
    for place, layer in enumerate(_perceptron(prefix, net)):
        x = x @ net.coefs_[place] + net.intercepts_[place]
        word = str(layer.settings["activation"])
        x = _softmax(x) if word == "softmax" else _CURVES[word](x)
        given[layer.name] = x
    return given


def _softmax(z: Array) -> Array:
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def _widths(estimator: BaseEstimator) -> tuple[int, int]:
    shape = np.shape(estimator.coef_)
    return shape[-1], shape[0] if len(shape) > 1 else 1


def _output(estimator: BaseEstimator) -> str:
    """Return the activation between the sums of a linear model and its output."""
    units = _widths(estimator)[1]
    if isinstance(estimator, (LogisticRegression, LogisticRegressionCV)):
        return "sigmoid" if units == 1 else "softmax"
    if isinstance(estimator, SGDClassifier) and estimator.loss == "log_loss":
        return "sigmoid" if units == 1 else "sigmoid normalised"
    link = getattr(getattr(estimator, "_base_loss", None), "link", None)  # of generalised linear models
    return "exponential" if type(link).__name__ == "LogLink" else "linear"


def _answer(estimator: BaseEstimator, x: Array) -> Array:
    """Return a column for each unit of the last layer."""
    perceptron = isinstance(estimator, MLPClassifier)
    if perceptron or (is_classifier(estimator) and _output(estimator) != "linear"):
        answer = estimator.predict_proba(x)
        units = estimator.n_outputs_ if perceptron else _widths(estimator)[1]
        answer = answer[:, -units:]  # for two classes, only the second one has a unit
    else:
        decides = is_classifier(estimator) or is_outlier_detector(estimator)
        answer = estimator.decision_function(x) if decides else estimator.predict(x)
    return np.asarray(answer).reshape(len(x), -1)
