"""The graph of weights, listed on first access: few callers need it, and some frameworks take seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.graph import Graph
    from steelyard.core.protocols import MakeGraph


class LazyGraph:
    """A graph, or a function that lists it or returns the reason why it cannot; derived weights share the answer.

    `keeps_model` is true if the function has a strong reference to the model until it is called. Other functions have at most
    a weak one.
    """

    __slots__ = ("_answer", "_list", "keeps_model")

    def __init__(self, graph: MakeGraph | Graph | None, *, keeps_model: bool = False) -> None:
        self._list = graph if callable(graph) else None
        self._answer: Graph | str | None = None if callable(graph) else graph
        self.keeps_model = keeps_model

    def answer(self) -> Graph | str | None:
        """Return the graph, the reason why there is none, or None if only the weights are known."""
        list_layers = self._list  # another thread may call this too
        if list_layers is not None:
            self._answer = list_layers()
            self._list, self.keeps_model = None, False
        return self._answer

    def release_model(self) -> None:
        """List the layers now if the function would otherwise keep the model alive."""
        if self.keeps_model:
            self.answer()
