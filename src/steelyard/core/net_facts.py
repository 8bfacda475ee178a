"""The facts about the net to which weights belong; derived weights carry them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.dtypes import may_be_packed

if TYPE_CHECKING:
    from steelyard.auditing import Audit
    from steelyard.core.computation import Computation
    from steelyard.core.lazy_graph import LazyGraph
    from steelyard.core.protocols import Assign, Derive, Folds, NamesInOrder
    from steelyard.core.renaming import Names
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source


class Found(NamedTuple):
    """What the reader of a `file` found in it, which the auditor of this name takes in place of looking for it again."""

    auditor: str
    contents: Any
    file: str


class LazyAudit:
    """The audit of a file, made on first access; derived weights share it.

    `source` is the file as it was opened, None if the weights have numbers of their own.
    """

    __slots__ = ("_answer", "_audit", "source")

    def __init__(self, audit: Callable[[], Audit], source: Source | None = None) -> None:
        self._audit = audit
        self.source = source
        self._answer: Audit | None = None

    @property
    def file(self) -> str:
        """The name of the file, blank if the weights have numbers of their own."""
        return "" if self.source is None else self.source.name

    def answer(self) -> Audit:
        """Return the audit."""
        if self._answer is None:
            self._answer = self._audit()
        return self._answer


def with_file(weights: Weights, audit: Callable[[], Audit], source: Source) -> Weights:
    """Return the weights of a file, with the file, the function that audits it, and the one that opens others of its folder."""
    found = with_net(weights, weights._net.replace(audit=LazyAudit(audit, source), beside=source.beside))
    if not any(map(may_be_packed, {weight.dtype for weight in found.values()})):
        return found
    return found.with_weights(found.values(), meta=lambda: _with_packing(found))


def _with_packing(weights: Weights) -> Mapping[str, object]:
    """Return the metadata of weights with a note about those that are packed."""
    from steelyard.core.packing import packed_notes

    added = packed_notes(weights)
    return {**weights.meta, "notes": [*noted(weights.meta), *added]} if added else weights.meta


def noted(meta: Mapping[str, object]) -> list[str]:
    """Return the notes in metadata; a file may have a text of its own under this key.

    >>> noted({"notes": ["rounded"]}), noted({"notes": "of a file"})
    (['rounded'], [])
    """
    notes = meta.get("notes")
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def with_found(weights: Weights, source: Source, auditor: str, contents: object) -> Weights:
    """Return weights with what their reader found in their file, for the auditor of this name."""
    return with_net(weights, weights._net.replace(found=Found(auditor, contents, source.name)))


def found_in(weights: Weights) -> Found | None:
    """Return what the reader of weights found in their file for an auditor; None for other weights."""
    return weights._net.found


def opened_file(weights: Weights) -> tuple[Source, Found | None] | None:
    """Return the file of weights as it was opened, and what its reader found in it; None for weights that are of no file."""
    net = weights._net
    return None if net.audit is None or net.audit.source is None else (net.audit.source, net.found)


def with_derive(weights: Weights, derive: Derive | None, folds: Folds | None = None) -> Weights:
    """Return weights with what only their format or model knows: the functions for the effective ones."""
    return with_net(weights, weights._net.replace(derive=derive, folds=folds))


def with_beside(weights: Weights, beside: Callable[[str], Source]) -> Weights:
    """Return weights with the function that opens other files of what would be their folder."""
    return with_net(weights, weights._net.replace(beside=beside))


def with_net(weights: Weights, net: NetFacts) -> Weights:
    """Return the same weights with other facts about their net."""
    made = weights.with_weights(())
    made._weights, made._layout, made._net = weights._weights, weights._layout, net  # not named again, which takes time
    return made


class NetFacts:
    """The function to `assign` to the model, None if there is none; the `orders` of its weights by their words; its `graph`.

    `audit` is the audit of the file of the weights, if any; `beside` opens another file of its folder by name. `derive` makes
    the effective weights that only the model or the format knows; `folds` names the layers that a batch norm follows;
    `computation` lists the operators of the file; `found` is what the reader of the file found in it.
    """

    __slots__ = ("assign", "audit", "beside", "computation", "derive", "folds", "found", "graph", "orders")

    def __init__(
        self,
        assign: Assign | None,
        orders: Mapping[str, NamesInOrder],
        graph: LazyGraph,
        audit: LazyAudit | None = None,
        beside: Callable[[str], Source] | None = None,
        derive: Derive | None = None,
        folds: Folds | None = None,
        computation: Callable[[], Computation] | None = None,
    ) -> None:
        self.assign = assign
        self.orders = orders
        self.graph = graph
        self.audit = audit
        self.beside = beside
        self.derive = derive
        self.folds = folds
        self.computation = computation
        self.found: Found | None = None

    def replace(self, **changes: Any) -> NetFacts:
        """Return the same facts with some changed."""
        made = NetFacts.__new__(NetFacts)
        for name in self.__slots__:
            setattr(made, name, changes[name] if name in changes else getattr(self, name))
        return made

    def with_assign(self, assign: Assign | None) -> NetFacts:
        """Return the same facts with another function to assign to the model."""
        return self.replace(assign=assign)

    def detached(self, *, live: bool) -> NetFacts:
        """Return the facts with no way to the model; of a live one, which they do not keep, the orders are listed now."""
        if not live:
            return self.replace(assign=None, audit=self.audit and LazyAudit(self.audit.answer), found=None)
        self.graph.release_model()
        listed = ((word, order()) for word, order in self.orders.items())
        orders = {word: [*names].copy for word, names in listed if names is not None}
        return self.replace(assign=None, orders=orders, derive=None, folds=None)

    def renamed(self, before: Mapping[str, Weight], after: Mapping[str, Weight], names: Names) -> NetFacts:
        """Return the facts of the weights `before` for the weights `after`, whose new names `names` returns."""
        from steelyard.core.renaming import renamed_assign, renamed_graph, renamed_order

        return self.replace(
            assign=self.assign and renamed_assign(self.assign, before, names),
            orders={word: renamed_order(order, names) for word, order in self.orders.items()},
            graph=renamed_graph(self.graph, before, after, names),
            derive=None,  # these know the old names
            folds=None,
            computation=None,
        )
