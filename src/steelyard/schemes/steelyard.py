"""Weights that `steelyard.quantize` made in its own layout: codes with a scale for each cell of a grid.

X.codes        int8, float8, or codes of 4 bits as uint8: two in a byte along the last axis, the low bits first
X.scale        float32 (cells along each axis of X), or uint8: powers of two for codes of E2M1
X.zero_point   int8 (cells along each axis)
X.shape        int64: the shape of X, for codes of 4 bits

The number of cells divides each axis: number = (code - zero point) * scale.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.core.effective import Derivation, Pieces, attempted, derived
from steelyard.errors import ShapeError
from steelyard.numerics.affine import affine
from steelyard.numerics.packed import E2M1, flattened, low_first, matrix_reader, rows
from steelyard.numerics.row_changes import kept, numbers
from steelyard.numerics.scales import floats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.weight import Array, Weight
    from steelyard.numerics.row_changes import Numbers

_CODES = ("int8", "float8_e4m3fn", "uint8")
_PARTS = ("scale", "zero_point", "shape")


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights whose codes have a scale next to them."""
    for name in pieces.stems("codes"):
        codes, parts = pieces.get(f"{name}.codes"), pieces.of(name, *_PARTS)
        if codes is None or parts[0] is None or codes.dtype not in _CODES:
            continue
        facts = Derivation("Steelyard's codes", (codes.name, *(part.name for part in parts if part)))
        yield attempted(name, facts, partial(_weight, name, codes, parts, facts))


def _weight(name: str, codes: Weight, parts: tuple[Weight | None, ...], facts: Derivation) -> Weight:
    scale, zero, shape = parts
    assert scale is not None  # the caller has asked
    stored, kind = (codes, codes.dtype) if codes.dtype != "uint8" else _unpacked(codes, shape, powers=scale.dtype == "uint8")
    if scale.dtype not in ("float32", "uint8") or (scale.dtype == "uint8") != (kind == "mxfp4"):
        raise ShapeError(f"its scales are {scale.dtype}")
    sides = _sides(stored.shape, scale.shape)
    if zero is not None and (zero.dtype != "int8" or zero.shape != scale.shape):
        raise ShapeError(f"its zero points are {zero.dtype} {list(zero.shape)}, and its scales {list(scale.shape)}")
    by = "x".join(map(str, sides))
    read = affine(stored, _scales(scale), None if zero is None else numbers(zero, scale.shape), sides)
    facts = facts._replace(scheme=f"{kind} by Steelyard", settings={"cell": by})
    return derived(name, stored.shape, read, facts, role=codes.role, axes=codes.axes)


def _scales(scale: Weight) -> Numbers:
    return kept(lambda: floats(scale.numpy()).astype("f8"))


def _sides(shape: tuple[int, ...], cells: tuple[int, ...]) -> tuple[int, ...]:
    """Return the lengths of a cell."""
    if len(shape) != len(cells) or 0 in cells or any(length % count for length, count in zip(shape, cells, strict=True)):
        raise ShapeError(f"its scales have the shape {list(cells)}, which does not divide {list(shape)}")
    return tuple(length // count for length, count in zip(shape, cells, strict=True))


def _unpacked(codes: Weight, said: Weight | None, *, powers: bool) -> tuple[Weight, str]:
    """Return codes of 4 bits with a byte or a float each."""
    if said is None or said.dtype != "int64" or said.shape != (len(codes.shape),):
        raise ShapeError("its shape is missing, or has another number of axes")
    shape = tuple(map(int, said.numpy()))
    wanted = (*shape[:-1], -(-shape[-1] // 2)) if shape else ()
    if not shape or min(shape) < 1 or not limits.is_possible(shape) or codes.shape != wanted:
        raise ShapeError(f"its shape is {list(shape)}, and its codes have {list(codes.shape)}")
    flat = flattened(codes)

    def part(first: int, last: int) -> Array:
        import numpy as np

        bits = low_first(rows(flat, first, last), 4)[:, : shape[-1]]
        if powers:
            return np.array(E2M1, np.float32)[bits]
        return (bits.astype(np.int8) ^ np.int8(8)) - np.int8(8)

    read = matrix_reader((prod(shape[:-1]), shape[-1]), part)
    return codes.replace(shape=shape, dtype="float32" if powers else "int8", read=read), "mxfp4" if powers else "int4"
