"""The scales and codes of one weight by the cells of a grid, computed block by block when they are read."""

from __future__ import annotations

from functools import lru_cache, partial
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.readers import by_rows, from_array
from steelyard.core.together import likeness, read_rows
from steelyard.dtypes import numpy_dtype
from steelyard.editing.quantizing import floating
from steelyard.numerics import grids
from steelyard.numerics.packed import packed_pairs
from steelyard.numerics.row_changes import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from steelyard.core.weight import Array, Weight
    from steelyard.editing.quantizing.request import Request
    from steelyard.numerics.grids import Errors, Grid

    Scales = tuple[Array, Array | None]
    """The scales of cells, and their zero points in affine codes."""
    Rows = Callable[["Cells", int, int], Array]

_MOST_KEPT = 1 << 20
"""cells of a weight whose calibrated scales are kept"""


class Coding(NamedTuple):
    """How the ends of the range of cells become scales, and numbers become codes by these."""

    scales: Callable[[Array, Array], Scales]
    codes: Callable[[Array, Array, Array | None], Array]
    error: Errors


@lru_cache(maxsize=64)
def coding_of(request: Request, scale_dtype: str = "float32", *, zero: float | None = None) -> Coding:
    """Return the coding of a kind of number, whose scales are rounded to the type in which they are stored.

    `zero` is the scale of a cell of zeros; without it that is the distance of 1 to the next number of the type.
    """
    if request.kind == "mxfp4":
        return Coding(_exponents, _float4, _no_error)
    empty = _epsilon(scale_dtype) if zero is None else zero
    if request.kind == "float8_e4m3fn":
        ranged: Callable[[Array, Array], Scales] = partial(_float8_scales, zero=empty)
        codes: Callable[[Array, Array, Array | None], Array] = _float8
    else:
        settles = not request.like and not request.affine
        ranged = partial(_settled if settles else grids.scales, wanted=request.range, zero=empty)
        codes = partial(grids.codes, wanted=request.range)

    def scales(low: Array, high: Array) -> Scales:
        found, shift = ranged(low, high)
        return _stored(found, scale_dtype), shift

    return Coding(scales, codes, partial(_squared_error, scales, codes))


def _settled(low: Array, high: Array, wanted: grids.Range, zero: float) -> Scales:
    """Return symmetric scales that are found again from the numbers that they make: quantising twice is quantising once."""
    import numpy as np

    found, _ = grids.scales(low, high, wanted, zero)
    divisor = np.float32(wanted.divisor)
    with np.errstate(all="ignore"):
        again = found * divisor / divisor
    return np.where(np.isfinite(again) & (again > 0), again, found), None


