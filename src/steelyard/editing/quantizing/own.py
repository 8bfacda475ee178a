"""Steelyard's own layout, for weights of any name and number of axes; `schemes.steelyard` reads it.

X.codes        int8 or float8 in the shape of X; codes of 4 bits are two in a byte along the last axis, the low bits first
X.scale        float32 (cells along each axis), or the exponents of MXFP4 as bytes of E8M0
X.zero_point   int8 (cells along each axis), for affine codes
X.shape        int64, for codes of 4 bits
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.core.readers import from_array
from steelyard.core.weight import Weight
from steelyard.editing.quantizing.cells import CellReader, Cells, coding_of, pairs
from steelyard.editing.quantizing.choosing import grid_of
from steelyard.numerics.grids import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Array
    from steelyard.editing.quantizing.request import Request


def left(weight: Weight, request: Request) -> str | None:
    """Return why a weight stays as it is; None where it is quantised."""
    grid = grid_of(weight, request)
    return grid if isinstance(grid, str) else None


def pieces(weight: Weight, request: Request) -> list[Weight]:
    """Return the stored weights of a quantised one."""
    grid = grid_of(weight, request)
    assert isinstance(grid, Grid)  # `left` is asked first
    cells = Cells(weight, grid, coding_of(request), request.calibrate)
    made = [_codes(weight, cells, request)]
    scale_type = "uint8" if request.kind == "mxfp4" else "float32"
    made.append(_beside(weight, "scale", CellReader(cells, grid.cells, Cells.only_scales, scale_type)))
    if request.affine:
        made.append(_beside(weight, "zero_point", CellReader(cells, grid.cells, _zeros, "int8")))
    if request.bits == 4:
        made.append(from_array(f"{weight.name}.shape", _lengths(weight.shape), layer=weight.layer))
    return made


def _lengths(shape: Sequence[int]) -> Array:
    import numpy as np

    return np.array(shape, np.int64)


def _zeros(cells: Cells, first: int, last: int) -> Array:
    scale, zero = cells.scales(first, last)
    return scale if zero is None else zero


def _codes(weight: Weight, cells: Cells, request: Request) -> Weight:
    facts = {"name": f"{weight.name}.codes", "encoding": "", "tied": None, "overlaps": None}
    if request.bits == 8:
        dtype = "int8" if request.kind == "int8" else request.kind
        return weight.replace(dtype=dtype, read=CellReader(cells, weight.shape, Cells.codes, dtype), **facts)
    shape = (*weight.shape[:-1], -(-weight.shape[-1] // 2))
    return weight.replace(dtype="uint8", shape=shape, read=CellReader(cells, shape, pairs, "uint8"), **facts)


def _beside(weight: Weight, word: str, read: CellReader) -> Weight:
    return Weight(name=f"{weight.name}.{word}", shape=read.shape, dtype=read.dtype, read=read, layer=weight.layer)
