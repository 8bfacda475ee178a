"""The tensors of a TensorDict, listed and written as those of a dict by their joined keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from steelyard.core.plugins import load
from steelyard.core.readers import Placed
from steelyard.errors import ShapeError, UnknownModelError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight


def weights(model: object) -> Iterable[Weight]:
    """List the tensors, also those of `TensorDictParams`; tensors that share memory are tied."""
    made = _made(model)
    for weight in load("frameworks", "builtins").weights(_tensors(model)):
        yield weight.replace(read=Placed(weight.read, object())) if weight.name in made else weight


def assign(model: object, arrays: Mapping[str, Array]) -> object:
    """Write into the tensors, which stay the same objects. Raises `ShapeError` for those that a lazy stack makes."""
    made = _made(model)
    for name in arrays:
        if name in made:
            raise ShapeError(f"{printable(name)} of the {type(model).__name__} is made when it is asked for; assign to its parts")
    load("frameworks", "builtins").assign(_tensors(model), arrays)
    return model


def _made(model: object) -> set[str]:
    """Return the names of the tensors that the dict does not hold, but makes each time."""
    again = _tensors(model)
    return {name for name, tensor in _tensors(model).items() if again[name] is not tensor}


def _tensors(model: Any) -> dict[str, torch.Tensor]:
    """Return the tensors by their keys. `TensorDictParams` lists its tensors as others do, and also as a module."""
    if not hasattr(model, "batch_size") or not callable(getattr(model, "items", None)):
        raise UnknownModelError(f"a tensordict {printable(type(model).__name__)} has no weights; pass a TensorDict")
    leaves = model.items(include_nested=True, leaves_only=True)
    named = ((".".join(key) if isinstance(key, tuple) else key, value) for key, value in leaves)
    return {name: value for name, value in named if isinstance(value, torch.Tensor)}
