"""A stack of dense layers: the only architecture that a framework can build from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from steelyard.core.weight import Array

Own = TypeVar("Own")


class DenseLayer(NamedTuple):
    """A dense layer and its activation, named as in `core.graph`; the kernel has the axes (out, in).

    `settings` are those of the activation, such as negative_slope.
    """

    name: str
    kernel: Array
    bias: Array | None
    activation: str
    settings: Mapping[str, float]


class DenseStack(NamedTuple):
    """Consecutive dense layers. `input_shape` is the shape of one example, which is `flattened` first if this is true."""

    layers: list[DenseLayer]
    input_shape: tuple[int | None, ...]
    flattened: bool

    @property
    def dtype(self) -> str:
        """The dtype of the numbers."""
        return str(self.layers[0].kernel.dtype)


def activation_of(layer: DenseLayer, table: Mapping[str, Own], framework: str) -> Own:
    """Return a framework's own activation for that of a layer, from a table of our words.

    Raises `ShapeError` if the framework does not have it.
    """
    if layer.activation not in table:
        raise ShapeError(
            f"the activation of {quoted(layer.name)} is {quoted(layer.activation)}, which {framework} does not have; "
            f"it has {', '.join(table)}"
        )
    return table[layer.activation]
