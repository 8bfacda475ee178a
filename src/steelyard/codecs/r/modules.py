"""R torch's modules, and the order of their parameters: those of a module's children first, then its own.

A module is an R6 object: an environment, or a function with this environment as its attribute "module". Its private
environment has three lists, `parameters_`, `buffers_` and `modules_`. In a file the tensors in them are dead pointers, but
their names identify the parameters and their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.r.values import Environment, Opaque, Vector, member
from steelyard.core.weight import Role, Weight
from steelyard.dtypes import is_floating
from steelyard.errors import FormatError, ShapeError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from steelyard.codecs.r.values import Value
    from steelyard.storage.source import Source

_BUFFERS = (Role.MEAN, Role.VARIANCE, Role.COUNT)


def author_classes(module: Value) -> list[str]:
    """Return the classes that a module's author gave it."""
    kinds = module.class_ if isinstance(module, (Environment, Opaque)) else ()
    return [word for word in kinds if word not in ("nn_module", "nn_Module", "R6")]


MODULE_COST = 1000
"""bytes of memory that a module takes, and the time to search it: a short object can refer to modules in modules without end"""


def declared_parameters(module: Value, weights: list[Weight], source: Source) -> list[str] | None:
    """Return the names of a module's parameters in R torch's order; None if the module does not declare all weights.

    Raises `FormatError` for an object of more modules than the file may have.
    """
    private = _private(module)
    if private is None:
        return None
    names: list[str] = []
    buffers: set[str] = set()
    budget = Budget(source)
    frames = [("", private, _members(private, "modules_"))]
    while frames:
        prefix, current, children = frames[-1]
        for name, child in children:
            inner = _private(child)
            budget.spend(MODULE_COST)
            if inner is None or len(frames) >= limits.DEPTH:
                return None
            frames.append((f"{prefix}{name}.", inner, _members(inner, "modules_")))
            break
        else:
            names += (prefix + name for name, _ in _members(current, "parameters_"))
            buffers |= {prefix + name for name, _ in _members(current, "buffers_")}
            frames.pop()
    return names if {weight.name for weight in weights} <= {*names, *buffers} else None


def _private(module: Value) -> Environment | None:
    """Return the private environment of a module, or None."""
    instance = module.attributes.get("module") if isinstance(module, Opaque) else module
    enclosing = instance.get(".__enclos_env__") if isinstance(instance, Environment) else None
    private = enclosing.get("private") if isinstance(enclosing, Environment) else None
    return private if isinstance(private, Environment) and isinstance(private.get("parameters_"), Vector) else None


def _members(private: Environment, name: str) -> Iterator[tuple[str, Value]]:
    members = member(private, name)
    return iter(members.pairs()) if isinstance(members, Vector) and members.items is not None else iter(())


def orders(weights: list[Weight], source: Source, module: Value = None) -> dict[str, Callable[[], list[str]]]:
    """Return the orders of R torch's weights besides that of the file, `source`; `module` is the R object that they belong to."""

    def in_r() -> list[str]:
        before = source.whole.spent
        try:
            return parameter_order(weights, declared_parameters(module, weights, source))
        except FormatError:
            return parameter_order(weights, None)
        finally:
            source.whole.spent = before  # of memory that is free again

    return {"parameters": in_r, "r-torch": in_r}


def parameter_order(weights: list[Weight], known: list[str] | None = None) -> list[str]:
    """Return the names of the parameters in the order of `model$parameters`: those of children before a module's own.

    `known` are the names that the module declares, if it does. Otherwise format 3 records which tensors require a gradient;
    in older files every float tensor except running means and variances is a parameter. Raises `ShapeError` if a file does
    not distinguish a frozen parameter from a buffer.

    >>> from steelyard.core.weight import Refused
    >>> listed = [Weight(name=n, shape=(1,), dtype="float32", read=Refused, trainable=True) for n in ("alpha", "fc.bias")]
    >>> parameter_order(listed)
    ['fc.bias', 'alpha']
    """
    if known is not None:
        return known
    rank: dict[str, int] = {}
    keys = {weight.name: _key(weight.name, rank) for weight in weights}
    return sorted((weight.name for weight in weights if _is_parameter(weight)), key=keys.__getitem__)


def _is_parameter(weight: Weight) -> bool:
    if weight.role in _BUFFERS or weight.trainable is None:
        return weight.role not in _BUFFERS and is_floating(weight.dtype)
    if not weight.trainable:
        raise ShapeError(
            f"{printable(weight.name)} requires no gradient, so it may be a frozen parameter or a buffer; "
            "select the parameters by name"
        )
    return True


def _key(name: str, rank: dict[str, int]) -> tuple[tuple[int, int], ...]:
    """Return the sort key of a name: its modules by first occurrence, and a module's own members after its children."""
    ends = [place for place, mark in enumerate(name) if mark == "."]
    modules = [(0, rank.setdefault(name[:end], len(rank))) for end in ends]
    return (*modules, (1, rank.setdefault(f"{name}\0", len(rank))))
