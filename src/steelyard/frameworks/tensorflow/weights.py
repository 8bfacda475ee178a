"""TensorFlow: modules, variables, tensors, and any other object that keeps variables under attributes.

Names are the attribute paths that a checkpoint uses, joined by "/" (`layers/0/w`), since two variables may
have one `name`. A `tf.Module` lists its variables in the order of `module.variables`. TensorFlow leaves out of these what a
model of Keras 3 holds; such a part is listed too, by Keras's own names below its path (`net/sequential/dense/kernel`).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from steelyard.core.held import require_at
from steelyard.core.members import derive_members, while_held, with_ties
from steelyard.core.plugins import framework_of
from steelyard.core.readers import Placed, by_rows
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Weight
from steelyard.dtypes import ITEMSIZES
from steelyard.errors import UnknownModelError, printable

if TYPE_CHECKING:
    from typing import TypeAlias

    from tensorflow.python.trackable.base import Trackable

    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Array, Reader

    Model: TypeAlias = "tf.Module | Trackable | tf.Variable | tf.Tensor"


def weights(model: object) -> Iterable[Weight]:
    """List the variables; one that two modules share is tied to its first name. A bare variable or tensor has no name.

    Variables of text are skipped. Raises `UnknownModelError` for symbolic, sparse and ragged tensors.
    """
    if isinstance(model, (tf.Variable, tf.Tensor)):
        return [_weight("", model)]
    parts = [*_parts(model)]
    own = infer_roles(_weight(path, part) for path, part in parts if isinstance(part, tf.Variable))
    named = {weight.name: [weight] for weight in own}
    places = _places(model) if isinstance(model, tf.Module) else {}

    def held(weight: Weight, path: str, part: object) -> Weight:
        place = places.get(path)
        return weight if place is None else while_held(weight, lambda: require_at(model, place, part, weight.name))

    return with_ties(held(each, path, part) for path, part in parts for each in named.get(path) or _below(path, part))


def assign(model: Model, arrays: Mapping[str, Array]) -> Model:
    """Write into the variables in place; a tensor cannot change, so a new one is returned."""
    if not arrays:
        return model
    if isinstance(model, tf.Tensor) and not isinstance(model, tf.Variable):
        return tf.constant(arrays[""].copy())
    for path, part in [("", model)] if isinstance(model, tf.Variable) else _parts(model):
        if not isinstance(part, tf.Variable):
            own = {name: arrays[_joined(path, name)] for name in _names(part) if _joined(path, name) in arrays}
            framework_of(part).assign(part, own)
        elif path in arrays:
            part.assign(arrays[path].copy())  # TensorFlow may keep the memory that is passed to it
    return model


def derive(model: object, pieces: Pieces) -> Iterator[Weight]:
    """Yield the effective weights of what Keras holds in a module."""
    if not isinstance(model, (tf.Variable, tf.Tensor)):
        held = ((path, part) for path, part in _parts(model) if not isinstance(part, tf.Variable))
        yield from derive_members(held, pieces, "/")


def _below(path: str, part: object) -> Iterator[Weight]:
    """Yield the weights of a part of Keras, each under its own name below the path of the part."""
    for weight in framework_of(part).weights(part):
        layer = _joined(path, weight.layer) if weight.name else layer_of(path)
        tied = None if weight.tied is None else _joined(path, weight.tied)
        yield weight.replace(name=_joined(path, weight.name), layer=layer, tied=tied)


def _names(part: object) -> list[str]:
    return [weight.name for weight in framework_of(part).weights(part)]


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if name else path


def _is_listed(part: object) -> bool:
    """Whether something is a variable of numbers, or of Keras 3, whose layers are no `tf.Module` as those of Keras 2 are."""
    if isinstance(part, tf.Variable):
        return bool(part.dtype != tf.string)
    return not isinstance(part, tf.Module) and isinstance(part, _keras_kinds())


def _keras_kinds() -> tuple[type, ...]:
    keras: Any = sys.modules.get("keras")
    return (keras.Variable, keras.Layer, keras.Optimizer) if hasattr(keras, "Variable") else ()


def _places(model: tf.Module) -> dict[str, tuple[Any, ...]]:
    """Return the attributes and keys that lead to each listed part, by its path."""
    return {"/".join(map(str, place)): place for place, _ in model._flatten(predicate=_is_listed, with_path=True)}


def _parts(model: object) -> Iterator[tuple[str, Any]]:
    """Yield the variables, and what Keras lists itself, each with its path."""
    if isinstance(model, tf.Module):
        _require_own_order(model)
        for place, part in model._flatten(predicate=_is_listed, with_path=True):
            yield "/".join(map(str, place)), part
    elif isinstance(model, (tf.types.experimental.GenericFunction, tf.types.experimental.ConcreteFunction)):
        raise UnknownModelError(
            f"a tensorflow {type(model).__name__} has no variables of its own; pass the module, or the variables that it uses"
        )
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


def _tracked(root: Trackable) -> Iterator[tuple[str, Any]]:
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
            if _is_listed(child):
                yield name, child
            elif not isinstance(child, tf.Variable):
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
