"""scikit-learn: a multilayer perceptron or a linear model, already fitted; classes are numbered from 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import LabelBinarizer

from steelyard.core.dense_stack import DenseLayer, DenseStack, activation_of
from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

    from steelyard.core.weight import Array

_HIDDEN = {"linear": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
_LAST = {"linear": "identity", "sigmoid": "logistic", "softmax": "softmax"}


def build(stack: DenseStack) -> tuple[BaseEstimator, list[DenseLayer]]:
    """Return a regressor if the last layer has no activation, a classifier if it has a sigmoid or softmax.

    Its inputs are rows of features, with images flattened. Raises `ShapeError` for activations that scikit-learn lacks, and for
    hidden layers whose activations differ.
    """
    if len(stack.input_shape) > 1 and not stack.flattened:
        raise ShapeError(
            f"the net takes examples of shape {list(stack.input_shape)}, but scikit-learn takes only rows of features"
        )
    last = stack.layers[-1]
    if last.activation == "softmax" and len(last.kernel) == 2:
        stack = stack._replace(layers=[*stack.layers[:-1], _as_sigmoid(last)])
    output = activation_of(stack.layers[-1], _LAST, "scikit-learn")
    return (_perceptron if len(stack.layers) > 1 else _linear)(stack, output), stack.layers


def _as_sigmoid(layer: DenseLayer) -> DenseLayer:
    """Return the layer with a single unit, for the second of two probabilities, as scikit-learn has it."""
    bias = None if layer.bias is None else layer.bias[1:] - layer.bias[:1]
    return layer._replace(kernel=layer.kernel[1:] - layer.kernel[:1], bias=bias, activation="sigmoid")


def _perceptron(stack: DenseStack, output: str) -> MLPClassifier | MLPRegressor:
    words = {activation_of(layer, _HIDDEN, "scikit-learn"): layer.name for layer in stack.layers[:-1]}
    if len(words) > 1:
        (one, first), (other, second) = list(words.items())[:2]
        raise ShapeError(
            f"{quoted(first)} has the activation {one} and {quoted(second)} {other}; a scikit-learn perceptron has "
            "one activation for all hidden layers"
        )
    widths = [layer.kernel.shape[0] for layer in stack.layers]
    kind = MLPRegressor if output == "identity" else MLPClassifier
    model = kind(hidden_layer_sizes=tuple(widths[:-1]), activation=next(iter(words)))
    model.coefs_ = [_zeros(stack, layer.kernel.shape[::-1]) for layer in stack.layers]
    model.intercepts_ = [_zeros(stack, (width,)) for width in widths]
    model.n_layers_, model.n_outputs_, model.out_activation_ = len(widths) + 1, widths[-1], output
    model.n_features_in_ = stack.layers[0].kernel.shape[1]
    model.n_iter_ = model.t_ = 0
    if kind is MLPClassifier:
        several = output == "logistic" and widths[-1] > 1  # a sigmoid for each of several labels
        labels = np.eye(widths[-1], dtype=int) if several else np.arange(max(widths[-1], 2))
        model._label_binarizer = LabelBinarizer().fit(labels)
        model.classes_ = model._label_binarizer.classes_
    return model


def _linear(stack: DenseStack, output: str) -> LinearRegression | LogisticRegression:
    (layer,) = stack.layers
    units, width = layer.kernel.shape
    if output == "logistic" and units > 1:
        raise ShapeError(f"{units} sigmoids on one layer need {units} models in scikit-learn; build one for each")
    model = LinearRegression() if output == "identity" else LogisticRegression()
    single = units == 1 and output == "identity"
    model.coef_ = _zeros(stack, (width,) if single else (units, width))
    model.intercept_ = np.zeros((), model.coef_.dtype) if single else _zeros(stack, (units,))
    model.fit_intercept = layer.bias is not None
    model.n_features_in_ = width
    if output != "identity":
        model.classes_, model.n_iter_ = np.arange(max(units, 2)), np.zeros(1, int)
    return model


def _zeros(stack: DenseStack, shape: tuple[int, ...]) -> Array:
    return np.zeros(shape, stack.dtype if stack.dtype in ("float32", "float64") else "float32")
