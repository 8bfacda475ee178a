"""TensorFlow: modules, variables, tensors, and any other object that keeps variables under attributes.

Names are the attribute paths that a checkpoint uses, joined by "/" (`layers/0/w`), since two variables may
have one `name`. A `tf.Module` lists its variables in the order of `module.variables`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from steelyard.core.held import require_at
from steelyard.core.members import while_held
from steelyard.core.readers import Placed, by_rows
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Weight
from steelyard.dtypes import ITEMSIZES
from steelyard.errors import UnknownModelError, printable

if TYPE_CHECKING:
    from typing import TypeAlias

    from tensorflow.python.trackable.base import Trackable

    from steelyard.core.weight import Array, Reader

    Model: TypeAlias = "tf.Module | Trackable | tf.Variable | tf.Tensor"


def weights(model: object) -> Iterable[Weight]:
    """List the variables; one that two modules share is tied to its first name. A bare variable or tensor has no name.

    Variables of text are skipped. Raises `UnknownModelError` for symbolic, sparse and ragged tensors.
    """
    if isinstance(model, (tf.Variable, tf.Tensor)):
        return [_weight("", model)]
    first: dict[int, str] = {}
    listed = []
    paths = _paths(model) if isinstance(model, tf.Module) else {}
    for name, variable in _variables(model):
        if variable.dtype != tf.string:
            owner = first.setdefault(id(variable), name)
            weight = _weight(name, variable).replace(tied=owner if owner != name else None)
            listed.append(_held(model, paths[name], variable, weight) if name in paths else weight)
    return infer_roles(listed)


def _held(model: object, path: tuple[Any, ...], variable: tf.Variable, weight: Weight) -> Weight:
    """Return a weight that is refused when the module holds another variable in the place of its own."""
    return while_held(weight, lambda: require_at(model, path, variable, weight.name))


def assign(model: Model, arrays: Mapping[str, Array]) -> Model:
    """Write into the variables in place; a tensor cannot change, so a new one is returned."""
    if not arrays:
        return model
    if isinstance(model, tf.Tensor) and not isinstance(model, tf.Variable):
        return tf.constant(arrays[""].copy())
    variables = {"": model} if isinstance(model, tf.Variable) else dict(_variables(model))
    for name, array in arrays.items():
        variables[name].assign(array.copy())  # TensorFlow may keep the memory that is passed to it
    return model


def _paths(model: tf.Module) -> dict[str, tuple[Any, ...]]:
    """Return the attributes and keys that lead to each variable, by its name."""
    found = model._flatten(predicate=lambda part: isinstance(part, tf.Variable), with_path=True)
    return {"/".join(map(str, path)): path for path, _ in found}


def _variables(model: object) -> Iterator[tuple[str, tf.Variable]]:
    if isinstance(model, tf.Module):
        _require_own_order(model)
        for path, variable in model._flatten(predicate=lambda part: isinstance(part, tf.Variable), with_path=True):
            yield "/".join(map(str, path)), variable
    elif hasattr(model, "_trackable_children"):
        yield from _tracked(model)
    else:
        raise UnknownModelError(
            f"a tensorflow {type(model).__name__} has no weights; pass a module, a variable or a dense tensor"
        )


def _require_own_order(model: tf.Module) -> None:
    """Raise `UnknownModelError` for a class whose `variables` are not those of the walk: only its framework knows their order."""
    # a class that overrides it, such as a layer of Keras 2, may have an order of its own
    if type(model).variables is tf.Module.variables:
        return
    walked = [id(variable) for variable in model._flatten(predicate=lambda part: isinstance(part, tf.Variable))]
    if list(dict.fromkeys(map(id, model.variables))) != list(dict.fromkeys(walked)):
        kind = f"{printable(type(model).__module__)}.{printable(type(model).__qualname__)}"
        raise UnknownModelError(
            f"a {kind} is a tf.Module of a framework that Steelyard does not know: its `variables` have another order than "
            "its attributes; pass them as a dict by name"
        )


def _tracked(root: Trackable) -> Iterator[tuple[str, tf.Variable]]:
    """Traverse the objects that a checkpoint would save, breadth first as TensorFlow does: each is named by its shortest path."""
    seen = {id(root)}
    waiting = deque([("", root)])
    while waiting:
        path, part = waiting.popleft()
        for key, child in part._trackable_children().items():
            name = f"{path}/{key}" if path else key
            if id(child) in seen:
                continue
            seen.add(id(child))
            if isinstance(child, tf.Variable):
                yield name, child
            else:
                waiting.append((name, child))


def _weight(name: str, tensor: tf.Variable | tf.Tensor) -> Weight:
    dtype, shape, shown = tensor.dtype.name, tensor.shape, printable(name) or "the tensor"
    # a symbolic tensor of a traced function has a dtype and a shape, but no method that gives its numbers
    if not hasattr(tensor, "numpy"):
        raise UnknownModelError(f"{shown} is symbolic and has no numbers; call steelyard outside of tf.function")
    if dtype not in ITEMSIZES:
        raise UnknownModelError(f"{shown} is of tensorflow type {dtype}, which NumPy cannot hold; convert it first")
    return Weight(
        name=name,
        shape=tuple(shape),
        dtype=dtype,
        read=_reader(tensor),
        layer=layer_of(name),
        trainable=tensor.trainable if isinstance(tensor, tf.Variable) else False,
    )


def _reader(tensor: tf.Variable | tf.Tensor) -> Reader:
    """Read the present value of a tensor: a view of its memory if TensorFlow provides one, otherwise the requested rows."""
    shape = tuple(tensor.shape)

    def rows(first: int, last: int) -> Array:
        # the value of a variable is a tensor, whose memory can be viewed on the CPU
        now = tensor.read_value() if isinstance(tensor, tf.Variable) else tensor
        try:
            whole = np.asarray(memoryview(now))
        except (TypeError, ValueError, BufferError):  # its type or device does not allow a view
            part: Array = (now[first:last] if shape and (first, last) != (0, shape[0]) else now).numpy()
            return np.asarray(part)
        return whole[first:last] if shape else whole

    return Placed(by_rows(shape, rows), id(tensor))
