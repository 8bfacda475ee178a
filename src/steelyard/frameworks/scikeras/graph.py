"""SciKeras: the graph of the Keras model that a `KerasClassifier` or `KerasRegressor` has built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scikeras.wrappers import BaseWrapper

from steelyard.core.plugins import load
from steelyard.errors import NotFittedError, UnknownModelError, printable

if TYPE_CHECKING:
    from steelyard.core.graph import Graph, Run
    from steelyard.core.weight import Array


def graph(model: Any, inputs: Sequence[Array] | None) -> Graph:
    """Return the graph of the model inside; raises `NotFittedError` before it is built."""
    found: Graph = load("frameworks", "keras").graph(_inner(model), inputs)
    return found


def run(model: Any, inputs: Sequence[Array]) -> Run:
    """Run the model inside: what its last layer gives, not the label that `predict` makes of it."""
    found: Run = load("frameworks", "keras").run(_inner(model), inputs)
    return found


def _inner(model: Any) -> Any:
    kind = printable(type(model).__name__)
    if not isinstance(model, BaseWrapper):
        raise UnknownModelError(f"a SciKeras {kind} has no layers; give the KerasClassifier or KerasRegressor itself")
    inner = vars(model).get("model_")
    if inner is None:
        raise NotFittedError(f"this {kind} has built no model yet; call .fit(), or .initialize(X, y) for untrained weights")
    return inner
