"""Live models: one package per framework, under its import name.

`weights.py` lists and assigns, `graph.py` has the layers and runs them, `build.py` makes a model; the package itself
offers them as `core.protocols.Framework`, and its docstring gives the order of the listing and what is refused. It is
loaded when an object of its framework is passed in, so it may import that framework at its top.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from steelyard.core.members import meta_of
from steelyard.core.plugins import framework_of
from steelyard.core.weights import Weights
from steelyard.errors import SteelyardError

if TYPE_CHECKING:
    from steelyard.core.graph import Graph
    from steelyard.core.protocols import Framework, Runner


def weights_of(model: Any) -> Weights:
    """Return the weights of a live model, of a wrapper around one, or of a container of several."""
    framework = framework_of(model)
    orders = getattr(framework, "orders", None)
    return Weights(
        framework.weights(model),
        meta=_meta(framework, model),
        assign=lambda arrays: framework.assign(model, arrays),
        live=True,
        graph=_graph(framework, model),
        orders=orders(model) if orders else None,
    )


def _graph(framework: Framework, model: Any) -> Callable[[], Graph | None] | None:
    """Put off listing the layers, in the order of definition; a model that has none, as an ensemble, has no graph."""
    if not hasattr(framework, "graph"):
        return None
    runner = cast("Runner", framework)

    def graph() -> Graph | None:
        try:
            return runner.graph(model, None)
        except SteelyardError:
            return None

    return graph


def _meta(framework: Framework, model: Any) -> Callable[[], dict[str, Any]] | None:
    """Defer what few callers need. Copies of the weights hold this function, so it must not keep the model alive."""
    if not hasattr(framework, "meta"):
        return None
    held = ref(model)

    def meta() -> dict[str, Any]:
        alive = held()
        return {} if alive is None else meta_of(alive)

    return meta
