"""`Weights` and `Weight` objects, so that containers may hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import UnknownModelError

if TYPE_CHECKING:
    from steelyard.core.weight import Array


def weights(model: object) -> Iterable[Weight]:
    """Return `Weights` unchanged; a single weight loses its name, since a bare tensor has none."""
    if isinstance(model, Weights):
        return model.values()
    if isinstance(model, Weight):
        return [model.replace(name="", layer="", tied=None)]
    raise UnknownModelError(f"a {type(model).__name__} has no weights")


def assign(model: Weights | Weight, arrays: Mapping[str, Array]) -> Weights | Weight:
    """Assign to the model that the weights belong to."""
    if isinstance(model, Weights):
        model.assign(arrays)
    elif arrays:
        raise UnknownModelError("a single Weight cannot be written to; assign to the Weights that it comes from")
    return model
