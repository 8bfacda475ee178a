"""SciKeras: the graph of the Keras model that a `KerasClassifier` or `KerasRegressor` has built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from steelyard.core.plugins import framework_of
from steelyard.frameworks.scikeras.weights import inner_model

if TYPE_CHECKING:
    from scikeras.wrappers import BaseWrapper

    from steelyard.core.graph import Graph, Run
    from steelyard.core.protocols import Runner
    from steelyard.core.weight import Array


def graph(model: BaseWrapper, inputs: Sequence[Array] | None) -> Graph:
    """Return the graph of the model inside; raises `NotFittedError` before it is built."""
    return _runner(model).graph(inner_model(model, "layers"), inputs)


def run(model: BaseWrapper, inputs: Sequence[Array]) -> Run:
    """Run the model inside, and return the output of its last layer, not the labels that `predict` derives from it."""
    return _runner(model).run(inner_model(model, "layers"), inputs)


def _runner(model: BaseWrapper) -> Runner:
    return cast("Runner", framework_of(inner_model(model, "layers")))
