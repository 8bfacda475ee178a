"""Live models as graphs that run: one file a framework, called as in `models`.

A module here offers what is not needed to list weights, but to move them from one net into another and to prove
it. Like an adapter it is loaded when an object of its framework is handed over, and may import that framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from steelyard.core.graph import Graph, Run
    from steelyard.core.weight import Array


class Runner(Protocol):
    """What a module in `steelyard/graphs` offers."""

    def graph(self, model: Any, inputs: Sequence[Array] | None, /) -> Graph:
        """Return the layers of the model, by the names that its weights have.

        With inputs (in the model's own layout, with an axis for the batch) the model may be run once to see the order;
        nothing of it changes by that.
        """

    def run(self, model: Any, inputs: Sequence[Array], /) -> Run:
        """Run the model as at inference, in float64 where the framework can, and return what it and its layers gave.

        The model is the same afterwards: its numbers, its dtypes, its mode, its random state, its hooks.
        """
