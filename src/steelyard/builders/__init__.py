"""Making a model of what a file tells: one file a framework, which may import that framework, since it is asked for by name.

A module here has one function, `build(stack)`. It makes the architecture; the numbers are put into it as into any other model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

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
    """Dense layers, each fed by the one before. `takes` is the shape of one example, which is `flattened` first or not."""

    layers: list[Dense]
    takes: tuple[int | None, ...]
    flattened: bool

    @property
    def dtype(self) -> str:
        """The type of the numbers."""
        return str(self.layers[0].kernel.dtype)


class Builder(Protocol):
    """What a module in `steelyard/builders` offers."""

    def build(self, stack: Stack, /) -> tuple[Any, list[Dense]]:
        """Return a model of this architecture with any numbers, and the layers as it wants them.

        Raises `ShapeError` where the framework has no such model.
        """


def word_of(table: Table, layer: Dense, framework: str) -> Any:
    """Return what a framework calls the activation of a layer; raises `ShapeError` where it has none."""
    if layer.activation not in table:
        raise ShapeError(
            f"the activation behind {printable(layer.name)!r} is {printable(layer.activation)!r}, which is none that {framework} "
            f"has; known are {', '.join(table)}"
        )
    return table[layer.activation]
