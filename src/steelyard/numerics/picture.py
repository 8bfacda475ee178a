"""A weight, or a window of it, as a picture: a matrix that has few enough cells to be drawn.

A cell that covers many numbers shows the one of greatest magnitude, with its sign, so that outliers survive zooming out; means
would make every large picture grey.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from math import inf, log, prod
from typing import TYPE_CHECKING

import numpy as np

from steelyard import sizes
from steelyard.core.casting import standard
from steelyard.core.weight import Weight
from steelyard.dtypes import itemsize
from steelyard.errors import ShapeError, printable
from steelyard.numerics.matrices import as_float64
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Window = tuple[int, int, int, int]
    """A part of a matrix: its first row and column, and the row and column after its last."""

USUAL = 0.99  # the share of cells that the colour scale covers


class Picture:
    """A weight as a matrix of `rows` and `columns`; its `window` is drawn.

    `values` are its cells in float64, each the number of greatest magnitude, with its sign, of `down` rows and `across`
    columns; cells at the lower and right end may cover fewer. A cell is NaN if one of its numbers is not finite.
    Complex numbers are represented by their magnitude. `exact` is true if each cell is one number.
    """

    __slots__ = ("across", "columns", "down", "is_complex", "rows", "values", "window")

    def __init__(
        self, matrix: tuple[int, int], window: Window, steps: tuple[int, int], values: Array, *, is_complex: bool = False
    ) -> None:
        self.rows, self.columns = matrix
        self.window = window
        self.down, self.across = steps
        self.values = values
        self.is_complex = is_complex

    @property
    def exact(self) -> bool:
        """Whether each cell is one number."""
        return self.down == self.across == 1

    @property
    def usual(self) -> float:
        """The end of the colour scale: the magnitude that 99% of the finite cells do not exceed, zero if all are zero.

        A few outliers must not make all other cells pale. If 99% of the cells are zero, it is the greatest magnitude.
        """
        sizes = np.abs(self.values[np.isfinite(self.values)])
        return float(np.quantile(sizes, USUAL, method="higher") or sizes.max()) if sizes.size else 0.0

    @property
    def caption(self) -> str:
        """A description of a cell."""
        if self.exact:
            return "each cell is the magnitude of one complex number" if self.is_complex else "each cell is one number"
        largest = "largest magnitude" if self.is_complex else "largest"
        numbers = "complex numbers" if self.is_complex else "numbers, by magnitude"
        return f"each cell is the {largest} of {self.down:,} \u00d7 {self.across:,} {numbers}"


def cut_of(shape: Sequence[int]) -> int:
    """Return the number of leading axes that are drawn as rows, so that the picture is as square as possible.

    >>> cut_of((128, 64, 3, 3)), cut_of((3, 3, 64, 128)), cut_of((5,))
    (1, 3, 0)
    """
    return _cut_of(tuple(shape))


@lru_cache(maxsize=4096)
def _cut_of(shape: tuple[int, ...]) -> int:
    def apart(cut: int) -> float:
        rows, columns = prod(shape[:cut]), prod(shape[cut:])
        return abs(log(rows / columns)) if rows and columns else inf

    return min(range(1, len(shape)), key=apart, default=0)


def matrix_of(shape: Sequence[int]) -> tuple[int, int]:
    """Return the rows and columns of a picture: the leading axes of a shape against the others, as square as possible.

    >>> matrix_of((128, 64, 3, 3)), matrix_of((3, 3, 64, 128)), matrix_of((5,)), matrix_of(())
    ((128, 576), (576, 128), (1, 5), (1, 1))
    """
    cut = cut_of(shape)
    return prod(shape[:cut]), prod(shape[cut:])


class Drawing:
    """Builds a picture from runs of the numbers of a weight, in any order.

    >>> from steelyard.core.readers import from_array
    >>> drawing = Drawing(from_array("w", np.zeros((2, 2))), 2, 2)
    >>> drawing.add(np.array([1.0, 2.0, 3.0]), 0), drawing.add(np.array([-4.0]), 3)
    (None, None)
    >>> drawing.picture().values.tolist()
    [[1.0, 2.0], [3.0, -4.0]]
    """

    __slots__ = ("_greatest", "_is_complex", "_least", "matrix", "steps", "window")

    def __init__(self, weight: Weight, height: int, width: int, window: Window | None = None) -> None:
        self._is_complex = weight.dtype.startswith("complex")
        rows, columns = self.matrix = matrix_of(weight.shape)
        top, left, bottom, right = self.window = window or (0, 0, rows, columns)
        if height < 1 or width < 1:
            raise ShapeError(f"{printable(weight.name)} cannot be drawn in {height:,} by {width:,} cells")
        _check_window(weight, self.window)
        down, across = self.steps = max(-(-(bottom - top) // height), 1), max(-(-(right - left) // width), 1)
        shape = -(-(bottom - top) // down), -(-(right - left) // across)
        self._least, self._greatest = np.full(shape, inf), np.full(shape, -inf)

    def add(self, block: Array, start: int) -> None:
        """Add consecutive numbers of the whole weight, beginning with element `start`."""
        columns = self.matrix[1]
        row, column = divmod(start, columns)
        while block.size:
            whole = column == 0 and block.size >= columns
            count = block.size // columns * columns if whole else min(columns - column, block.size)
            self.take(block[:count].reshape(-1, columns if whole else count), row, column)
            row, column, block = row + max(count // columns, 1), 0, block[count:]

    def take(self, block: Array, row: int, column: int) -> None:
        """Add a matrix that begins at this row and column of the window."""
        block = _real(block)
        cuts = [_cuts(at, length, step) for at, length, step in zip((row, column), block.shape, self.steps, strict=True)]
        part = tuple(slice(first, first + len(starts)) for first, starts in cuts)
        # minimum and maximum pass NaN on, so a cell with one is drawn as not finite; the larger magnitude is chosen at the end
        for extremes, larger in ((self._least, np.minimum), (self._greatest, np.maximum)):
            cells = larger.reduceat(_of_rows(larger, block, cuts[0][1], self.steps[0]), cuts[1][1], axis=1)
            larger(extremes[part], cells, out=extremes[part])

    def picture(self) -> Picture:
        """Return the picture; a cell without any number is NaN."""
        values = np.where(-self._least > self._greatest, self._least, self._greatest)
        values[~(np.isfinite(self._least) & np.isfinite(self._greatest))] = np.nan
        return Picture(self.matrix, self.window, self.steps, values, is_complex=self._is_complex)


def picture(weight: Weight, height: int = 64, width: int = 64, window: Window | None = None) -> Picture:
    """Draw a weight, or the `window` of its matrix (top, left, bottom, right), in at most `height` times `width` cells.

    Numbers are read block by block; for a small window, few others than its own. Raises `ShapeError` for a window
    outside the matrix, and the errors of reading.

    Examples:
        >>> from steelyard.core.readers import from_array
        >>> drawn = picture(from_array("w", np.array([[1.0, -3.0, 0.0], [2.0, 2.0, 0.5]])), 2, 2)
        >>> drawn.values.tolist(), drawn.down, drawn.across
        ([[-3.0, 0.0], [2.0, 0.5]], 1, 2)
    """
    drawing = Drawing(weight, height, width, window)
    for row, column, block in _blocks(weight, drawing.matrix[1], drawing.window):
        drawing.take(block, row, column)
    return drawing.picture()


def part_of_matrix(weight: Weight, window: Window) -> Array:
    """Return the numbers in a window of the weight as a matrix. Raises `ShapeError` for a window outside it.

    >>> from steelyard.core.readers import from_array
    >>> part_of_matrix(from_array("w", np.arange(6).reshape(2, 3)), (0, 1, 2, 3)).tolist()
    [[1, 2], [4, 5]]
    """
    _check_window(weight, window)
    top, left, bottom, right = window
    blocks = _blocks(weight, matrix_of(weight.shape)[1], window)
    first = next(blocks, None)
    if first is None:
        return weight.read(0, 0).reshape(bottom - top, right - left)
    part = np.empty((bottom - top, right - left), first[2].dtype)
    for row, column, block in chain([first], blocks):
        part[row : row + block.shape[0], column : column + block.shape[1]] = block
    return part


def change(one: Weight, other: Weight) -> Weight:
    """Return `other` - `one`, of the same shape, as a weight whose numbers are computed when they are read.

    >>> from steelyard.core.readers import from_array
    >>> change(from_array("a", np.ones(2)), from_array("b", np.array([1.0, 3.0]))).numpy().tolist()
    [0.0, 2.0]
    """

    def read(start: int, stop: int) -> Array:
        with np.errstate(all="ignore"):
            return as_float64(other.read(start, stop)) - as_float64(one.read(start, stop))

    word = "complex128" if any(each.dtype.startswith("complex") for each in (one, other)) else "float64"
    return other.replace(dtype=word, encoding="", tied=None, read=read)


def _check_window(weight: Weight, window: Window) -> None:
    rows, columns = matrix_of(weight.shape)
    top, left, bottom, right = window
    if not (0 <= top <= bottom <= rows and 0 <= left <= right <= columns):
        raise ShapeError(
            f"{printable(weight.name)} is drawn as {rows:,} rows and {columns:,} columns: {list(window)} is not a part of it"
        )


def _cuts(at: int, length: int, step: int) -> tuple[int, Array]:
    """Return the first cell that a run touches, and the offsets in the run at which its cells begin."""
    first = at // step
    starts = np.arange(first, (at + length - 1) // step + 1) * step - at
    return first, np.maximum(starts, 0)


def _of_rows(larger: np.ufunc, block: Array, starts: Array, step: int) -> Array:
    """Return the extremes of each column in cells of `step` rows, which begin at `starts`; the first and the last may have fewer.

    Full cells of wide rows are reduced by one call, as the middle axis of three, in a fraction of the time of `reduceat`.
    """
    if step == 1:
        return block
    if block.shape[1] < sizes.WIDE_ROWS:
        return np.asarray(larger.reduceat(block, starts, axis=0))
    begun = int(starts[1]) if len(starts) > 1 else len(block)
    full, left = divmod(len(block) - begun, step)
    cells = np.empty((len(starts), block.shape[1]), block.dtype)
    larger.reduce(block[:begun], axis=0, out=cells[0])
    larger.reduce(block[begun : len(block) - left].reshape(full, step, block.shape[1]), axis=1, out=cells[1 : full + 1])
    if left:
        larger.reduce(block[len(block) - left :], axis=0, out=cells[-1])
    return cells


def _blocks(weight: Weight, columns: int, window: Window) -> Iterator[tuple[int, int, Array]]:
    """Yield parts of the window as matrices, each with its first row and column in the window."""
    top, left, bottom, right = window
    if not (bottom - top) * (right - left):
        return
    in_runs = _reads_runs(weight, columns, right - left)
    wide = right - left if in_runs else columns
    if wide > sizes.PICTURE_BLOCK:
        for row in range(top, bottom):
            for column in range(left, right, sizes.PICTURE_BLOCK):
                end = min(column + sizes.PICTURE_BLOCK, right)
                yield row - top, column - left, weight.read(row * columns + column, row * columns + end)[None]
        return
    step = sizes.PICTURE_BLOCK // wide
    for row in range(top, bottom, step):
        end = min(row + step, bottom)
        if in_runs:
            block = np.stack([weight.read(at * columns + left, at * columns + right) for at in range(row, end)])
        else:
            block = weight.read(row * columns, end * columns).reshape(-1, columns)[:, left:right]
        yield row - top, 0, block


def _reads_runs(weight: Weight, columns: int, wide: int) -> bool:
    """Whether a run of each row is read, in place of whole rows.

    A file reads only the bytes of a run. Other readers may read a whole block, as in a compressed file.
    """
    if isinstance(weight.read, Stored):
        return (columns - wide) * itemsize(weight.dtype) > sizes.SKIPPED_BYTES
    return columns > sizes.NARROW_COLUMNS and wide < columns


def _real(block: Array) -> Array:
    """Return real numbers in a type in which NumPy computes."""
    plain = block.astype(standard(block.dtype), copy=False)
    with np.errstate(over="ignore"):  # numbers beyond float64 become Inf
        real = np.abs(plain) if plain.dtype.kind == "c" else plain
        kind = np.uint8 if real.dtype.kind == "b" else np.float64 if real.dtype.itemsize > 8 else real.dtype
        return real.astype(kind, copy=False)
