"""Split a layer that is stored as one matrix of bias and kernels into its weights.

The word for its first axis lists the parts of the matrix, in order, separated by "+". A part may have its number of rows,
as in "in:4"; only one may omit it. `1+in out` is a layer of R's nnet, `1+in:4+skip out` one with four hidden units and skip
connections, `in+1 out` one whose biases come last.

| part | rows |
|---|---|
| 1 | one row of biases |
| in | the kernel |
| skip | the skip kernel, from the net's inputs directly to this layer |
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.core.readers import array_reader
from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weight import Array, Reader

_PARTS = {"in": ("kernel", Role.KERNEL), "1": ("bias", Role.BIAS), "skip": ("skip", Role.KERNEL)}
"""The leaf name and role of the weight for each part, in the order of the result."""


class PaddedMatrix:
    """A reader of a layer with fewer stored numbers than its matrix has elements, since some units are not connected.

    `matrix` makes the matrix, with the given `shape` and `axes`, from all stored numbers; missing connections are zero.
    """

    __slots__ = ("axes", "matrix", "read", "shape")

    def __init__(self, read: Reader, matrix: Callable[[Array], Array], shape: tuple[int, ...], axes: str) -> None:
        self.read = read
        self.matrix = matrix
        self.shape = shape
        self.axes = axes

    def __call__(self, start: int, stop: int) -> Array:
        return self.read(start, stop)


def is_stacked(weight: Weight) -> bool:
    """Whether a weight is a whole layer, which `split` divides."""
    return "+" in weight.axes or isinstance(weight.read, PaddedMatrix)


def split(weight: Weight) -> list[Weight]:
    """Return the kernel, the bias and the skip kernel of a layer that is one matrix; any other weight unchanged.

    Their names are the layer's with `.kernel`, `.bias` or `.skip`; kernels have the axes "in out", a bias "out".
    Numbers are read from the matrix on demand; missing connections are zero. Raises `ShapeError` if the parts that the
    axes name do not fit the shape.

    Examples:
        >>> import numpy as np
        >>> from steelyard.core.readers import from_array
        >>> hidden = from_array("hidden", np.array([[9.0, 8.0], [1.0, 2.0], [3.0, 4.0]]), axes="1+in out", layer="hidden")
        >>> [(part.name, part.numpy().tolist()) for part in split(hidden)]
        [('hidden.kernel', [[1.0, 2.0], [3.0, 4.0]]), ('hidden.bias', [9.0, 8.0])]
    """
    whole = _whole(weight)
    first, _, rest = whole.axes.partition(" ")
    if "+" not in first:
        return [weight]
    ranges = dict(_rows(whole, first.split("+")))
    width = prod(whole.shape[1:])
    return [_part(whole, word, rows, rest, width) for word in _PARTS if (rows := ranges.get(word)) is not None]


def relaid(old: Reader, new: Reader) -> Reader:
    """Return a reader of the new numbers with the padding of the old reader."""
    return PaddedMatrix(new, old.matrix, old.shape, old.axes) if isinstance(old, PaddedMatrix) else new


def _whole(weight: Weight) -> Weight:
    """Return the matrix of a layer; a padded one is computed when it is read."""
    padded = weight.read
    if not isinstance(padded, PaddedMatrix):
        return weight

    def read(start: int, stop: int) -> Array:
        matrix = padded.matrix(padded.read(0, weight.size))
        return array_reader(matrix)(start, stop)

    return weight.replace(read=read, shape=padded.shape, axes=padded.axes)


def _rows(weight: Weight, words: list[str]) -> list[tuple[str, range]]:
    """Return the range of rows of each part of the first axis."""
    parts = [word.partition(":")[::2] for word in words]
    known = [1 if name == "1" else int(count) if count.isdecimal() else None for name, count in parts]
    left = weight.shape[0] - sum(count or 0 for count in known) if weight.shape else -1
    names = [name for name, _ in parts]
    fits = left >= 0 if None in known else left == 0
    if not fits or known.count(None) > 1 or len(set(names)) < len(names) or not {*names} <= {*_PARTS}:
        raise ShapeError(f"{printable(weight.name)} of shape {list(weight.shape)} has no such parts as {quoted(weight.axes)}")
    rows, start = [], 0
    for name, count in zip(names, known, strict=True):
        stop = start + (left if count is None else count)
        rows.append((name, range(start, stop)))
        start = stop
    return rows


def _part(weight: Weight, word: str, rows: range, rest: str, width: int) -> Weight:
    """Return consecutive rows of a matrix as a weight."""
    leaf, role = _PARTS[word]
    offset, read = rows.start * width, weight.read
    shape, axes = (weight.shape[1:], rest) if word == "1" else ((len(rows), *weight.shape[1:]), f"in {rest}")
    return weight.replace(
        name=f"{weight.name}.{leaf}" if weight.name else leaf,
        shape=shape,
        axes=axes,
        role=role,
        read=lambda start, stop: read(offset + start, offset + stop),
        tied=None if weight.tied is None else f"{weight.tied}.{leaf}",
    )
