"""NVFP4 of NVIDIA's ModelOpt: numbers of E2M1 with a scale for each 16 of a row, and one for the whole weight.

L.weight          uint8 (out, in / 2)                two numbers in a byte, the low bits first
L.weight_scale    float8_e4m3fn (out, in / 16)
L.weight_scale_2  float32, one, or one for each expert

weight = E2M1 * weight_scale * weight_scale_2. compressed-tensors divides by its global scale instead.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from steelyard.core.effective import Derivation, Pieces, attempted, derived, joined
from steelyard.core.weight import Role
from steelyard.errors import ShapeError
from steelyard.numerics.packed import e2m1, flattened, in_groups, matrix_reader, rows
from steelyard.numerics.scales import Scales, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.weight import Array, Weight

_PARTS = ("weight", "weight_scale", "weight_scale_2", "pre_quant_scale")
_ACTIVATIONS = ("input_scale", "k_scale", "v_scale")
_GROUP = 16


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of layers and experts."""
    for stem in pieces.stems("weight_scale_2"):
        found = pieces.of(stem, *_PARTS)
        others = tuple(weight.name for weight in pieces.of(stem, *_ACTIVATIONS) if weight)
        facts = Derivation("ModelOpt NVFP4", tuple(weight.name for weight in found if weight), activations=others)
        name = joined(stem, "weight")
        yield attempted(name, facts, partial(_weight, name, found, facts))


def _weight(name: str, found: tuple[Weight | None, ...], facts: Derivation) -> Weight:
    codes, scale, whole, inputs = found
    if codes is None or scale is None or whole is None:
        raise ShapeError(f"{'weight' if codes is None else 'weight_scale'} is missing")
    if inputs is not None:
        raise ShapeError("pre_quant_scale scales its inputs, so the weight alone is not what the layer computes with")
    if codes.dtype != "uint8" or len(codes.shape) < 2 or scale.dtype != "float8_e4m3fn":
        raise ShapeError(f"weight is {codes.dtype} {codes.shape}, weight_scale {scale.dtype} {scale.shape}")
    *leading, width = codes.shape
    shape = (*leading, 2 * width)
    scales, factor = spread(scale, shape, (1, _GROUP)), spread(whole, shape)
    read = matrix_reader(shape, partial(_part, flattened(codes), scales, factor))
    return derived(name, shape, read, facts, role=Role.KERNEL, axes="out in" if len(shape) == 2 else "")


def _part(codes: Weight, scales: Scales, factor: Scales, first: int, last: int) -> Array:
    import numpy as np

    values = e2m1(rows(codes, first, last))
    in_groups(np.multiply, values, scales.read(first, last) * factor.read(first, last), scales.group)
    return values
