"""Live models: one package per framework, under its import name.

`weights.py` lists and assigns, `graph.py` has the layers and runs them, `build.py` makes a model. The package
offers them as `core.protocols.Framework`; its docstring specifies the order of the listing and the refused objects. It is
loaded when an object of its framework is passed in, so it may import that framework at the top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from steelyard.core.assign import differences
from steelyard.core.gc_pause import uncollected
from steelyard.core.lazy_graph import LazyGraph
from steelyard.core.members import meta_of
from steelyard.core.net_facts import with_derive
from steelyard.core.plugins import framework_of
from steelyard.core.selection import NAMED
from steelyard.core.weights import Weights
from steelyard.dtypes import numpy_dtype
from steelyard.errors import ReadOnlyError, ShapeError, SteelyardError, UnknownModelError, first_of, printable

if TYPE_CHECKING:
    from steelyard.core.effective import Pieces
    from steelyard.core.graph import Graph
    from steelyard.core.protocols import Assign, Derive, Framework, NamesInOrder, Runner
    from steelyard.core.weight import Array, Weight


def weights_of(model: Any) -> Weights:
    """Return the weights of a live model, of a wrapper around one, or of a container of several."""
    framework = framework_of(model)
    gathered = getattr(framework, "gathered", None)
    if gathered is not None:
        model = gathered(model)
        framework = framework_of(model)
    try:
        with uncollected():
            listed = list(framework.weights(model))
    except RecursionError:
        raise UnknownModelError(
            f"the {type(model).__name__} is nested too deeply; pass the inner part that has the weights"
        ) from None
    is_immutable = getattr(framework, "is_immutable", None)  # training replaces such a model, and copies outlive it
    held = None if is_immutable and is_immutable(model) else _reference(model)
    listing = Weights(
        listed,
        meta=_meta(framework, model),
        assign=_assign(framework, model),
        live=True,
        graph=LazyGraph(_graph(framework, held or (lambda: model)), keeps_model=held is None),
        orders=_orders(framework, model, listed),
    )
    # `Weights` that can be assigned keep their model alive anyway
    derive, folds = getattr(framework, "derive", None), getattr(framework, "folds", None)
    return with_derive(listing, derive and _of_model(derive, model), folds and partial(folds, model))


def _of_model(derive: Callable[[Any, Pieces], Iterable[Weight]], model: Any) -> Derive:
    return lambda pieces: derive(model, pieces)


def _orders(framework: Framework, model: Any, listed: list[Weight]) -> dict[str, NamesInOrder]:
    """Return the orders of the weights, that of the parameters among them, as the framework knows them."""
    orders = getattr(framework, "orders", None)
    parameters = getattr(framework, "parameters", None)
    named: dict[str, NamesInOrder] = {"parameters": lambda: parameters(model, listed)} if parameters else {}
    return named | (orders(model) if orders else {})


def _assign(framework: Framework, model: Any) -> Assign:
    """Return what puts arrays into the model, reads them back, and restores the model where it holds other numbers."""

    def assign(arrays: Mapping[str, Array], *, verify: bool = True) -> Any:
        if not arrays:
            return framework.assign(model, arrays)
        listed = {weight.name: weight for weight in framework.weights(model)}
        _require_same(model, listed, arrays)
        every = _with_tied(listed, arrays)
        if not verify:
            return framework.assign(model, every)
        before = {name: listed[name].numpy().copy() for name in every if name in listed}
        try:
            made = framework.assign(model, every)
        except Exception as error:
            if _changed(framework, model, before):
                _restore(framework, model, before)
            if isinstance(error, SteelyardError):
                raise
            raise ReadOnlyError(
                f"the {type(model).__name__} did not take the numbers ({type(error).__name__}: {printable(error)}); "
                "it has its old ones back"
            ) from error
        differing = _changed(framework, made, arrays)
        if differing:
            _restore(framework, model, before)
            raise _refusal(model, listed, differing)
        return made

    return assign


def _with_tied(listed: Mapping[str, Weight], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays also under the names of tied weights: a model that is not changed in place needs all of them."""
    owners = {listed[name].tied or name: array for name, array in arrays.items() if name in listed}
    tied = {name: owners[owner] for name, weight in listed.items() if (owner := weight.tied or name) in owners}
    return {**arrays, **tied}


def _changed(framework: Framework, model: Any, arrays: Mapping[str, Array]) -> list[str]:
    """Return the names of the weights of a model that do not have the numbers of these arrays."""
    return differences({weight.name: weight for weight in framework.weights(model)}, arrays)


def _restore(framework: Framework, model: Any, before: Mapping[str, Array]) -> None:
    """Put the old numbers back, each on its own, since a model may refuse some of them, which it then has not changed."""
    for name, array in before.items():
        with suppress(SteelyardError):
            framework.assign(model, {name: array})


def _refusal(model: Any, listed: Mapping[str, Weight], differing: list[str]) -> SteelyardError:
    """Return the error for numbers that are not in the model after they were assigned."""
    overlapped = [weight for weight in listed.values() if weight.overlaps is not None]
    for weight in overlapped:
        if {weight.name, weight.overlaps} & {*differing}:
            return ShapeError(
                f"{printable(weight.name)} and {printable(weight.overlaps)} overlap in memory, and the values of "
                f"{printable(differing[0])} do not agree with both; the model has its old numbers back"
            )
    named = first_of(differing, NAMED)
    return ReadOnlyError(
        f"the {type(model).__name__} holds other numbers than were assigned to {named}; it has its old ones back"
    )


def _require_same(model: Any, listed: Mapping[str, Weight], arrays: Mapping[str, Array]) -> None:
    """Raise `ShapeError` where the model holds other weights than those that were listed, as after Keras's `quantize`."""
    for name, array in arrays.items():
        now = listed.get(name)
        if now is None or now.shape != array.shape or numpy_dtype(now.dtype) != array.dtype:
            what = "is gone" if now is None else f"is {now.dtype} of shape {now.shape}"
            raise ShapeError(
                f"{printable(name)} of the {printable(type(model).__name__)} {what} now, and was listed as {array.dtype.name} of "
                f"shape {array.shape}; list the weights again; nothing was written"
            )


def _reference(model: Any) -> ref[Any] | None:
    """Return a weak reference to a model; None if its class has slots and does not allow one."""
    try:
        return ref(model)
    except TypeError:
        return None


def _graph(framework: Framework, held: Callable[[], Any]) -> Callable[[], Graph | str | None] | None:
    """Return a function that returns the graph, or the reason why there is none; None if the framework has no graphs."""
    by_names = None if hasattr(framework, "graph") else getattr(framework, "tree_graph", None)
    if by_names is None and not hasattr(framework, "graph"):
        return None
    runner = cast("Runner", framework)

    def graph() -> Graph | str | None:
        model = held()
        if model is None:
            return "their model no longer exists, and `graph` was not read before"
        try:
            return runner.graph(model, None) if by_names is None else by_names(model)
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
