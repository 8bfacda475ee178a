"""The graph of a scikit-learn net in a file: a chain of dense layers, each with its activation.

It is made of the attributes of the pickled estimator and the name of its class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from steelyard.codecs.pickle.values import Record, class_of
from steelyard.codecs.sklearn.weights import ends_of
from steelyard.core.graph import Graph, Layer, chained

if TYPE_CHECKING:
    from steelyard.codecs.pickle.arrays import PickledTensor
    from steelyard.codecs.pickle.values import Key, Pickled
    from steelyard.codecs.pickle.walk import Path
    from steelyard.storage.source import Source

_WORDS = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu", "softmax": "softmax"}
_LINEAR = frozenset(
    {
        *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "BayesianRidge", "Lars"),
        *("ARDRegression", "HuberRegressor", "LinearSVR", "SGDRegressor", "TheilSenRegressor", "QuantileRegressor"),
        *("LassoLars", "OrthogonalMatchingPursuit", "MultiTaskLasso", "MultiTaskElasticNet"),
    }
)
"""Linear models whose predictions are their weighted sums."""


def graph_maker(root: Pickled, own: list[PickledTensor] | None, source: Source) -> Callable[[], Graph] | None:
    """Return a function that makes the graph of the one net that `root` is or wraps; None for none or several."""
    if own is None:
        return None
    ends = [(path, part) for path, part in ends_of(root, source) if isinstance(part, Record)]
    if len(ends) != 1:
        return None
    path, part = ends[0]
    layers = chained(_layers(path, part, own), "X")
    if not layers:
        return None
    return lambda: Graph(layers, is_execution_order=True, input_names=["X"], is_sequential=_is_alone(root))


def _layers(path: Path, part: Record, own: list[PickledTensor]) -> list[Layer]:
    """Return the layers of a perceptron or a linear model whose activations are known."""
    held, kind = part.attributes, class_of(part)
    made_by = kind.name if kind is not None else ""
    kernels = [tensor for tensor in own if tensor.path[-1].startswith("coef") and tensor.path[: len(path)] == path]
    names = [".".join((*path, tensor.path[-1].partition(".")[2])).rstrip(".") for tensor in kernels]
    if type(held.get("coefs_")) is list:
        hidden, last = _WORDS.get(str(held.get("activation"))), _WORDS.get(str(held.get("out_activation_")))
        words = [hidden] * (len(names) - 1) + [last]
    else:
        words = [_output(made_by, held, kernels[0].shape)] if len(kernels) == 1 else [None]
    if None in words:
        return []
    return [Layer(name, "dense", made_by, {"activation": word}) for name, word in zip(names, words, strict=True)]


def _output(kind: str, held: Mapping[Key, Pickled], shape: tuple[int, ...]) -> str | None:
    """Return the activation between the sums of a linear model and its prediction; None if it is not known."""
    units = shape[0] if len(shape) > 1 else 1
    if kind in ("LogisticRegression", "LogisticRegressionCV"):
        apart = held.get("multi_class") == "ovr" or held.get("solver") == "liblinear"
        return "sigmoid" if units == 1 else "sigmoid normalised" if apart else "softmax"
    if kind == "SGDClassifier" and held.get("loss") in ("log_loss", "log"):
        return "sigmoid" if units == 1 else "sigmoid normalised"
    return "linear" if kind in _LINEAR else None


def _is_alone(root: Pickled) -> bool:
    """Whether the net gets the inputs unchanged: it is not wrapped in a pipeline."""
    value = root
    while isinstance(value, Record):
        held = value.attributes
        if "steps" in held or "transformer_list" in held or "transformers_" in held or "regressor_" in held:
            return False
        value = held.get("best_estimator_")
    return True
