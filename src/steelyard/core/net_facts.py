"""The facts about the net to which weights belong; derived weights carry them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.auditing import Audit
    from steelyard.core.lazy_graph import LazyGraph
    from steelyard.core.protocols import Assign, NamesInOrder
    from steelyard.core.renaming import Names
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights


class LazyAudit:
    """The audit of a file, made on first access; derived weights share it."""

    __slots__ = ("_answer", "_audit")

    def __init__(self, audit: Callable[[], Audit]) -> None:
        self._audit = audit
        self._answer: Audit | None = None

    def answer(self) -> Audit:
        """Return the audit."""
        if self._answer is None:
            self._answer = self._audit()
        return self._answer


def with_audit(weights: Weights, audit: Callable[[], Audit]) -> Weights:
    """Return the weights of a file with the function that audits it."""
    made = weights.with_weights(weights.values())
    made._net = NetFacts(weights._net.assign, weights._net.orders, weights._net.graph, LazyAudit(audit))
    return made


class NetFacts:
    """The function to `assign` to the model, None if there is none; the `orders` of its weights by their words; its `graph`.

    `audit` is the audit of the file of the weights, if any.
    """

    __slots__ = ("assign", "audit", "graph", "orders")

    def __init__(
        self,
        assign: Assign | None,
        orders: Mapping[str, NamesInOrder],
        graph: LazyGraph,
        audit: LazyAudit | None = None,
    ) -> None:
        self.assign = assign
        self.orders = orders
        self.graph = graph
        self.audit = audit

    def with_assign(self, assign: Assign | None) -> NetFacts:
        """Return the same facts with another function to assign to the model."""
        return NetFacts(assign, self.orders, self.graph, self.audit)

    def detached(self, *, live: bool) -> NetFacts:
        """Return the facts with no way to the model; of a live one, which they do not keep, the orders are listed now."""
        if not live:
            return self.with_assign(None)
        self.graph.release_model()
        listed = ((word, order()) for word, order in self.orders.items())
        return NetFacts(None, {word: [*names].copy for word, names in listed if names is not None}, self.graph, self.audit)

    def renamed(self, before: Mapping[str, Weight], after: Mapping[str, Weight], names: Names) -> NetFacts:
        """Return the facts of the weights `before` for the weights `after`, whose new names `names` returns."""
        from steelyard.core.renaming import renamed_assign, renamed_graph, renamed_order

        return NetFacts(
            self.assign and renamed_assign(self.assign, before, names),
            {word: renamed_order(order, names) for word, order in self.orders.items()},
            renamed_graph(self.graph, before, after, names),
            self.audit,
        )
