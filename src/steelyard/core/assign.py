"""Checking values before any of them is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steelyard.core.casting import cast, fitted
from steelyard.core.dtypes import numpy_dtype
from steelyard.core.plugins import adapter_of
from steelyard.core.vector import Plan
from steelyard.core.weight import Weight
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.vector import Order
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights


def pieces(plan: Plan, vector: Any, order: Order) -> dict[str, Array]:
    """Cut a vector into arrays of each weight's shape and dtype, by name; views where the dtype is the same."""
    import numpy as np

    vector = np.asarray(vector)
    if vector.shape != (plan.size,):
        raise ShapeError(
            f"the vector has shape {vector.shape}, these {len(plan.weights)} weights take ({plan.size},); "
            "make it with to_vector() of the same selection"
        )
    if plan.dtypes == {vector.dtype.name}:
        return {w.name: vector[a:b].reshape(w.shape, order=order) for w, a, b in plan.spans()}
    return {w.name: cast(w.name, vector[a:b], numpy_dtype(w.dtype)).reshape(w.shape, order=order) for w, a, b in plan.spans()}


def checked(weights: Weights, values: Mapping[str, Any]) -> dict[str, Array]:
    """Return each value as an array of its weight's shape and dtype, one for each group of tied weights."""
    import numpy as np

    arrays: dict[str, Array] = {}
    given: dict[str, str] = {}
    for name, value in values.items():
        if name not in weights:
            raise ShapeError(f"{weights_named(weights, name)}; nothing was written")
        weight = weights[name]
        array = _settled(fitted(weight, plain(value)))
        first = given.setdefault(weight.tied or name, name)
        if first == name:
            arrays[name] = array
        elif not np.array_equal(arrays[first], array, equal_nan=weight.dtype.startswith(("float", "bfloat", "complex"))):
            raise ShapeError(f"{printable(first)} and {printable(name)} share one memory, but the values differ; give only one")
    return arrays


def weights_named(weights: Weights, name: str) -> str:
    """Say that `weights` has no such name, with the nearest that it has."""
    from steelyard.errors import WeightNotFoundError

    return str(WeightNotFoundError(name, weights))


def plain(value: Any) -> Any:
    """Return the numbers of a weight or of any framework's tensor as an array; other values as they are."""
    import numpy as np

    if isinstance(value, Weight):
        return value.numpy()
    if isinstance(value, (np.ndarray, np.generic, int, float, complex, list, tuple)):
        return value
    found = list(adapter_of(value).weights(value))
    if len(found) != 1 or found[0].name:
        raise ShapeError(f"a value is a {type(value).__name__}, not an array; give numbers")
    return found[0].numpy()


def _settled(array: Array) -> Array:
    """Copy an array that does not own its memory: it may be a view of the very model that is written to."""
    return array if array.base is None else array.copy()
