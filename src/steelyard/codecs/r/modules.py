"""R torch's modules, and the order of their parameters: those of a module's children first, then its own.

A module is an R6 object: an environment, or the function around it, which keeps it as the attribute "module". Its private
environment has three lists, `parameters_`, `buffers_` and `modules_`. The tensors in them are dead pointers in a file, but
their names say which weights are parameters, and in which order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.r.values import Environment, Opaque, Vector
from steelyard.core.weight import Role, Weight
from steelyard.dtypes import is_floating
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BUFFERS = (Role.MEAN, Role.VARIANCE, Role.COUNT)


def class_of(module: Any) -> list[str]:
    """Return the classes that a module's author gave it."""
    kinds = module.class_ if isinstance(module, (Environment, Opaque)) else ()
    return [word for word in kinds if word not in ("nn_module", "nn_Module", "R6")]


def declared(module: Any, weights: list[Weight]) -> list[str] | None:
    """Return the names of the parameters of a module in R torch's order; None where it does not account for all weights."""
    private = _private(module)
    if private is None:
        return None
    names: list[str] = []
    buffers: set[str] = set()
    left = limits.R_MODULES
    frames = [("", private, _members(private, "modules_"))]
    while frames:
        prefix, held, children = frames[-1]
        for name, child in children:
            inner, left = _private(child), left - 1
            if inner is None or len(frames) >= limits.DEPTH or left < 0:
                return None
            frames.append((f"{prefix}{name}.", inner, _members(inner, "modules_")))
            break
        else:
            names += (prefix + name for name, _ in _members(held, "parameters_"))
            buffers |= {prefix + name for name, _ in _members(held, "buffers_")}
            frames.pop()
    return names if {weight.name for weight in weights} <= {*names, *buffers} else None


def _private(module: Any) -> Environment | None:
    """Return the private environment of a module; None where it has none."""
    instance = module.attributes.get("module") if isinstance(module, Opaque) else module
    around = instance.get(".__enclos_env__") if isinstance(instance, Environment) else None
    private = around.get("private") if isinstance(around, Environment) else None
    return private if isinstance(private, Environment) and isinstance(private.get("parameters_"), Vector) else None


def _members(private: Environment, name: str) -> Iterator[tuple[str, Any]]:
    held = private.get(name)
    return iter(held.pairs()) if isinstance(held, Vector) and held.items is not None else iter(())


def orders(weights: list[Weight], module: Any = None) -> dict[str, Callable[[], list[str]]]:
    """Return the orders that R torch's weights have beside the listed one; `module` is the R object that they belong to."""

    def in_r() -> list[str]:
        return parameter_order(weights, declared(module, weights))

    return {"parameters": in_r, "r-torch": in_r}


def parameter_order(weights: list[Weight], known: list[str] | None = None) -> list[str]:
    """Return the names of the parameters as `model$parameters` has them: those of children before a module's own.

    `known` are those names where the module tells them. Else format 3 says what takes a gradient; in older files every
    float is a parameter that is no running mean or variance. Raises `ShapeError` where a file does not say whether
    something is a parameter that was frozen, or a buffer.

    >>> from steelyard.core.readers import refusing
    >>> listed = [Weight(name=n, shape=(1,), dtype="float32", read=refusing, trainable=True) for n in ("alpha", "fc.bias")]
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
            f"{printable(weight.name)} takes no gradient: the file does not say whether it is a parameter or a buffer; "
            "select the parameters by name"
        )
    return True


def _key(name: str, rank: dict[str, int]) -> tuple[tuple[int, int], ...]:
    """Rank a name by the modules on its way, each by when it was first met; what a module has itself comes last."""
    ends = [place for place, mark in enumerate(name) if mark == "."]
    modules = [(0, rank.setdefault(name[:end], len(rank))) for end in ends]
    return (*modules, (1, rank.setdefault(f"{name}\0", len(rank))))
