"""Quanto (optimum): int8 and float8 with scales, and codes of 2 or 4 bits with a scale and a shift for each group.

X._data          int8 or float8, the shape of X    X._scale (out, 1, ...)    X = code * scale
X._data._data    uint8 (rows / fields, ...)        X._scale, X._shift (rows, 1, ...)
                 X = code * scale - shift where the shift is float, (code - shift) * scale where it is an integer

The lowest field of a byte has the first part of the rows, the next field the second part; rows at the end are padding. A row is
an output of the layer, or a group of `width` inputs of it where it has more than 128. The number of bits is in
quantization_map.json beside the file, {"L": {"weights": "qint4"}}, or else in how many rows there are for each that is stored.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.quantization_config import json_beside, quantization_config
from steelyard.core.effective import Derivation, Pieces, Setting, attempted, derived, joined
from steelyard.core.weight import Role
from steelyard.errors import ShapeError, quoted
from steelyard.numerics.packed import as_float32, flattened, matrix_reader, rows, stacked_fields
from steelyard.numerics.scales import Scales, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.weight import Array, Weight

_SHIFTS = {4: (0, 4), 2: (0, 2, 4, 6)}
"""The shift of each part of the rows, by the number of bits."""
_MAP = "quantization_map.json"
_GROUP = 128
"""Inputs that the library groups where a layer has more of them."""
_ACTIVATIONS = ("input_scale", "output_scale")


class _Layer(NamedTuple):
    """A weight of 2 or 4 bits, with the shape of its matrix of codes."""

    codes: Weight
    bits: int
    scales: Scales
    shifts: Scales
    is_float: bool


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of layers."""
    words: dict[str, object] | None = None
    for stem in pieces.stems("_data"):
        is_packed = stem.endswith("._data")
        name = stem.removesuffix("._data")
        codes, scale, shift = pieces.get(joined(stem, "_data")), *pieces.of(name, "_scale", "_shift")
        if codes is None:
            continue
        words = _words(pieces) if words is None else words
        layer = name.rpartition(".")[0]
        others = tuple(weight.name for weight in pieces.of(layer, *_ACTIVATIONS) if weight)
        facts = Derivation("Quanto", tuple(weight.name for weight in (codes, scale, shift) if weight), activations=others)
        word = words.get(layer, words.get(""))
        if is_packed:
            bias = pieces.get(joined(layer, "bias"))
            yield attempted(name, facts, partial(_packed, name, (codes, scale, shift, bias), word, facts))
        else:
            yield attempted(name, facts, partial(_plain, name, codes, scale, facts))


def _words(pieces: Pieces) -> dict[str, object]:
    """Return the word for the weights of each layer, such as "qint4", and that for all others under a blank name."""
    listed = json_beside(pieces, _MAP)
    words: dict[str, object] = {name: of.get("weights") for name, of in listed.items() if isinstance(of, dict)}
    config = quantization_config(pieces)
    if config.get("quant_method") == "quanto" and isinstance(word := config.get("weights"), str):
        words[""] = f"q{word}"
    return words


def _plain(name: str, codes: Weight, scale: Weight | None, facts: Derivation) -> Weight:
    if scale is None or not (codes.dtype == "int8" or codes.dtype.startswith("float8")):
        raise ShapeError(f"its numbers are {codes.dtype}, and _scale is {scale.shape if scale else 'missing'}")
    scales = spread(scale, codes.shape)
    facts = facts._replace(scheme=f"Quanto {codes.dtype}")
    read = matrix_reader(codes.shape, partial(_part_of_plain, flattened(codes), scales))
    return derived(name, codes.shape, read, facts, role=Role.KERNEL, axes="out in" if len(codes.shape) == 2 else "")


def _part_of_plain(codes: Weight, scales: Scales, first: int, last: int) -> Array:
    import numpy as np

    values = as_float32(rows(codes, first, last))
    scales.apply(np.multiply, values, first)
    return values


def _packed(
    name: str, found: tuple[Weight, Weight | None, Weight | None, Weight | None], word: object, facts: Derivation
) -> Weight:
    codes, scale, shift, bias = found
    if scale is None or shift is None or codes.dtype != "uint8" or scale.shape != shift.shape or not codes.size:
        raise ShapeError(f"_scale is {scale.shape if scale else 'missing'}, _shift {shift.shape if shift else 'missing'}")
    if len(scale.shape) != len(codes.shape) or len(codes.shape) < 2 or prod(scale.shape[1:]) != 1:
        raise ShapeError(f"_data is {codes.shape}, and _scale {scale.shape} has not one number for each of its rows")
    height = scale.shape[0]
    bits = _bits(height, codes.shape[0], word)
    shape, assumed = _shape(codes, height, bias)
    width = prod(codes.shape[1:])
    matrix = (height, width)
    columns = [part.replace(shape=(height, 1)) for part in (scale, shift)]
    is_float = shift.dtype.startswith(("float", "bfloat"))
    offsets = spread(columns[1].replace(dtype="float32") if not is_float else columns[1], matrix)
    if not is_float and shift.dtype not in ("int8", "int32", "int64", "int16"):
        raise ShapeError(f"_shift is {shift.dtype}")
    layer = _Layer(codes.replace(shape=(codes.shape[0], width)), bits, spread(columns[0], matrix), offsets, is_float)
    settings: dict[str, Setting] = {"weights": word} if isinstance(word, str) else {}
    facts = facts._replace(scheme=f"Quanto {bits} bits", settings=settings, assumed=assumed)
    read = matrix_reader(matrix, partial(_part, layer))
    return derived(name, shape, read, facts, role=Role.KERNEL, axes="out in" if len(shape) == 2 else "")


def _bits(height: int, stored: int, word: object) -> int:
    """Return the number of bits, which the map has, or else the number of rows for each stored one."""
    fitting = [bits for bits, shifts in _SHIFTS.items() if -(-height // len(shifts)) == stored]
    said = {"qint2": 2, "qint4": 4}.get(word) if isinstance(word, str) else None
    if isinstance(word, str) and said not in fitting:
        raise ShapeError(f"its config says {quoted(word)}, and {height:,} rows are stored as {stored:,}")
    if said is None and len(fitting) != 1:
        raise ShapeError(f"{_MAP} is missing, and {height:,} rows stored as {stored:,} do not show the number of bits")
    return said or fitting[0]


def _shape(codes: Weight, height: int, bias: Weight | None) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the shape of the weight, and what was assumed: a row is an output, or a group of its inputs."""
    whole = (height, *codes.shape[1:])
    if len(codes.shape) > 2 or (bias is not None and bias.shape == (height,)):
        return whole, ()
    width = codes.shape[1]
    if bias is not None and len(bias.shape) == 1 and bias.size and height % bias.size == 0:
        return (bias.size, height // bias.size * width), ()
    if bias is None and width != _GROUP:
        return whole, ("each row of codes is an output of the layer, not a group of its inputs",)
    raise ShapeError(f"nothing shows whether its {height:,} rows of {width:,} numbers are outputs, or groups of inputs")


def _part(layer: _Layer, first: int, last: int) -> Array:
    import numpy as np

    values = stacked_fields(layer.codes, layer.bits, _SHIFTS[layer.bits], first, last).astype(np.float32)
    if layer.is_float:
        layer.scales.apply(np.multiply, values, first)
        layer.shifts.apply(np.subtract, values, first)
    else:
        layer.shifts.apply(np.subtract, values, first)
        layer.scales.apply(np.multiply, values, first)
    return values
