"""What a scikit-learn net in a file is beside its numbers: dense layers in a chain, and the activation behind each.

The words are those of the estimator's own attributes; nothing is known of a class but its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from steelyard.codecs.pickle.values import Record, class_of
from steelyard.codecs.sklearn.weights import ends_of
from steelyard.core.graph import Graph, Layer

if TYPE_CHECKING:
    from steelyard.codecs.pickle.walk import Entry
    from steelyard.storage.source import Source

_WORDS = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu", "softmax": "softmax"}
_LINEAR = frozenset(
    {
        *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "BayesianRidge", "Lars"),
        *("ARDRegression", "HuberRegressor", "LinearSVR", "SGDRegressor", "TheilSenRegressor", "QuantileRegressor"),
        *("LassoLars", "OrthogonalMatchingPursuit", "MultiTaskLasso", "MultiTaskElasticNet"),
    }
)
"""Linear models that predict their sums as they are."""


def graph_maker(root: Any, own: list[Entry] | None, source: Source) -> Callable[[], Graph] | None:
    """Return what makes the graph of the one net that `root` is or wraps; None where it is none, or several."""
    if own is None:
        return None
    ends = [(path, part) for path, part in ends_of(root, source) if isinstance(part, Record)]
    if len(ends) != 1:
        return None
    path, part = ends[0]
    layers = _layers(path, part, own)
    return (lambda: Graph(layers, is_execution_order=True, is_sequential=_is_alone(root))) if layers else None


def _layers(path: tuple[str, ...], part: Record, own: list[Entry]) -> list[Layer]:
    """Return the layers of a perceptron or a linear model whose activations are known."""
    held, kind = part.attributes, class_of(part)
    made_by = kind.name if kind is not None else ""
    kernels = [entry for entry in own if entry.path[-1].startswith("coef") and entry.path[: len(path)] == path]
    names = [".".join((*path, entry.path[-1].partition(".")[2])).rstrip(".") for entry in kernels]
    if type(held.get("coefs_")) is list:
        hidden, last = _WORDS.get(str(held.get("activation"))), _WORDS.get(str(held.get("out_activation_")))
        words = [hidden] * (len(names) - 1) + [last]
    else:
        words = [_output(made_by, held, kernels[0].found.shape)] if len(kernels) == 1 else [None]
    if None in words:
        return []
    return [Layer(name, "dense", made_by, {"activation": word}) for name, word in zip(names, words, strict=True)]


def _output(kind: str, held: dict[Any, Any], shape: tuple[int, ...]) -> str | None:
    """Return the activation that makes of a linear model's sums what it answers; None for one that is not known."""
    units = shape[0] if len(shape) > 1 else 1
    if kind in ("LogisticRegression", "LogisticRegressionCV"):
        apart = held.get("multi_class") == "ovr" or held.get("solver") == "liblinear"
        return "sigmoid" if units == 1 else "sigmoid normalised" if apart else "softmax"
    if kind == "SGDClassifier" and held.get("loss") in ("log_loss", "log"):
        return "sigmoid" if units == 1 else "sigmoid normalised"
    return "linear" if kind in _LINEAR else None


def _is_alone(root: Any) -> bool:
    """Tell whether the net gets the inputs as they are: none of what wraps it is a pipeline."""
    value = root
    while isinstance(value, Record):
        held = value.attributes
        if "steps" in held or "transformer_list" in held or "transformers_" in held or "regressor_" in held:
            return False
        value = held.get("best_estimator_")
    return True
