"""SciKeras: the graph of the Keras model that a `KerasClassifier` or `KerasRegressor` has built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.core.plugins import load
from steelyard.frameworks.scikeras.weights import inner_model

if TYPE_CHECKING:
    from scikeras.wrappers import BaseWrapper

    from steelyard.core.graph import Graph, Run
    from steelyard.core.weight import Array


def graph(model: BaseWrapper, inputs: Sequence[Array] | None) -> Graph:
    """Return the graph of the model inside; raises `NotFittedError` before it is built."""
    found: Graph = load("frameworks", "keras").graph(inner_model(model, "layers"), inputs)
    return found


def run(model: BaseWrapper, inputs: Sequence[Array]) -> Run:
    """Run the model inside, and return the output of its last layer, not the labels that `predict` derives from it."""
    found: Run = load("frameworks", "keras").run(inner_model(model, "layers"), inputs)
    return found
