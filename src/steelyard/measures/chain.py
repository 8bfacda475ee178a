"""A network as a chain of dense layers, as a diagram of its units shows it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from steelyard.core.casting import standard
from steelyard.core.grouping import by_layer
from steelyard.core.indexing import elements
from steelyard.core.stacked import split
from steelyard.core.weight import Role, Weight
from steelyard.errors import AmbiguityError, ShapeError, printable, quoted
from steelyard.io import weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard.core.weight import Array

WAYS = ("in out", "out in")


class Dense:
    """A dense layer: its `kernel` of `inputs` by `units`, its `bias`, and the `skip` kernel from the net's inputs.

    `turned` means that the kernel is stored as units by inputs. `bias` and `skip` may be None.
    """

    __slots__ = ("bias", "inputs", "kernel", "name", "skip", "turned", "units")

    def __init__(self, name: str, kernel: Weight, bias: Weight | None, skip: Weight | None, *, turned: bool) -> None:
        self.name = name
        self.kernel = kernel
        self.bias = bias
        self.skip = skip
        self.turned = turned
        rows, columns = _sides(kernel)
        self.inputs, self.units = (columns, rows) if turned else (rows, columns)

    def __repr__(self) -> str:
        return f"Dense({self.name!r}, {self.inputs} to {self.units})"

    def part(self, inputs: Array, units: Array) -> Array:
        """Return the weights from some inputs to some units, as float64, inputs by units; only these are kept in memory."""
        rows, columns = (units, inputs) if self.turned else (inputs, units)
        matrix = _submatrix(self.kernel, _sides(self.kernel)[1], rows, columns)
        return matrix.T if self.turned else matrix

    def skips(self, inputs: Array, units: Array) -> Array | None:
        """Return the weights from some of the net's inputs to some units; None without a skip kernel."""
        return None if self.skip is None else _submatrix(self.skip, _sides(self.skip)[1], inputs, units)

    def squares(self) -> tuple[Array, Array]:
        """Return the sum of squares of the finite weights of each input and of each unit, read block by block."""
        rows, columns = _sides(self.kernel)
        by_row, by_column = np.zeros(rows), np.zeros(columns)
        step = max((1 << 20) // max(columns, 1), 1)
        for first in range(0, rows, step):
            last = min(first + step, rows)
            block = _real(self.kernel.read(first * columns, last * columns)).reshape(-1, columns)
            squares = np.square(np.where(np.isfinite(block), block, 0.0))
            by_row[first:last] = squares.sum(axis=1)
            by_column += squares.sum(axis=0)
        return (by_column, by_row) if self.turned else (by_row, by_column)


def chain(source: object, layers: Sequence[str] | None = None, axes: str | None = None) -> list[Dense]:
    """Return the layers of a network of dense layers, in order; `layers` picks them by name.

    `axes` ("in out" or "out in") gives the axis order of kernels whose source does not, such as a file of plain arrays.
    Without it the order is inferred if the shapes fit together in one order only. Raises `ShapeError` for a network that is
    not such a chain, and `AmbiguityError` if the kernels fit in both orders.

    Examples:
        >>> from steelyard.core.readers import from_array
        >>> from steelyard.core.weights import Weights
        >>> kernel = from_array("fc.weight", np.ones((2, 5)), role=Role.KERNEL, layer="fc", axes="out in")
        >>> chain(Weights([kernel]))
        [Dense('fc', 5 to 2)]
    """
    if axes not in (None, *WAYS):
        raise ShapeError(f'axes is {axes!r}; it must be "in out" (Keras, scikit-learn, R) or "out in" (PyTorch)')
    listed = {name: [part for whole in group for part in split(whole)] for name, group in by_layer(weights(source)).items()}
    picked = _picked(listed, layers)
    parts = [_parts(name, group) for name, group in picked.items()]
    if not parts:
        raise ShapeError("the network has no weights, so it is not a chain of dense layers")
    made = _turned(parts, axes)
    if not _linked(made):
        sizes = ", ".join(f"{printable(each.name)} ({each.inputs:,} to {each.units:,})" for each in made[:8])
        raise ShapeError(
            f"the sizes of consecutive dense layers do not match: {sizes}; name those of one chain, in order, with layers"
        )
    return made


def _picked(groups: Mapping[str, list[Weight]], layers: Sequence[str] | None) -> Mapping[str, list[Weight]]:
    if layers is None:
        return groups
    for name in layers:
        if name not in groups:
            known = ", ".join(printable(each) for each in list(groups)[:8])
            raise ShapeError(f"no layer is called {quoted(name)}; the first are {known}")
    return {name: groups[name] for name in layers}


def _parts(name: str, group: list[Weight]) -> tuple[str, Weight, Weight | None, Weight | None]:
    """Return the kernel, the bias and the skip kernel of a layer; other weights are an error."""
    skip = next((weight for weight in group if _is_skip(weight)), None)
    kernels = [weight for weight in group if weight.role is Role.KERNEL and weight is not skip]
    biases = [weight for weight in group if weight.role is Role.BIAS]
    for weight in group:
        dense = weight.role is Role.KERNEL and 1 <= len(weight.shape) <= 2 and "[" not in weight.axes
        if not (dense or weight.role is Role.BIAS):
            axes = f" and the axes {weight.axes}" if weight.axes else ""
            raise ShapeError(
                f"the network is not a chain of dense layers: {printable(weight.name)} of shape {list(weight.shape)} has the "
                f"role {weight.role}{axes}; name the dense layers, in order, with layers"
            )
    if len(kernels) != 1 or len(biases) > 1:
        raise ShapeError(
            f"the network is not a chain of dense layers: layer {quoted(name)} has {len(kernels)} kernels and "
            f"{len(biases)} biases; name the dense layers, in order, with layers"
        )
    return name or kernels[0].name, kernels[0], biases[0] if biases else None, skip


def _is_skip(weight: Weight) -> bool:
    return weight.role is Role.KERNEL and weight.name.rpartition(".")[2] == "skip"


def _turned(parts: Sequence[tuple[str, Weight, Weight | None, Weight | None]], axes: str | None) -> list[Dense]:
    """Return the layers, each with the orientation of its kernel, from its axes or from the only order that fits."""

    def made(guess: str) -> list[Dense]:
        return [Dense(name, *rest, turned=_way(rest[0], guess) == "out in") for name, *rest in parts]  # type: ignore[arg-type]

    unknown = [kernel for _, kernel, _, _ in parts if not kernel.axes and len(kernel.shape) == 2]
    if not unknown or axes:
        return made(axes or WAYS[0])
    fitting = [way for way in WAYS if _linked(made(way))]
    if len(fitting) == 1:
        return made(fitting[0])
    raise AmbiguityError(
        f"the axes of {printable(unknown[0].name)} are not known, and its shape {list(unknown[0].shape)} fits "
        f'{"both ways" if fitting else "neither way"}; pass axes="in out" (Keras, scikit-learn, R) or axes="out in" (PyTorch)'
    )


def _way(kernel: Weight, guess: str) -> str:
    return (kernel.axes or guess) if len(kernel.shape) == 2 else WAYS[0]


def _linked(made: Sequence[Dense]) -> bool:
    """Whether each layer has as many inputs as the previous one has units, and a bias for each unit."""
    fitting = all(one.units == other.inputs for one, other in pairwise(made))
    return fitting and all(each.bias is None or each.bias.size == each.units for each in made)


def _sides(weight: Weight) -> tuple[int, int]:
    return weight.shape[0], prod(weight.shape[1:])


def _submatrix(weight: Weight, width: int, rows: Array, columns: Array) -> Array:
    """Return some rows and columns, in increasing order, of a weight as a matrix."""
    places = np.add.outer(rows.astype(np.int64) * width, columns.astype(np.int64))
    matrix: Array = _real(elements(weight, places.reshape(-1))).reshape(places.shape)
    return matrix


def _real(block: Array) -> Array:
    plain = block.astype(standard(block.dtype), copy=False)
    return np.abs(plain) if plain.dtype.kind == "c" else plain.astype(np.float64, copy=False)
