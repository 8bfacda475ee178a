"""The scales of quantised matrices: one for all, for each row, each column, each group of a row, or each block of the matrix."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import ShapeError
from steelyard.numerics.packed import in_groups, powers_of_two, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weight import Array, Weight
    from steelyard.numerics.packed import Operation

_USUAL = 128
"""The side of the blocks of DeepSeek, which most others use too."""


class Scales(NamedTuple):
    """What reads the scales of rows [first, last), or one row for all of them, and the number of columns that share one.

    `height` and `group` are the sides of a block.
    """

    read: Callable[[int, int], Array]
    height: int
    group: int

    def apply(self, operation: Operation, values: Array, first: int) -> None:
        """Change the rows of a matrix in place, which begin with row `first`, each number by its scale."""
        in_groups(operation, values, self.read(first, first + len(values)), self.group)


def floats(values: Array) -> Array:
    """Return scales in float32; bytes are those of E8M0."""
    import numpy as np

    return powers_of_two(values) if values.dtype == np.uint8 else values.astype(np.float32)


def spread(scale: Weight, shape: tuple[int, ...], blocks: tuple[int, int] | None = None) -> Scales:
    """Return the scales of a weight of this shape as those of a matrix: all axes but the last are its rows.

    `blocks` are the sides of a block, which may be cut at the end of an axis. Without them they follow from the shapes where
    the grid of scales divides the weight. Raises `ShapeError` where they do not, and for scales that do not fit.
    """
    if not (scale.dtype.startswith(("float", "bfloat")) or scale.dtype == "uint8") or 0 in (scale.size, prod(shape)):
        raise ShapeError(f"its scales are {scale.dtype} {scale.shape}")
    width = shape[-1] if shape else 1
    if scale.size == 1:
        return Scales(_constant(scale), prod(shape[:-1]), width)
    is_grid = len(scale.shape) == len(shape) > 1
    if blocks is None or not is_grid:
        leading = _without_ones(scale.shape)
        if len(leading) < len(shape) and leading == shape[: len(leading)]:
            height = prod(shape[len(leading) : -1])
            return Scales(_banded(scale, prod(shape[:-1]), height, 1), height, width)
        if is_grid and scale.size == scale.shape[-1] == width:
            return Scales(_constant(scale), prod(shape[:-1]), 1)
    if not is_grid or scale.shape[:-2] != shape[:-2]:
        raise ShapeError(f"scales {scale.shape} do not fit a weight {shape}")
    height, group = _checked(scale.shape, shape, blocks) if blocks else _sides(scale.shape, shape)
    return Scales(_banded(scale, shape[-2], height, scale.shape[-1]), height, group)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the axes of one element at its end."""
    last = max((axis for axis, length in enumerate(shape) if length != 1), default=-1)
    return shape[: last + 1]


def _checked(grid: tuple[int, ...], shape: tuple[int, ...], blocks: tuple[int, int]) -> tuple[int, int]:
    needed = tuple(-(-length // side) for length, side in zip(shape[-2:], blocks, strict=True))
    if grid[-2:] != needed:
        raise ShapeError(f"blocks of {blocks[0]} x {blocks[1]} need scales {needed} for a weight {shape}, not {grid}")
    return blocks


def _sides(grid: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the sides of blocks that divide a weight; raises `ShapeError` where other blocks fit too."""
    (height, rest), (group, left) = (divmod(length, count) for length, count in zip(shape[-2:], grid[-2:], strict=True))
    if rest or left:
        raise ShapeError(f"scales {grid} do not divide a weight {shape}, and no config says the size of its blocks")
    if grid[-2:] == tuple(-(-length // _USUAL) for length in shape[-2:]) and not {height, group} <= {_USUAL}:
        other = f"{_USUAL} x {_USUAL}"
        raise ShapeError(f"scales {grid} fit blocks of {height} x {group} and of {other}, and no config says which")
    return height, group


def _constant(scale: Weight) -> Callable[[int, int], Array]:
    return lambda _first, _last: floats(scale.read(0, scale.size))[None]


def _banded(scale: Weight, inner: int, height: int, columns: int) -> Callable[[int, int], Array]:
    """Return what reads the scales of rows; the first of each `inner` rows begins a band of `height` of them."""
    bands = -(-inner // height)
    flat = scale.replace(shape=(scale.size // columns, columns))

    def read(first: int, last: int) -> Array:
        import numpy as np

        if height == 1 or first >= last:
            return floats(rows(flat, first, max(last, first))) if height == 1 else np.ones((0, columns), np.float32)
        row = np.arange(first, last)
        band = row // inner * bands + row % inner // height
        found: Array = floats(rows(flat, int(band[0]), int(band[-1]) + 1))[band - band[0]]
        return found

    return read