def _epsilon(dtype: str) -> float:
    return {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(dtype, 2.0**-23)


def _stored(scale: Array, dtype: str) -> Array:
    """Round scales to the type in which they are stored, but not to 0."""
    import numpy as np

    if dtype == "float32":
        return scale
    with np.errstate(over="ignore", under="ignore"):
        rounded = scale.astype(numpy_dtype(dtype)).astype(np.float32)
    return np.where(rounded == 0, np.float32(2.0**-24), rounded)


def _float8_scales(low: Array, high: Array, zero: float) -> Scales:
    return floating.float8_scales(low, high, zero), None


def _float8(values: Array, scale: Array, _zero: Array | None) -> Array:
    return floating.float8_codes(values, scale)


def _exponents(low: Array, high: Array) -> Scales:
    return floating.exponents(low, high), None


def _float4(values: Array, exponent: Array, _zero: Array | None) -> Array:
    return floating.float4_codes(values, exponent)


def _no_error(numbers: Array, _low: Array, _high: Array) -> Array:
    raise NotImplementedError(f"the {len(numbers)} scales of MXFP4 are not calibrated")


def _squared_error(
    scales: Callable[[Array, Array], Scales],
    codes: Callable[[Array, Array, Array | None], Array],
    numbers: Array,
    low: Array,
    high: Array,
) -> Array:
    import numpy as np

    scale, shift = scales(low, high)
    column = None if shift is None else shift[:, None]
    found = codes(numbers, scale[:, None], column).astype(np.float32)
    difference = (found if column is None else found - column) * scale[:, None] - numbers
    total: Array = np.einsum("ij,ij->i", difference, difference, dtype=np.float64)
    return total


class Cells:
    """The scales, zero points and codes of a weight; rows of cells are those along its first axis."""

    __slots__ = ("_coding", "_how", "_is_one_row", "_whole", "grid", "weight")

    def __init__(self, weight: Weight, grid: Grid, coding: Coding, how: str) -> None:
        self.weight = weight
        self.grid = grid
        self._coding = coding
        self._how = how
        self._is_one_row = grid.cells[0] == 1 and grid.shape[0] > 1
        # every row needs the same scales, or to find them takes long: they are computed once
        is_kept = self._is_one_row or (how != "max" and prod(grid.cells) <= _MOST_KEPT)
        self._whole = kept(self._both) if is_kept else None

    @property
    def is_measured(self) -> bool:
        """Whether each range has the extremes of its cell, which do not depend on the other cells."""
        return self._how == "max"

    @property
    def kind(self) -> tuple[Hashable, ...]:
        """What the cells of two weights have in common if their codes are computed alike."""
        return self.grid, id(self._coding)

    def repeated(self, rows: Array) -> Cells:
        """Return the cells of several weights like this one, whose numbers are rows, along the first axis."""
        shape = (len(rows) * self.grid.shape[0], *self.grid.shape[1:])
        weight = from_array(self.weight.name, rows.reshape(shape))
        return Cells(weight, self.grid._replace(shape=shape), self._coding, self._how)

    def _both(self) -> Array:
        import numpy as np

        scale, zero = self._measured(0, self.grid.cells[0])
        return np.stack([scale, scale if zero is None else zero])

    def _measured(self, first: int, last: int) -> Scales:
        side = self.grid.sides[0]
        low, high = grids.ends(self.weight, self.grid, self._how, self._coding.error, first * side, last * side)
        return self._coding.scales(low, high)

    def scales(self, first: int, last: int) -> Scales:
        """Return the scales and zero points of the rows [first, last) of cells."""
        import numpy as np

        if last <= first:
            empty = np.zeros((0, *self.grid.cells[1:]), np.float32)
            return empty, empty
        if self._whole is None:
            return self._measured(first, last)
        scale, zero = self._whole()[:, first:last]
        return scale, zero if self._has_zeros() else None

    def only_scales(self, first: int, last: int) -> Array:
        """Return the scales of the rows [first, last) of cells."""
        return self.scales(first, last)[0]

    def _has_zeros(self) -> bool:
        wanted = getattr(self._coding.codes, "keywords", {}).get("wanted")
        return wanted is not None and wanted.affine

    def codes(self, first: int, last: int) -> Array:
        """Return the codes of the rows [first, last) of the weight, in its shape."""
        side = self.grid.sides[0]
        begin, end = first // side, -(-last // side)
        if last <= first:
            return self._coded(grids.floats(self.weight, 0, 0), *self.scales(0, 0))
        scale, zero = self.scales(begin, end)
        if self._is_one_row:
            return self._coded(grids.floats(self.weight, first, last), scale, zero)
        values = grids.floats(self.weight, begin * side, end * side)
        return self._coded(values, scale, zero)[first - begin * side : last - begin * side]

    def _coded(self, values: Array, scale: Array, zero: Array | None) -> Array:
        if not len(values):
            return self._coding.codes(values, values + 1 if scale.dtype.kind == "f" else values.astype("u1"), None)
        spread = self.grid.spread
        split = self._coding.codes(self.grid.split(values), spread(scale), None if zero is None else spread(zero))
        return split.reshape(values.shape)


def pairs(cells: Cells, first: int, last: int) -> Array:
    """Return the codes of 4 bits of the rows [first, last) of a weight, two in a byte."""
    return packed_pairs(cells.codes(first, last))


class CellReader:
    """A reader of what `rows(cells, first, last)` makes of the cells of a weight, in a stored type.

    `shape` is that of all rows: those of the weight, or those of its cells.
    """

    __slots__ = ("_read", "cells", "dtype", "rows_of", "shape")

    def __init__(self, cells: Cells, shape: tuple[int, ...], rows: Rows, dtype: str) -> None:
        self.cells = cells
        self.shape = shape
        self.rows_of = rows
        self.dtype = dtype
        self._read = by_rows(shape, self._stored)

    def __call__(self, start: int, stop: int) -> Array:
        return self._read(start, stop)

    def _stored(self, first: int, last: int) -> Array:
        return self.rows_of(self.cells, first, last).astype(numpy_dtype(self.dtype), copy=False)

    def likeness(self) -> Hashable:
        """Return what readers share that are read together: the cells of their weights, and how these become codes."""
        key = likeness(self.cells.weight.read)
        is_cut = self.cells.is_measured and key is not None
        return (self.rows_of, self.shape, *self.cells.kind, self.cells.weight.dtype, key) if is_cut else None

    def rows(self, readers: Sequence[CellReader], width: int) -> Array | None:
        """Return the numbers of several readers as rows: those of their weights, put together along the first axis."""
        read = read_rows([reader.cells.weight for reader in readers])
        if read is None:
            return None
        count = len(readers)
        whole = CellReader(self.cells.repeated(read), (count * self.shape[0], *self.shape[1:]), self.rows_of, self.dtype)
        import numpy as np

        return np.ascontiguousarray(whole._stored(0, whole.shape[0])).reshape(count, width)
