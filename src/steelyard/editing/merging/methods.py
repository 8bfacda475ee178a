"""The methods of merging by their names: what each takes, and what it does where nothing is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import ShapeError, meant, quoted

if TYPE_CHECKING:
    from steelyard.editing.merging.inputs import Block, Divide, Inputs, Options, Rescale

    Merge = Callable[[Inputs, Options], Block]


class Method(NamedTuple):
    """A method: `module` and `function` of its formula, and the parameters that it takes.

    With `base` "delta" models are changes of a base, with "model" the base is the first of the models, and with "either" it is
    that of two models, and a base of more. `least` and `most` are how many models there may be.
    """

    module: str
    function: str
    base: str
    takes: tuple[str, ...]
    least: int = 1
    most: int | None = None
    rescale: Rescale = False
    divide: Divide = False

    def load(self) -> Merge:
        """Import the function of the formula."""
        from importlib import import_module

        made: Merge = getattr(import_module(f"steelyard.editing.merging.{self.module}"), self.function)
        return made


_SUM = ("weights", "divide", "scale")
_SPARSE = (*_SUM, "density", "rescale", "masks")
_ELECT = (*_SPARSE, "majority")
METHODS = {
    "linear": Method("sums", "linear", "model", _SUM, divide="weights"),
    "slerp": Method("spherical", "slerp", "model", ("t",), 2, 2),
    "nuslerp": Method("spherical", "nuslerp", "either", ("weights", "along"), 2, 2),
    "task": Method("deltas", "task", "delta", _SUM),
    "ties": Method("deltas", "ties", "delta", (*_ELECT, "scope"), divide="weights"),
    "dare": Method("deltas", "dare", "delta", (*_SPARSE, "seed"), rescale="norm"),
    "dare_ties": Method("deltas", "dare_ties", "delta", (*_ELECT, "seed"), rescale="norm"),
    "breadcrumbs": Method("deltas", "breadcrumbs", "delta", (*_SPARSE, "gamma")),
    "breadcrumbs_ties": Method("deltas", "breadcrumbs_ties", "delta", (*_ELECT, "gamma")),
    "model_stock": Method("stock", "model_stock", "delta", ("along",), 2),
    "passthrough": Method("sums", "passthrough", "model", ("scale",), 1, 1),
}
ALIASES = {"task_arithmetic": "task", "dare_linear": "dare"}
"""The names that mergekit has for some of them."""


def method_of(name: str) -> Method:
    """Return a method by its name; raises `ShapeError` for an unknown one."""
    found = METHODS.get(ALIASES.get(name, name))
    if found is None:
        known = ", ".join([*METHODS, *ALIASES])
        raise ShapeError(f"method is {quoted(name)}; the methods are {known}{meant(name, METHODS)}")
    return found


def check_count(name: str, method: Method, count: int) -> None:
    """Raise `ShapeError` if a method does not take this number of models."""
    if count < method.least or (method.most is not None and count > method.most):
        least = f"{method.least}" if method.most == method.least else f"at least {method.least}"
        beside = " beside the base" if method.base == "delta" else ""
        raise ShapeError(f"{name} merges {least} model{'s' * (method.least > 1)}{beside}, and {count} {_are(count)} given")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
