"""HQQ: codes of 1, 2, 3, 4 or 8 bits, parts of the rows in the bits of one word, with a float zero point for each group.

L.W_q          uint8 (rows / fields, width); int32 for 3 bits, with ten codes in a word
L.scale        float (rows, 1) for axis 1, (1, width) for axis 0
L.zero         float, the same shape
L.shape        int64 (2), the shape of the weight; L.nbits, L.axis, L.group_size, L.packing, as numbers or a text

The highest field of a word has the first part of the rows, the next field the second part; rows at the end are padding.
Of the matrix (rows, width): weight = ((code - zero) * scale).reshape(shape), in groups of a row (axis 1) or of a column (axis 0).
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.core.effective import Derivation, Pieces, attempted, derived, joined
from steelyard.core.weight import Role
from steelyard.errors import ShapeError, quoted
from steelyard.numerics.packed import matrix_reader, stacked_fields
from steelyard.numerics.scales import Scales, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.weight import Array, Weight

_PARTS = (
    "W_q", "scale", "zero", "shape", "nbits", "axis", "group_size", "packing", "quant_scale", "quant_zero", "view_as_float",
    "unpack_view_dtype", "compute_dtype", "offload_meta", "encoded_state_dict", "stores_quant_config", "channel_wise", "optimize",
    "round_zero", "meta_scale", "meta_zero", "max_v", "min_v",
)  # fmt: skip
_SHIFTS = {
    8: (0,),
    4: (4, 0),
    3: (27, 24, 21, 18, 15, 12, 9, 6, 3, 0),
    2: (6, 4, 2, 0),
    1: (7, 6, 5, 4, 3, 2, 1, 0),
}
"""The shift of each part of the rows, by the number of bits."""
_PACKINGS = {8: "8bit_u8", 4: "4bit_u8", 3: "3bit_32", 2: "2bit_u8", 1: "1bit_u8"}


class _Rows(NamedTuple):
    """The codes of a matrix, and what is done with them."""

    codes: Weight
    bits: int
    scales: Scales
    zeros: Scales


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of linear layers."""
    for stem in pieces.stems("W_q"):
        found = dict(zip(_PARTS, pieces.of(stem, *_PARTS), strict=True))
        known = {leaf: weight for leaf, weight in found.items() if weight is not None}
        name, facts = joined(stem, "weight"), Derivation("HQQ", tuple(weight.name for weight in known.values()))
        yield attempted(name, facts, partial(_weight, name, known, facts))


def _weight(name: str, found: dict[str, Weight], facts: Derivation) -> Weight:
    if missing := [leaf for leaf in ("scale", "zero", "shape", "nbits", "axis") if leaf not in found]:
        raise ShapeError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    for leaf in ("quant_scale", "quant_zero", "view_as_float"):
        if leaf in found and _number(found[leaf]):
            raise ShapeError(f"{leaf} is set: its {leaf.rpartition('_')[2]}s are stored in a way that is not read")
    bits, axis, shape = _number(found["nbits"]), _number(found["axis"]), _shape(found["shape"])
    if bits not in _SHIFTS or axis not in (0, 1):
        raise ShapeError(f"it has {bits} bits along axis {axis}")
    packing = _text(found["packing"]) if "packing" in found else None
    if packing not in (None, _PACKINGS[bits]):
        raise ShapeError(f"its packing is {quoted(str(packing))}, which is not read")
    codes, scale, zero = found["W_q"], found["scale"], found["zero"]
    height, width = _matrix(scale, shape, axis)
    fields = len(_SHIFTS[bits])
    if (
        codes.dtype != ("int32" if bits == 3 else "uint8")
        or len(codes.shape) != 2
        or codes.shape != (-(-height // fields), width)
    ):
        raise ShapeError(
            f"W_q is {codes.dtype} {codes.shape}, which does not hold {height:,} rows of {width:,} numbers of {bits} bits"
        )
    said = _number(found["group_size"]) if "group_size" in found and found["group_size"].size == 1 else None
    if said not in (None, 0, width if axis else height):
        raise ShapeError(f"group_size is {said}, and a scale is for {width if axis else height:,} numbers")
    if zero.size != 1 and zero.shape != scale.shape:
        raise ShapeError(f"zero is {zero.shape}, scale {scale.shape}")
    stored = _Rows(codes, bits, spread(scale, (height, width)), spread(zero, (height, width)))
    read = matrix_reader((height, width), partial(_part, stored))
    facts = facts._replace(scheme=f"HQQ {bits} bits", settings={"nbits": bits, "axis": axis})
    return derived(name, shape, read, facts, role=Role.KERNEL, axes="out in")


def _number(weight: Weight) -> int:
    """Return the only number of a stored weight."""
    if weight.size != 1 or weight.dtype not in ("int64", "int32", "uint8", "int8", "bool", "int16"):
        raise ShapeError(f"{weight.name.rpartition('.')[2]} is {weight.dtype} {weight.shape}, not an integer")
    return int(weight.numpy().reshape(-1)[0])


def _shape(weight: Weight) -> tuple[int, int]:
    numbers = tuple(map(int, weight.numpy())) if weight.shape == (2,) and weight.dtype in ("int64", "int32") else ()
    if len(numbers) != 2 or min(numbers) < 1 or not limits.is_possible(numbers):
        raise ShapeError(f"shape is {numbers}, not two positive integers")
    return numbers[0], numbers[1]


def _text(weight: Weight) -> str:
    return (
        weight.numpy().tobytes().decode("ascii", "replace") if weight.dtype == "uint8" and weight.size < limits.NPY_HEADER else ""
    )


def _matrix(scale: Weight, shape: tuple[int, int], axis: int) -> tuple[int, int]:
    """Return rows and columns of the matrix of codes, which has a group in each row (axis 1) or column (axis 0)."""
    size = prod(shape)
    group, rest = divmod(size, max(scale.size, 1))
    if rest or scale.shape != ((scale.size, 1) if axis else (1, scale.size)) or not scale.size:
        raise ShapeError(f"scale is {scale.shape} for {size:,} numbers along axis {axis}")
    return (scale.size, group) if axis else (group, scale.size)


def _part(stored: _Rows, first: int, last: int) -> Array:
    import numpy as np

    values = stacked_fields(stored.codes, stored.bits, _SHIFTS[stored.bits], first, last).astype(np.float32)
    stored.zeros.apply(np.subtract, values, first)
    stored.scales.apply(np.multiply, values, first)
    return values
