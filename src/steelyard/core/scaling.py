"""What a pipeline does to the inputs of its net: the same factors and offsets for all examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from steelyard.core.weight import Array


class Scaler(NamedTuple):
    """One step of a pipeline: `(x - centre) * scale`, for a matrix (out, in) `(x - centre) scale'`, in float64."""

    name: str
    centre: Array
    scale: Array


class Scaled(NamedTuple):
    """The `scalers` of a pipeline in order, the `net` after them, and its outputs for an array of examples."""

    scalers: tuple[Scaler, ...]
    net: object
    run: Callable[[Array], Array]
