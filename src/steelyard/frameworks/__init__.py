"""Live models: one package per framework, under its import name.

`weights.py` lists and assigns, `graph.py` has the layers and runs them, `build.py` makes a model. The package
offers them as `core.protocols.Framework`; its docstring specifies the order of the listing and the refused objects. It is
loaded when an object of its framework is passed in, so it may import that framework at the top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from steelyard.core.assign import differences
from steelyard.core.lazy_graph import LazyGraph
from steelyard.core.members import meta_of
from steelyard.core.plugins import framework_of
from steelyard.core.selection import NAMED
from steelyard.core.weights import Weights
from steelyard.errors import ReadOnlyError, SteelyardError, printable

if TYPE_CHECKING:
    from steelyard.core.graph import Graph
    from steelyard.core.protocols import Assign, Framework, NamesInOrder, Runner
    from steelyard.core.weight import Array, Weight


def weights_of(model: Any) -> Weights:
    """Return the weights of a live model, of a wrapper around one, or of a container of several."""
    framework = framework_of(model)
    listed = list(framework.weights(model))
    is_immutable = getattr(framework, "is_immutable", None)  # training replaces such a model, and copies outlive it
    held = None if is_immutable and is_immutable(model) else _reference(model)
    return Weights(
        listed,
        meta=_meta(framework, model),
        assign=_assign(framework, model),
        live=True,
        graph=LazyGraph(_graph(framework, held or (lambda: model)), keeps_model=held is None),
        orders=_orders(framework, model, listed),
    )


def _orders(framework: Framework, model: Any, listed: list[Weight]) -> dict[str, NamesInOrder]:
    """Return the orders of the weights, that of the parameters among them, as the framework knows them."""
    orders = getattr(framework, "orders", None)
    parameters = getattr(framework, "parameters", None)
    named: dict[str, NamesInOrder] = {"parameters": lambda: parameters(model, listed)} if parameters else {}
    return named | (orders(model) if orders else {})


def _assign(framework: Framework, model: Any) -> Assign:
    """Return what puts arrays into the model, reads them back, and restores the model where it holds other numbers."""

    def assign(arrays: Mapping[str, Array], *, verify: bool = True) -> Any:
        if not verify or not arrays:
            return framework.assign(model, arrays)
        listed = {weight.name: weight for weight in framework.weights(model)}
        before = {name: listed[name].numpy().copy() for name in arrays}
        made = framework.assign(model, arrays)
        differing = differences({weight.name: weight for weight in framework.weights(made)}, arrays)
        if differing:
            framework.assign(model, before)
            named = ", ".join(map(printable, differing[:NAMED])) + (" and more" if len(differing) > NAMED else "")
            raise ReadOnlyError(
                f"the {type(model).__name__} holds other numbers than were assigned to {named}; it has its old ones back"
            )
        return made

    return assign


def _reference(model: Any) -> ref[Any] | None:
    """Return a weak reference to a model; None if its class has slots and does not allow one."""
    try:
        return ref(model)
    except TypeError:
        return None


def _graph(framework: Framework, held: Callable[[], Any]) -> Callable[[], Graph | str] | None:
    """Return a function that returns the graph, or the reason why there is none; None if the framework has no graphs."""
    if not hasattr(framework, "graph"):
        return None
    runner = cast("Runner", framework)

    def graph() -> Graph | str:
        model = held()
        if model is None:
            return "their model no longer exists, and `graph` was not read before"
        try:
            return runner.graph(model, None)
        except SteelyardError as error:
            return str(error)

    return graph


def _meta(framework: Framework, model: Any) -> Callable[[], dict[str, Any]] | dict[str, Any] | None:
    """Return the metadata, or a function that computes it, since few callers need it.

    Copies of the weights hold this function, so it must not keep the model alive.
    """
    if not hasattr(framework, "meta"):
        return None
    held = _reference(model)
    if held is None:
        return meta_of(model)

    def meta() -> dict[str, Any]:
        alive = held()
        return {} if alive is None else meta_of(alive)

    return meta
