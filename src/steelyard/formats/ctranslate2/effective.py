"""The weights that a net of CTranslate2 computes with: int8 and int16 divided by their scales."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from steelyard.core.effective import Derivation, Pieces, attempted, derived
from steelyard.errors import ShapeError
from steelyard.numerics.packed import flattened, matrix_reader, rows
from steelyard.numerics.scales import Scales, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from steelyard.core.weight import Array, Weight

_SCALE, _ZERO = "_scale", "_zero"


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights with scales: code / scale of the row, or of all numbers."""
    stored: Mapping[str, Weight] = {name: weight for name in pieces if (weight := pieces.get(name)) is not None}
    for name, scale in stored.items():
        codes = stored.get(name.removesuffix(_SCALE)) if name.endswith(_SCALE) else None
        if codes is None:
            continue
        zero = stored.get(codes.name + _ZERO)
        parts = (codes.name, scale.name, *((zero.name,) if zero else ()))
        facts = Derivation(f"CTranslate2 {codes.dtype}", parts)
        yield attempted(codes.name, facts, partial(_weight, codes, scale, zero, facts))


def _weight(codes: Weight, scale: Weight, zero: Weight | None, facts: Derivation) -> Weight:
    if codes.dtype not in ("int8", "int16") or zero is not None:
        raise ShapeError(f"its numbers are {codes.dtype}{' with zero points' if zero else ''}, in the order of a kernel")
    read = matrix_reader(codes.shape, partial(_part, flattened(codes), spread(scale, codes.shape)))
    return derived(codes.name, codes.shape, read, facts, role=codes.role, axes=codes.axes)


def _part(codes: Weight, scales: Scales, first: int, last: int) -> Array:
    import numpy as np

    values = rows(codes, first, last).astype(np.float32)
    scales.apply(np.divide, values, first)
    return values
