"""Integers in place of floats: the codes of cells of a weight, which share a scale, and perhaps a zero point.

A grid cuts a weight into cells by a length for each axis: (1, in) for one scale an output of a matrix (out, in), (1, 32) for
groups of 32 inputs. code = round(number / scale) + zero point, number = (code - zero point) * scale.

| range | scale of symmetric codes of b bits | codes |
|---|---|---|
| restricted | absmax / (2^(b-1) - 1), as ONNX Runtime, bitsandbytes and TFLite have it | -(2^(b-1) - 1) to 2^(b-1) - 1 |
| full | absmax / (2^(b-1) - 1/2), as compressed-tensors and torchao have it | -2^(b-1) to 2^(b-1) - 1 |
| affine | (max - min) / (2^b - 1), where the range includes 0 | -2^(b-1) to 2^(b-1) - 1 |
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import LossyError, ShapeError, printable
from steelyard.numerics.packed import rows as rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weight import Array, Weight

    Errors = Callable[[Array, Array, Array], Array]
    """Returns the squared error of each cell of numbers for a lower and an upper end of its range."""

PERCENTILE = 99.9
"""Percent of the magnitudes of a cell that its range covers where it is calibrated by a percentile."""
SHRINKS = [0.95**step for step in range(28)]
"""The parts of the whole range among which the one with the least squared error is chosen."""
_CALIBRATED = 1 << 16
"""numbers that are calibrated at a time, so that they stay in the cache"""
_BAND = 1 << 20
"""numbers that are read at a time where a cell is longer than that"""


class Grid(NamedTuple):
    """The shape of a weight, and the lengths of its cells, which divide it."""

    shape: tuple[int, ...]
    sides: tuple[int, ...]

    @property
    def cells(self) -> tuple[int, ...]:
        """The number of cells along each axis: the shape of the scales."""
        return tuple(length // side for length, side in zip(self.shape, self.sides, strict=True))

    def split(self, values: Array) -> Array:
        """Return whole cells with two axes for each of the weight: the cells, and the numbers of a cell."""
        rows = values.shape[0]
        pairs = [(rows // self._height(rows), self._height(rows))]
        pairs += [(length // side, side) for length, side in zip(self.shape[1:], self.sides[1:], strict=True)]
        return values.reshape([part for pair in pairs for part in pair])

    def _height(self, rows: int) -> int:
        """The rows of a cell in a run of rows, which may be a part of one."""
        return min(self.sides[0], max(rows, 1))

    def spread(self, scales: Array) -> Array:
        """Return scales of cells in the shape that broadcasts over what `split` returns."""
        return scales.reshape([part for length in scales.shape for part in (length, 1)])

    def by_cell(self, values: Array) -> Array:
        """Return the numbers of each cell as a row."""
        count = len(self.shape)
        order = [2 * axis for axis in range(count)] + [2 * axis + 1 for axis in range(count)]
        split = self.split(values)
        return split.transpose(order).reshape(prod(split.shape[::2]), -1)


class Range(NamedTuple):
    """How ends of a range become a scale: by `divisor` for symmetric codes from `low` to `high`."""

    bits: int
    divisor: float
    low: int
    high: int
    affine: bool = False

    @property
    def text(self) -> str:
        """The range in words, for the facts of a quantised net."""
        scale = f"(max - min) / {(1 << self.bits) - 1}" if self.affine else f"absmax / {self.divisor:g}"
        return f"scale {scale}, codes {self.low} to {self.high}"


def range_of(bits: int, *, full: bool, affine: bool) -> Range:
    """Return a range of codes.

    >>> range_of(8, full=False, affine=False).text
    'scale absmax / 127, codes -127 to 127'
    """
    half = 1 << (bits - 1)
    if affine:
        return Range(bits, half - 0.5, -half, half - 1, affine=True)
    return Range(bits, half - 0.5, -half, half - 1) if full else Range(bits, half - 1, 1 - half, half - 1)


def extremes(weight: Weight, grid: Grid, first: int, last: int) -> tuple[Array, Array]:
    """Return the smallest and the largest number of the cells of rows [first, last), which begin and end with a cell.

    Raises `LossyError` for numbers that are not finite.
    """
    import numpy as np

    low = high = None
    width = max(prod(grid.shape[1:]), 1)
    step = max(_BAND // width, 1) if last - first <= grid.sides[0] else last - first
    for start in range(first, last, step):
        part = grid.split(floats(weight, start, min(start + step, last)))
        odd = tuple(range(1, part.ndim, 2))
        smallest, largest = part.min(axis=odd), part.max(axis=odd)
        low = smallest if low is None else np.minimum(low, smallest)
        high = largest if high is None else np.maximum(high, largest)
    if low is None or high is None:
        raise ShapeError(f"{printable(weight.name)} has no numbers")
    return low, high


def floats(weight: Weight, first: int, last: int) -> Array:
    """Return rows of a weight in float32. Raises `LossyError` for numbers that are not finite."""
    import numpy as np

    stored = rows_of(weight, first, last)
    with np.errstate(over="ignore", invalid="ignore"):  # invalid: a signalling NaN
        values = stored.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise LossyError(f"{printable(weight.name)} holds NaN or Inf, or numbers above those of float32; they have no code")
    return values


def ends(weight: Weight, grid: Grid, how: str, error: Errors, first: int, last: int) -> tuple[Array, Array]:
    """Return both ends of the range of each cell of rows [first, last), by `how` they are calibrated.

    "max" takes the extremes, "percentile" leaves out the largest 0.1 % on each side, "mse" shrinks the extremes to where the
    squared error that `error` returns is least.
    """
    import numpy as np

    if how == "max":
        return extremes(weight, grid, first, last)
    step = max(_CALIBRATED // max(prod(grid.shape[1:]), 1) // grid.sides[0], 1) * grid.sides[0]
    bands = [(start, min(start + step, last)) for start in range(first, last, step)]
    pairs = [_calibrated(weight, grid, how, error, *band) for band in bands]
    return np.concatenate([low for low, _ in pairs]), np.concatenate([high for _, high in pairs])


def _calibrated(weight: Weight, grid: Grid, how: str, error: Errors, first: int, last: int) -> tuple[Array, Array]:
    import numpy as np

    low, high = extremes(weight, grid, first, last)
    numbers = grid.by_cell(floats(weight, first, last))
    if how == "percentile":
        made = np.percentile(numbers, [100 - PERCENTILE, PERCENTILE], axis=1).astype(np.float32)
        return made[0].reshape(low.shape), made[1].reshape(low.shape)
    flat_low, flat_high = low.reshape(-1), high.reshape(-1)
    best = np.ones(len(flat_low), np.float32)
    least = np.full(len(flat_low), np.inf)
    for shrink in SHRINKS:
        found = error(numbers, flat_low * np.float32(shrink), flat_high * np.float32(shrink))
        better = found < least
        best[better], least[better] = shrink, found[better]
    return (flat_low * best).reshape(low.shape), (flat_high * best).reshape(low.shape)


def scales(low: Array, high: Array, wanted: Range, zero: float) -> tuple[Array, Array | None]:
    """Return the scales of cells in float32, and their zero points in affine codes; a cell of zeros has the scale `zero`."""
    import numpy as np

    if not wanted.affine:
        found = np.maximum(np.abs(low), np.abs(high)) / np.float32(wanted.divisor)
        return np.where(found == 0, np.float32(zero), found), None
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    step = (high - low) / np.float32((1 << wanted.bits) - 1)
    found = np.where(step == 0, np.float32(zero), step)
    shift = np.clip(np.rint(np.float32(wanted.low) - low / found), wanted.low, wanted.high)
    return found, np.where(step == 0, 0, shift).astype(np.float32)


def codes(values: Array, scale: Array, zero: Array | None, wanted: Range) -> Array:
    """Return the codes of numbers, by scales and zero points that broadcast with them."""
    import numpy as np

    found = values / scale
    if zero is not None:
        found += zero
    np.clip(found, wanted.low, wanted.high, out=found)
    return np.rint(found, out=found).astype(np.int8)
