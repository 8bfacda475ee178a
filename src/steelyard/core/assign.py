"""Assign values to weights, after all of them have been checked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from steelyard.core.casting import converted, fitted
from steelyard.core.places import placed
from steelyard.core.plugins import framework_of, weights_in_file
from steelyard.core.readers import Placed, array_reader, require_unmasked
from steelyard.core.stacked import relaid
from steelyard.core.vector import VectorLayout, unflatten
from steelyard.core.weight import Refused, Weight
from steelyard.core.wrappers import shapes_of, wrapping
from steelyard.dtypes import numpy_dtype
from steelyard.errors import ReadOnlyError, ShapeError, UnknownModelError, WeightNotFoundError, printable

if TYPE_CHECKING:
    from typing import TypeGuard

    from numpy.typing import ArrayLike

    from steelyard.core.protocols import Assign
    from steelyard.core.vector import Order
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights

Match = Literal["name", "suffix"]
"""How the names of assigned values correspond to those of the weights: equal, or equal without the words of wrappers."""


def pieces(layout: VectorLayout, vector: Array, order: Order) -> dict[str, Array]:
    """Split a vector into arrays of each weight's shape and dtype, by name; views if the dtype is the same."""
    if layout.dtypes == {vector.dtype.name}:
        return {w.name: vector[a:b].reshape(w.shape, order=order) for w, a, b in layout.spans()}
    return {
        w.name: converted(w.name, vector[a:b], numpy_dtype(w.dtype)).reshape(w.shape, order=order) for w, a, b in layout.spans()
    }


def own_pieces(layout: VectorLayout, weights: Mapping[str, Weight], values: object, order: Order) -> dict[str, Array]:
    """Return a copy of the numbers of each distinct weight: cut from a vector, or of a list or a mapping that has all of them."""
    import numpy as np

    values = _listed(values)
    if isinstance(values, Mapping):
        arrays = checked(layout, weights, values)
        absent = next((weight.name for weight in layout.weights if weight.name not in arrays), None)
        if absent is not None:
            raise ShapeError(f"there is no value for {printable(absent)}; pass one for each of the {len(layout.weights)} weights")
    elif _is_list_of_arrays(values):
        arrays = _by_place(layout, values, order)
    else:
        return pieces(layout, np.array(as_vector(layout, values)), order)
    return {name: np.array(array) for name, array in arrays.items()}


def as_vector(layout: VectorLayout, values: object) -> Array:
    """Return values, of any framework, as an array of the length of the vector."""
    import numpy as np

    numbers = _numbers(values)
    require_unmasked("the vector", numbers)
    try:
        vector = np.asarray(numbers)
    except ValueError:
        raise ShapeError(f"the vector is a ragged list; these weights take ({layout.size},)") from None
    if vector.shape != (layout.size,):
        raise ShapeError(
            f"the vector has shape {vector.shape}, these {len(layout.weights)} weights take ({layout.size},); "
            "make it with to_vector() of the same selection"
        )
    return vector


def _numbers(values: object) -> Any:
    """Return what NumPy can convert: the numbers of a tensor, those of a list of scalars of any framework, or the values."""
    if isinstance(values, (list, tuple)):
        return [value if isinstance(value, (int, float, complex)) else plain(value) for value in values]
    try:
        return plain(values)
    except UnknownModelError:
        return values  # such as a series of pandas


def checked(layout: VectorLayout, weights: Mapping[str, Weight], values: Mapping[str, object]) -> dict[str, Array]:
    """Return each value as an array of its weight's shape and dtype, under the first name of tied weights."""
    first = {weight.tied or weight.name: weight.name for weight in layout.weights}
    arrays: dict[str, Array] = {}
    for name, value in values.items():
        if name not in weights:
            hint = wrapping(_shapes(values), shapes_of(weights)).hint
            raise ShapeError(f"{WeightNotFoundError(name, weights)}; nothing was written{hint}")
        weight = weights[name]
        # values may be views of the model itself, such as one layer's kernel for another
        array = _settled(fitted(weight, plain(value)))
        owner = first[weight.tied or name]
        kept = arrays.setdefault(owner, array)
        if kept is not array and kept.tobytes() != array.tobytes():
            raise ShapeError(f"{printable(owner)} and {printable(name)} share one memory, but the values differ; pass only one")
    return arrays


