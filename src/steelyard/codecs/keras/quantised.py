"""The kernels of Keras's quantised layers, of files by the names and shapes of their variables, and of live layers.

int8               kernel / kernel_scale; of Embedding, each row divided by its scale
int4 per channel   the same, where a byte has two numbers along the last axis, the low one first, signed
int4 in blocks     (kernel - kernel_zero[g_idx]) * kernel_scale[g_idx]; of Embedding, the groups are of columns
float8             the kernel is stored in float32, and each call rounds kernel / kernel_scale to float8 E4M3
gptq               uint8 (units, inputs), (stored - kernel_zero[:, g_idx]) * kernel_scale[:, g_idx], transposed

EinsumDense packs its kernel as a matrix of the summed axes and the others. Source: `save_own_variables` and `_int4_call` of
`keras/src/layers/core/dense.py`, `embedding.py` and `einsum_dense.py` of Keras 3.15.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.effective import Derivation, derived, refused
from steelyard.core.readers import ByColumns, by_rows
from steelyard.core.weight import Role
from steelyard.errors import FormatError, ShapeError
from steelyard.numerics.affine import affine
from steelyard.numerics.packed import low_first, rows
from steelyard.numerics.row_changes import kept, numbers

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader, Weight
    from steelyard.numerics.row_changes import Numbers


class Packed(NamedTuple):
    """A quantised kernel with its other variables. `shape` is that of the plain kernel, where it is known."""

    name: str
    mode: str
    stored: Weight
    scale: Weight | None
    zero: Weight | None = None
    groups: Weight | None = None
    is_embedding: bool = False
    shape: tuple[int, ...] | None = None
    refusal: str = ""


def real(packed: Packed, role: Role = Role.KERNEL, axes: str = "") -> Weight:
    """Return the plain kernel, or its refusal."""
    parts = (packed.stored, packed.scale, packed.zero, packed.groups)
    names = tuple(part.name for part in parts if part is not None)
    facts = Derivation(f"{packed.mode} of Keras", names)
    try:
        unreadable = next((part.unreadable for part in parts if part is not None and part.unreadable), None)
        if unreadable or packed.refusal:
            raise ShapeError(unreadable or packed.refusal)
        shape, read = _MODES[packed.mode](packed)
    except ShapeError as error:
        return refused(packed.name, facts, str(error), packed.shape or ())
    return derived(packed.name, shape, read, facts, role=role, axes=axes if len(axes.split()) == len(shape) else "")


def _scale(packed: Packed) -> Weight:
    if packed.scale is None:
        raise ShapeError("it has no scale")
    return packed.scale


def _int8(packed: Packed) -> tuple[tuple[int, ...], Reader]:
    stored, scale = packed.stored, _scale(packed)
    shape = stored.shape
    known = scale.shape
    if packed.is_embedding:
        spread = (*known, 1) if len(known) == 1 else known
    else:
        spread = known[len(known) - len(shape) :] if len(known) > len(shape) else (1,) * (len(shape) - len(known)) + known
    fits = prod(spread) == scale.size and all(size in (1, length) for size, length in zip(spread, shape, strict=True))
    if len(shape) < 2 or not fits:
        raise ShapeError(f"its scale has shape {list(known)}, and the kernel {list(shape)}")
    groups = tuple(1 if size > 1 else length for size, length in zip(spread, shape, strict=True))
    return shape, affine(stored, numbers(scale, spread), None, groups, divides=True)


def _int4(packed: Packed) -> tuple[tuple[int, ...], Reader]:
    stored, scale = packed.stored, _scale(packed)
    if len(stored.shape) != 2:
        raise ShapeError(f"its packed kernel has shape {list(stored.shape)}, which is not a matrix")
    if packed.zero is not None:
        return _int4_blocks(packed, scale, packed.zero)
    units = _width(packed, scale.size if not packed.is_embedding else None)
    spread = (stored.shape[0], 1) if packed.is_embedding else (1, units)
    if scale.size != prod(spread):
        raise ShapeError(f"its scale has shape {list(scale.shape)}, and its packed kernel {list(stored.shape)}")
    factors = numbers(scale, spread)

    def part(first: int, last: int) -> Array:
        divisors = factors()[first:last] if packed.is_embedding else factors()
        result: Array = (_signed(stored, first, last, units) / divisors).astype("f4")
        return result

    shape = packed.shape or (stored.shape[0], units)
    return shape, by_rows((stored.shape[0], units), part)


def _int4_blocks(packed: Packed, scale: Weight, zero: Weight) -> tuple[tuple[int, ...], Reader]:
    stored = packed.stored
    length = stored.shape[0]
    units = _width(packed, scale.shape[-1] if len(scale.shape) == 2 and not packed.is_embedding else None)
    over = units if packed.is_embedding else length
    blocks = scale.shape[1 if packed.is_embedding else 0] if len(scale.shape) == 2 else 0
    wanted = (length, blocks) if packed.is_embedding else (blocks, units)
    if packed.groups is None or packed.groups.size != over or scale.shape != wanted or zero.shape != wanted or not blocks:
        raise ShapeError(f"its scale has shape {list(scale.shape)}, and its packed kernel {list(stored.shape)}")
    places, scales, zeros = _places(packed.groups, blocks), numbers(scale), numbers(zero)

    def part(first: int, last: int) -> Array:
        values = _signed(stored, first, last, units)
        if packed.is_embedding:
            at = places()
            factors, middles = scales()[first:last][:, at], zeros()[first:last][:, at]
        else:
            at = places()[first:last]
            factors, middles = scales()[at], zeros()[at]
        result: Array = ((values - middles) * factors).astype("f4")
        return result

    return packed.shape or (length, units), by_rows((length, units), part)


def _width(packed: Packed, units: int | None) -> int:
    """Return the columns of a packed matrix; raises `ShapeError` where they are not known."""
    stored, width = packed.stored, None if packed.shape is None else prod(packed.shape) // max(packed.stored.shape[0], 1)
    known = width or units
    if known is None and packed.groups is not None:
        known = packed.groups.size
    if known is None or stored.shape[1] != -(-known // 2) or (packed.shape and prod(packed.shape) != stored.shape[0] * known):
        raise ShapeError(f"its packed kernel has shape {list(stored.shape)}, and {known or 'an unknown number of'} columns")
    return known


def _signed(stored: Weight, first: int, last: int, width: int) -> Array:
    """Return rows of numbers of 4 bits with a sign, two in a byte along the row."""
    fields = low_first(rows(stored, first, last), 4)[:, :width]
    return ((fields ^ 8).astype("i1") - 8).astype("f8")


def _places(groups: Weight, blocks: int) -> Numbers:
    """Return the group of each place, which a file may not have out of range."""

    def made() -> Array:
        import numpy as np

        places = groups.numpy().astype(np.float64)
        if not ((places >= 0) & (places < blocks) & (places == np.floor(places))).all():
            raise FormatError(groups.name, f"has groups that are not whole numbers below {blocks}")
        return places.astype(np.int64)

    return kept(made)


def _float8(packed: Packed) -> tuple[tuple[int, ...], Reader]:
    stored, scale = packed.stored, _scale(packed)
    if scale.size != 1:
        raise ShapeError(f"its scale has shape {list(scale.shape)}")
    factor = numbers(scale, (1,))

    def read(start: int, stop: int) -> Array:
        import numpy as np
        from ml_dtypes import float8_e4m3fn

        by = factor().astype(np.float32)
        scaled = np.clip(stored.read(start, stop).astype(np.float32) / by, -448, 448)
        rounded: Array = scaled.astype(float8_e4m3fn).astype(np.float32) * by
        return rounded

    return stored.shape, read


def _gptq(packed: Packed) -> tuple[tuple[int, ...], Reader]:
    stored, scale = packed.stored, _scale(packed)
    if packed.zero is None:
        raise ShapeError("it has no kernel_zero, which `save` of Keras 3.15 leaves out")
    if packed.groups is None or len(stored.shape) != 2 or len(scale.shape) != 2 or packed.zero.shape != scale.shape:
        raise ShapeError(f"its scale has shape {list(scale.shape)}, and its packed kernel {list(stored.shape)}")
    units, inputs = scale.shape[0], packed.groups.size
    if stored.shape == (-(-units // 2), inputs) and units > 1:
        bits = 4
    elif stored.shape == (units, inputs):
        bits = 8
    else:
        raise ShapeError(f"its packed kernel has shape {list(stored.shape)}, for {units} units and {inputs} inputs")
    places, scales, zeros = _places(packed.groups, scale.shape[1]), numbers(scale), numbers(packed.zero)

    def part(first: int, last: int) -> Array:
        import numpy as np

        if bits == 8:
            values = rows(stored, first, last).astype(np.float64)
        else:  # two rows in one of bytes, the first in the low bits
            whole = rows(stored, first // 2, -(-last // 2))
            both = np.stack([whole & 15, whole >> 4], axis=1).reshape(-1, inputs)
            values = both[first % 2 : first % 2 + last - first].astype(np.float64)
        at = places()
        result: Array = ((values - zeros()[first:last][:, at]) * scales()[first:last][:, at]).astype(np.float32)
        return result

    shape = packed.shape or (inputs, units)
    if prod(shape) != inputs * units:
        raise ShapeError(f"its kernel has shape {list(shape)}, for {units} units and {inputs} inputs")
    return shape, ByColumns(by_rows((units, inputs), part), (inputs, units))


_MODES = {"int8": _int8, "int4": _int4, "float8": _float8, "gptq": _gptq}


def einsum_shape(equation: str, inputs: list[int | None], outputs: list[int | None]) -> tuple[int, ...] | None:
    """Return the shape of the kernel of EinsumDense; None where the equation and the shapes do not have it.

    >>> einsum_shape("abc,cde->abde", [None, 5, 12], [5, 3, 4])
    (12, 3, 4)
    """
    left, arrow, result = equation.replace(" ", "").partition("->")
    first, comma, kernel = left.partition(",")
    if not arrow or not comma:
        return None
    ends = dict(zip(reversed(first), reversed(inputs), strict=False)) | dict(
        zip(reversed(result), reversed(outputs), strict=False)
    )
    sizes = [ends.get(letter) for letter in kernel]
    return tuple(size for size in sizes if size) if all(type(size) is int and size > 0 for size in sizes) else None


def packs_in_order(equation: str) -> bool:
    """Whether the kernel of EinsumDense has its summed axes first, and the others in the order of the result."""
    left, _, result = equation.replace(" ", "").partition("->")
    kernel = left.partition(",")[2]
    kept_letters = "".join(letter for letter in result if letter in kernel)
    return kernel.endswith(kept_letters)
