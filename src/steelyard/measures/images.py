"""The units of a dense layer on images, each as the picture of its inputs."""

from __future__ import annotations

from math import isqrt, prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError, printable
from steelyard.measures.filters import COLOURS, Filters
from steelyard.numerics.picture import part_of_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALLEST = 8
"""The smallest side of an image that is deduced from the number of inputs; that of scikit-learn's digits."""
LARGEST = 512
"""The largest side of an image."""
_TIMES = "\u00d7"


class Layout(NamedTuple):
    """How the inputs of a layer are the pixels of an image; `last` means that the colours of a pixel are consecutive."""

    height: int
    width: int
    colours: int = 1
    last: bool = True

    @property
    def inputs(self) -> int:
        """The number of inputs."""
        return self.height * self.width * self.colours

    def __str__(self) -> str:
        sides = (self.height, self.width)
        return f" {_TIMES} ".join(
            map(str, sides if self.colours == 1 else (*sides, self.colours) if self.last else (self.colours, *sides))
        )


def layout_of(grid: Sequence[int]) -> Layout:
    """Return the layout that a caller gives: height and width, with the three colours before or after them.

    Raises `ShapeError` for anything else.

    >>> layout_of((28, 28)), layout_of((3, 32, 32)).last
    (Layout(height=28, width=28, colours=1, last=True), False)
    """
    sides = tuple(grid) if isinstance(grid, (tuple, list)) else ()
    if all(isinstance(side, int) and 0 < side <= LARGEST for side in sides):
        if len(sides) == 2:
            return Layout(*sides)
        if len(sides) == 3 and sides[2] in (1, COLOURS):
            return Layout(*sides)
        if len(sides) == 3 and sides[0] in (1, COLOURS):
            return Layout(sides[1], sides[2], sides[0], last=False)
    raise ShapeError(
        f"grid is {printable(str(grid))}; it must be the height and width of an image, as in (28, 28), "
        "or have its colours too, as in (32, 32, 3) or (3, 32, 32)"
    )


def deduced(inputs: int, *, last: bool) -> Layout | None:
    """Return the layout of a square image, grey or in colour, with this number of inputs; None if there is none.

    >>> deduced(784, last=True), deduced(768 * 5, last=True)
    (Layout(height=28, width=28, colours=1, last=True), None)
    """
    for colours in (1, COLOURS):
        side = isqrt(inputs // colours)
        if SMALLEST <= side <= LARGEST and side * side * colours == inputs:
            return Layout(side, side, colours, last)
    return None


def is_on_images(weight: Weight, grid: Sequence[int] | None = None) -> bool:
    """Whether a weight is a dense kernel whose inputs are those of this image, or of one that can be deduced."""
    return inputs_of(weight, None if grid is None else layout_of(grid)) is not None


def images(weight: Weight, limit: int = 64, grid: Sequence[int] | None = None) -> Filters | None:
    """Return the first `limit` units of a dense kernel as pictures of their inputs; None for any other weight.

    `grid` is the height and width of the image, with its colours if it has any: (32, 32, 3) for those of a pixel in
    consecutive inputs, as in Keras, (3, 32, 32) for one plane after another, as in PyTorch. Without it the image is taken to
    be square, grey or with three colours, if the number of inputs fits. The attribute `deduced` of the result says so, and which
    axis was taken to be the inputs if the source does not say. Only the units that are returned are kept in memory.

    Raises `ShapeError` for a grid that is not one, and the errors of reading.

    Examples:
        >>> import numpy as np
        >>> from steelyard.core.readers import from_array
        >>> found = images(from_array("fc.weight", np.ones((128, 784)), role=Role.KERNEL, axes="out in"))
        >>> found.pictures.shape, found.count, found.deduced[:16]
        ((64, 28, 28, 1), 128, '784 inputs taken')
    """
    given = None if grid is None else layout_of(grid)
    found = inputs_of(weight, given)
    if found is None:
        return None
    axis, layout = found
    count = weight.shape[1 - axis]
    kept = min(limit, count)
    window = (0, 0, kept, layout.inputs) if axis else (0, 0, layout.inputs, kept)
    rows = part_of_matrix(weight, window)
    rows = rows if axis else rows.T
    sides = (layout.height, layout.width)
    pictures = rows.reshape(kept, *((*sides, layout.colours) if layout.last else (layout.colours, *sides)))
    pictures = pictures if layout.last else pictures.transpose(0, 2, 3, 1)
    how = f"{layout.inputs:,} inputs {'as' if given else 'taken as'} {layout}"
    how += "" if weight.axes else f" (the {'columns' if axis else 'rows'})"
    return Filters(pictures, [f"out {nth}" for nth in range(kept)], count, guessed=False, deduced=how)


def inputs_of(weight: Weight, given: Layout | None = None) -> tuple[int, Layout] | None:
    """Return the axis of a dense kernel's inputs and their layout, None for any other weight.

    Without axes PyTorch's order is tried first.
    """
    if len(weight.shape) != 2 or not prod(weight.shape) or weight.role not in (Role.KERNEL, Role.OTHER):
        return None
    words = weight.axes.split()
    for axis in (1, 0):
        if words and words[axis] != "in":
            continue
        inputs = weight.shape[axis]
        layout = deduced(inputs, last=axis == 0) if given is None else given if given.inputs == inputs else None
        if layout:
            return axis, layout
    return None
