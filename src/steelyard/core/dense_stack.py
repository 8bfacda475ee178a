"""Dense layers in a row: the one architecture that a framework can build of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Table = Mapping[str, Any]


class Dense(NamedTuple):
    """A dense layer and the activation behind it, in the words of `core.graph`: its kernel has the axes (out, in).

    `settings` are those of the activation, as negative_slope.
    """

    name: str
    kernel: Array
    bias: Array | None
    activation: str
    settings: Mapping[str, float]


class Stack(NamedTuple):
    """Dense layers, each fed by the one before. `input_shape` is the shape of one example, which is `flattened` first or not."""

    layers: list[Dense]
    input_shape: tuple[int | None, ...]
    flattened: bool

    @property
    def dtype(self) -> str:
        """The type of the numbers."""
        return str(self.layers[0].kernel.dtype)


def word_of(table: Table, layer: Dense, framework: str) -> Any:
    """Return what a framework calls the activation of a layer; raises `ShapeError` where it has none."""
    if layer.activation not in table:
        raise ShapeError(
            f"the activation behind {printable(layer.name)!r} is {printable(layer.activation)!r}, which is none that {framework} "
            f"has; known are {', '.join(table)}"
        )
    return table[layer.activation]