def _listed(values: object) -> object:
    """Return what an iterator yields as a list, or as a mapping if it is of pairs, such as `named_parameters()`."""
    if not isinstance(values, Iterator):
        return values
    listed = list(values)
    return dict(listed) if listed and all(isinstance(each, tuple) and len(each) == 2 for each in listed) else listed


def _shapes(values: Mapping[str, object]) -> dict[str, object]:
    return {name: tuple(getattr(value, "shape", ())) for name, value in values.items() if isinstance(name, str)}


def _renamed(values: Mapping[str, object], weights: Mapping[str, Weight]) -> dict[str, object]:
    """Return values by the names of the weights, which theirs have without the words of wrappers; others keep their names.

    Raises `ShapeError` if it is not known what to leave out.
    """
    found = wrapping(_shapes(values), shapes_of(weights))
    if found.note and not found.is_found:
        raise ShapeError(f"{found.note}; nothing was written")
    renamed = {found.names.get(name, name): value for name, value in values.items()}
    if len(renamed) < len(values):
        raise ShapeError(f"{found.note}, but then two of them are equal; nothing was written")
    return renamed


def put_any(
    layout: VectorLayout,
    weights: Weights,
    values: object,
    order: Order,
    assign: Assign | None,
    *,
    match: Match,
    verify: bool,
) -> Any:
    """Write values by name, or a vector. Raises `ReadOnlyError` if there is no model to write to."""
    if match not in ("name", "suffix"):
        raise ShapeError(f'match is {match!r}; it must be "name" or "suffix"')
    if assign is None:
        raise ReadOnlyError("these weights belong to no model; save them with steelyard.save, or assign them to weights(model)")
    given = weights_in_file(values) if isinstance(values, (str, os.PathLike)) else _listed(values)
    if isinstance(given, Mapping):
        named = placed(given, weights) if match == "name" else _renamed(given, weights)
        return put(layout, weights, named, assign, verify=verify)
    return put_vector(layout, given, order, assign, verify=verify)


def put(
    layout: VectorLayout, weights: Mapping[str, Weight], values: Mapping[str, object], assign: Assign, *, verify: bool
) -> Any:
    """Write values by name; all are checked first."""
    return _put(layout, checked(layout, weights, values), assign, verify=verify)


def put_vector(layout: VectorLayout, values: object, order: Order, assign: Assign, *, verify: bool) -> Any:
    """Write a vector, by copying its bytes if possible; or a list of arrays, one for each distinct weight in order."""
    if _is_list_of_arrays(values):
        return _put(layout, _by_place(layout, values, order), assign, verify=verify)
    vector = as_vector(layout, values)
    if order == "C" and not layout.overlapping and unflatten(layout, vector):
        return assign({})
    return _put(layout, pieces(layout, vector, order), assign, verify=verify)


