"""The graph of weights, listed when it is first asked for: few callers need it, and for some frameworks it takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.graph import Graph
    from steelyard.core.protocols import MakeGraph


class LazyGraph:
    """A graph, or a function that lists it or returns the reason why it cannot; weights made of the same ones share the answer.

    `keeps_model` is true where the function holds the model, until it is called. Any other function holds no model, or only a
    weak reference to it.
    """

    __slots__ = ("_answer", "_list", "keeps_model")

    def __init__(self, graph: MakeGraph | Graph | None, *, keeps_model: bool = False) -> None:
        self._list = graph if callable(graph) else None
        self._answer: Graph | str | None = None if callable(graph) else graph
        self.keeps_model = keeps_model

    def answer(self) -> Graph | str | None:
        """Return the graph, the reason why there is none, or None where nothing but the weights is known."""
        list_layers = self._list  # another thread may ask, too
        if list_layers is not None:
            self._answer = list_layers()
            self._list, self.keeps_model = None, False
        return self._answer

    def release_model(self) -> None:
        """List the layers now where only that lets the model go."""
        if self.keeps_model:
            self.answer()
