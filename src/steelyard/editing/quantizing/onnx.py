"""Initializers of an ONNX model that a DequantizeLinear makes of X_quantized, X_scale and X_zero_point (`formats.onnx.qdq`).

Scales along an axis need version 13 of ONNX's operators; int4 and groups need version 21.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.original import ORIGINAL, Original
from steelyard.core.effective import Derivation, derived
from steelyard.core.weight import Weight
from steelyard.dtypes import numpy_dtype
from steelyard.editing.quantizing.cells import CellReader, Cells, coding_of
from steelyard.editing.quantizing.choosing import grid_of
from steelyard.errors import ShapeError
from steelyard.formats.onnx.qdq import ENDS, QDQ, facts_of, places
from steelyard.numerics.affine import affine
from steelyard.numerics.grids import Grid
from steelyard.numerics.row_changes import numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.editing.quantizing.cells import Rows
    from steelyard.editing.quantizing.request import Request

_DTYPES = ("float16", "bfloat16", "float32")
_BY_AXIS, _SMALL = 13, 21
TRAP = (
    "ONNX Runtime's default optimisation fuses an int8 DequantizeLinear with its MatMul, and quantises the inputs of that too; "
    "for the numbers of this file set graph_optimization_level=ORT_DISABLE_ALL, or session.qdq_matmulnbits_accuracy_level=1"
)
"""What a user of a quantised model must know."""


def unsuitable(weights: Weights, request: Request) -> dict[str, str]:
    """Return the weights that no DequantizeLinear can make. Raises `ShapeError` for weights that are not of an ONNX model."""
    original = weights.meta.get(ORIGINAL)
    if not isinstance(original, Original) or original.framework != "ONNX":
        raise ShapeError(
            "like='onnx' quantises the initializers of a model that was read from an .onnx file; these weights are not"
        )
    opset = weights.meta.get("opset")
    version = max(opset.get("", 0), opset.get("ai.onnx", 0)) if isinstance(opset, dict) else 0
    needed = _SMALL if request.kind == "int4" or request.group else _BY_AXIS
    if version < needed:
        what = "int4 and groups need" if needed == _SMALL else "scales by outputs need"
        raise ShapeError(
            f"{what} version {needed} of ONNX's operators, and the model has {version}; export it with opset {needed}"
        )
    initializers, _ = places(original.source)
    taken = {f"{name}{end}" for name in weights for end in ENDS} & set(weights)
    return {
        name: "not an initializer of the graph" if name not in initializers else "stored as float64"
        for name, weight in weights.items()
        if name not in initializers or weight.dtype not in _DTYPES or any(f"{name}{end}" in taken for end in ENDS)
    }


def left(weight: Weight, request: Request) -> str | None:
    """Return why a weight stays as it is; None where it is quantised."""
    grid = grid_of(weight, request)
    if isinstance(grid, str):
        return grid
    return "has groups, and more than two axes" if request.group and len(weight.shape) > 2 else None


def axis_of(weight: Weight, request: Request) -> tuple[int, int]:
    """Return the axis of the scales, and how many numbers along it share one; 0 for a scale of each place of the axis."""
    grid = grid_of(weight, request)
    assert isinstance(grid, Grid)
    if request.group:
        return next(axis for axis, side in enumerate(grid.sides) if side == request.group), request.group
    return next((axis for axis, side in enumerate(grid.sides) if side == 1 < grid.shape[axis]), 0), 0


def pieces(weight: Weight, request: Request) -> list[Weight]:
    """Return the initializers of a quantised one."""
    grid = grid_of(weight, request)
    assert isinstance(grid, Grid)
    cells = Cells(weight, grid, coding_of(request, weight.dtype, zero=1.0), request.calibrate)
    shape = grid.cells if request.group else tuple(length for length in grid.cells if length > 1)
    return [
        weight.replace(
            name=f"{weight.name}{ENDS[0]}",
            dtype=request.kind,
            encoding="",
            tied=None,
            overlaps=None,
            read=CellReader(cells, weight.shape, Cells.codes, request.kind),
        ),
        _made(weight, ENDS[1], shape, weight.dtype, cells, Cells.only_scales),
        _made(weight, ENDS[2], shape, request.kind, cells, _zeros),
    ]


def _zeros(cells: Cells, first: int, last: int) -> Array:
    scale, zero = cells.scales(first, last)
    return scale * 0 if zero is None else zero


def _made(weight: Weight, end: str, shape: tuple[int, ...], dtype: str, cells: Cells, rows: Rows) -> Weight:
    read = CellReader(cells, cells.grid.cells, rows, dtype)
    return Weight(name=f"{weight.name}{end}", shape=shape, dtype=dtype, read=read, layer=weight.layer)


def meta(request: Request, quantised: Mapping[str, Weight]) -> dict[str, object]:
    """Return what the writer of the model must know."""
    return {QDQ: {name: axis_of(weight, request) for name, weight in quantised.items()}, "notes": [TRAP]}


def derive(weights: Weights) -> Callable[[Pieces], Iterator[Weight]]:
    """Return what makes the effective weights of quantised ones that are not written yet."""
    facts = facts_of(weights)

    def made(pieces: Pieces) -> Iterator[Weight]:
        for name, (axis, block) in facts.items():
            stored, scale, zero = (pieces.get(f"{name}{end}") for end in ENDS)
            if stored is not None and scale is not None and zero is not None:
                yield _effective(name, (stored, scale, zero), axis, block)

    return made


def _effective(name: str, parts: tuple[Weight, Weight, Weight], axis: int, block: int) -> Weight:
    stored, scale, zero = parts
    sides = tuple(1 if place != axis else block for place in range(len(stored.shape)))
    if not block:
        one = scale.size == 1
        sides = tuple(1 if place == axis and not one else length for place, length in enumerate(stored.shape))
    grid = tuple(length // side for length, side in zip(stored.shape, sides, strict=True))
    exact = affine(stored, numbers(scale, grid), numbers(zero, grid), sides)
    dtype = scale.dtype
    facts = Derivation(f"{stored.dtype} of ONNX, DequantizeLinear", tuple(part.name for part in parts))

    def read(start: int, stop: int) -> Array:
        return exact(start, stop).astype(numpy_dtype(dtype), copy=False)

    return derived(name, stored.shape, read, facts, dtype=dtype, role=stored.role, axes=stored.axes)