def _is_list_of_arrays(values: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(values, (list, tuple)) and any(_is_array(value) for value in values)


def _is_array(value: object) -> bool:
    """Whether a value is an array or a list with axes of its own, and not a number of a vector."""
    return isinstance(value, (list, tuple)) or bool(getattr(value, "shape", ()))


def _by_place(layout: VectorLayout, values: Sequence[Any], order: Order) -> dict[str, Array]:
    """Return the arrays of a list by the names of the weights, as Keras's `get_weights()` lists them."""
    if order != "C":
        raise ShapeError("an order is of a vector; a list of arrays has none")
    if len(values) != len(layout.weights):
        raise ShapeError(
            f"the list has {len(values)} arrays, but there are {len(layout.weights)} weights; pass one for each, in the listed "
            "order and tied ones once, or a mapping of names to arrays; nothing was written"
        )
    return {weight.name: _settled(fitted(weight, plain(value))) for weight, value in zip(layout.weights, values, strict=True)}


def _put(layout: VectorLayout, arrays: Mapping[str, Array], assign: Assign, *, verify: bool) -> Any:
    """Write checked arrays: directly if all weights are in memory, else through the framework.

    Memory that the model itself holds need not be read back, unless weights overlap in it.
    """
    written = [weight for weight in layout.weights if weight.name in arrays]
    for weight in written:
        if isinstance(weight.read, Refused):
            raise ReadOnlyError(f"{printable(weight.name)} cannot be written to: {weight.unreadable}; nothing was written")
        if isinstance(weight.read, Placed) and weight.read.check is not None:
            weight.read.check()
    if not layout.in_memory():
        return assign(arrays, verify=verify)
    # weights that overlap are written one after another: the last one wins, so all must be read back
    before = {weight.name: weight.numpy().copy() for weight in written} if layout.overlapping else {}
    _write(written, arrays)
    if before and (differing := differences({weight.name: weight for weight in written}, arrays)):
        _write(written, before)
        overlapped = next(weight for weight in written if weight.overlaps is not None)
        raise ShapeError(
            f"{printable(overlapped.name)} and {printable(overlapped.overlaps)} overlap in memory, and the values of "
            f"{printable(differing[0])} do not agree with both; nothing was written"
        )
    return assign({})


def _write(weights: Iterable[Weight], arrays: Mapping[str, Array]) -> None:
    for weight in weights:
        weight.read(0, weight.size)[:] = arrays[weight.name].reshape(-1)


def differences(weights: Mapping[str, Weight], arrays: Mapping[str, Array]) -> list[str]:
    """Return the names of the arrays whose bytes the weight of this name does not have; one that is gone differs."""
    return [name for name, array in arrays.items() if name not in weights or not _holds(weights[name], array)]


def _holds(weight: Weight, array: Array) -> bool:
    """Whether a weight has the shape, the type and the bytes of an array; so NaN equals itself."""
    import numpy as np

    if weight.shape != array.shape or numpy_dtype(weight.dtype) != array.dtype:
        return False
    flat = np.ascontiguousarray(array).reshape(-1)
    start = 0
    for block in weight.blocks():
        # bytes rather than numbers: NaN differs from itself, and -0 equals 0
        one, two = np.ascontiguousarray(block), flat[start : start + block.size]
        if not np.array_equal(one.view(np.uint8), two.view(np.uint8)):
            return False
        start += block.size
    return True


def detached(weights: Weights, arrays: Mapping[str, Array]) -> Weights:
    """Return weights with these facts and the numbers of `arrays`, which have the distinct weights; tied ones share."""
    owner = {w.tied or w.name: array_reader(arrays[w.name]) for w in weights.distinct().values()}
    made = (w.replace(read=relaid(w.read, owner[w.tied or w.name])) for w in weights.values())
    return weights.with_weights(made, detached=True, live=True)


def plain(value: object) -> ArrayLike:
    """Return the numbers of a weight or of any framework's tensor as an array; other values unchanged."""
    import numpy as np

    if isinstance(value, Weight):
        return value.numpy()
    if isinstance(value, (np.ndarray, np.generic, int, float, complex, list, tuple)):
        return value
    listed = list(framework_of(value).weights(value))
    if len(listed) != 1 or listed[0].name:
        raise ShapeError(f"a value is a {type(value).__name__}, not an array; pass numbers")
    return listed[0].numpy()


def _settled(array: Array) -> Array:
    """Copy an array that does not own its memory, since it may be a view of the model to be written."""
    return array if array.base is None else array.copy()
