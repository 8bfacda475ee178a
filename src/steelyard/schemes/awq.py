"""AWQ: codes of 4 bits with a scale and a zero point for each output and group of inputs, in three layouts.

gemm        qweight int32 (in, out / 8)    qzeros int32 (groups, out / 8)    scales (groups, out)
gemv        qweight int32 (out, in / 8)    qzeros int32 (out, padded / 8)    scales (out, padded)
gemv_fast   qweight int16 (out / 4, in)    qzeros float (padded, out)        scales (padded, out)

gemm: field k of a word, the lowest bits first, is column [0, 2, 4, 6, 1, 3, 5, 7][k] of its eight outputs. gemv: fields are in
plain order. gemv_fast: a word has the codes of four outputs, interleaved as `_fast` undoes it.
weight[o, i] = scales[g, o] * (code[i, o] - zero[g, o]), g = i // group; gemv_fast stores -scale * zero instead of a zero point.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from steelyard.codecs.quantization_config import integer, quantization_config
from steelyard.core.effective import Derivation, Pieces, attempted, derived, joined
from steelyard.core.weight import Role
from steelyard.errors import ShapeError, quoted
from steelyard.numerics.packed import fields, in_groups, less_zeros, low_first, matrix_reader, rows, transposed
from steelyard.numerics.scales import floats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from steelyard.codecs.plain import Config
    from steelyard.core.weight import Array, Weight

    Part = Callable[[int, int], Array]
    Layer = tuple[Weight, Weight, Weight]
    """The codes, zero points and scales of a layer."""

_BITS, _PER_WORD = 4, 8
_COLUMNS = (0, 4, 1, 5, 2, 6, 3, 7)
"""The field of a word of each of its eight outputs in layout gemm."""
_SAME = {"ipex": "gemm", "exllama": "gemm", "gemm": "gemm", "gemv": "gemv", "gemv_fast": "gemv_fast"}
"""The layouts in files of each version."""
_GROUPS = (128, 64, 32)
_MULTIPLES = {64: 2, 32: 4}
"""The words of zero points to which gemv pads a row, by its group."""
_STRIPE, _TILE, _BLOCK = 4, 64, 32
"""Outputs in a word of gemv_fast, inputs in its tiles, and in the blocks that are permuted."""


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of linear layers."""
    config: Config | None = None
    for stem in pieces.stems("qweight"):
        codes, zeros, scales, index = pieces.of(stem, "qweight", "qzeros", "scales", "g_idx")
        config = quantization_config(pieces) if config is None else config
        said = config.get("quant_method")
        if codes is None or index is not None or (said != "awq" and (said is not None or _layout(codes, zeros, scales) is None)):
            continue
        name, parts = joined(stem, "weight"), tuple(weight.name for weight in (codes, zeros, scales) if weight)
        facts = Derivation("AWQ", parts)
        yield attempted(name, facts, partial(_weight, name, (codes, zeros, scales), config, facts))


def _layout(codes: Weight, zeros: Weight | None, scales: Weight | None) -> str | None:
    """Return the layout that the shapes of a layer prove; None if they prove none."""
    if zeros is None or scales is None or any(len(weight.shape) != 2 or 0 in weight.shape for weight in (codes, zeros, scales)):
        return None
    (height, width), (groups, outputs) = codes.shape, scales.shape
    if codes.dtype == "int16" and zeros.shape == scales.shape and height * _STRIPE == outputs:
        return "gemv_fast"
    if {codes.dtype, zeros.dtype} != {"int32"}:
        return None
    if zeros.shape == (groups, width) and width * _PER_WORD == outputs:
        return "gemm"
    return "gemv" if height == groups == zeros.shape[0] and zeros.shape[1] * _PER_WORD == outputs else None


def _weight(name: str, found: tuple[Weight, Weight | None, Weight | None], config: Config, facts: Derivation) -> Weight:
    codes, zeros, scales = found
    if zeros is None or scales is None:
        raise ShapeError(f"{'qzeros' if zeros is None else 'scales'} is missing")
    layout = _layout(codes, zeros, scales)
    shown = f"qweight {codes.dtype} {codes.shape}, qzeros {zeros.dtype} {zeros.shape} and scales {scales.shape}"
    if layout is None:
        raise ShapeError(f"{shown} fit none of its layouts")
    version = config.get("version", layout)
    if not isinstance(version, str) or _SAME.get(version.lower()) != layout:
        raise ShapeError(f"the config says version {quoted(str(version))}, and {shown} are of {layout}")
    if integer(config, "bits") not in (None, _BITS) or integer(config, "w_bit") not in (None, _BITS):
        raise ShapeError("the config says a number of bits other than 4")
    layer = codes, zeros, scales
    shape = (scales.shape[1], codes.shape[0]) if layout == "gemm" else (codes.shape[0], codes.shape[1] * _PER_WORD)
    shape = (scales.shape[1], codes.shape[1]) if layout == "gemv_fast" else shape
    group = _group(layout, shape[1], scales.shape[0] if layout != "gemv" else scales.shape[1], config)
    part = {"gemm": _gemm, "gemv": _gemv, "gemv_fast": _gemv_fast}[layout](layer, shape, group)
    settings = {key: value for key in ("version", "bits", "group_size") if isinstance(value := config.get(key), str | int)}
    facts = facts._replace(scheme=f"AWQ {layout}", settings=settings)
    return derived(name, shape, matrix_reader(shape, part), facts, role=Role.KERNEL, axes="out in")


def _group(layout: str, inputs: int, scales: int, config: Config) -> int:
    """Return the inputs of a group, which agrees with the number of scales of an output, padded unless the layout is gemm."""
    said = next((size for key in ("group_size", "q_group_size") if (size := integer(config, key)) is not None), None)
    said = inputs if said == -1 else said
    if layout == "gemm":
        group, rest = divmod(inputs, scales)
        if rest or said not in (None, group):
            raise ShapeError(f"{inputs:,} inputs in groups of {said or '?'} do not have {scales:,} scales")
        return group
    fitting = [group for group in ((said,) if said else _GROUPS) if group > 0 and _padded(inputs, group) == scales]
    if len(fitting) != 1 or inputs % fitting[0]:
        raise ShapeError(f"{inputs:,} inputs in groups of {said or '128, 64 or 32'} do not have {scales:,} padded scales")
    return fitting[0]


def _padded(inputs: int, group: int) -> int:
    """Return how many scales gemv has for each output."""
    multiple = _MULTIPLES.get(group, 1)
    words = -(-max(inputs // group, 1) // _PER_WORD)
    return -(-words // multiple) * multiple * _PER_WORD


def _gemm(layer: Layer, shape: tuple[int, int], group: int) -> Part:
    codes, zeros, scales = map(transposed, layer)  # rows are outputs, or words of eight

    def part(first: int, last: int) -> Array:
        scale = floats(rows(scales, first, last))
        return less_zeros(_outputs(codes, first, last), _outputs(zeros, first, last), scale, group)

    return part


def _outputs(words: Weight, first: int, last: int) -> Array:
    """Return the fields of outputs [first, last), a row for each."""
    import numpy as np

    begin, end = first // _PER_WORD, -(-last // _PER_WORD)
    stored = rows(words, begin, end).astype("<i4", copy=False).view(np.int8).reshape(end - begin, -1, _PER_WORD // 2)
    of_word = np.ascontiguousarray(stored.transpose(0, 2, 1))  # its bytes, the lowest first
    unpacked = np.empty((end - begin, _PER_WORD, words.shape[1]), np.int8)
    for place, field in enumerate(_COLUMNS):
        byte, is_high = divmod(field, 2)
        np.right_shift(of_word[:, byte], _BITS * is_high, out=unpacked[:, place])
    unpacked &= (1 << _BITS) - 1
    return unpacked.reshape(-1, words.shape[1])[first - begin * _PER_WORD : last - begin * _PER_WORD]


def _gemv(layer: Layer, shape: tuple[int, int], group: int) -> Part:
    codes, zeros, scales = layer

    def part(first: int, last: int) -> Array:
        import numpy as np

        code, zero = (fields(rows(words, first, last), _BITS).view(np.int8) for words in (codes, zeros))
        return less_zeros(code, zero, floats(rows(scales, first, last)), group)

    return part


def _gemv_fast(layer: Layer, shape: tuple[int, int], group: int) -> Part:
    if shape[1] % _TILE or shape[0] % _STRIPE:
        raise ShapeError(f"the inputs of version gemv_fast are a multiple of {_TILE}, not {shape[1]:,}")
    codes, zeros, scales = layer[0], transposed(layer[1]), transposed(layer[2])

    def part(first: int, last: int) -> Array:
        import numpy as np

        begin = first // _STRIPE
        values = _fast(rows(codes, begin, -(-last // _STRIPE)))[first - begin * _STRIPE : last - begin * _STRIPE].astype(
            np.float32
        )
        in_groups(np.multiply, values, floats(rows(scales, first, last)), group)
        in_groups(np.add, values, floats(rows(zeros, first, last)), group)
        return values

    return part


def _fast(words: Array) -> Array:
    """Return the codes of four outputs for each row of words of 16 bits.

    A tile of 64 words has 256 fields, which are 64 inputs of one output after the other. In each block of 32 inputs, pairs
    and then eights are interleaved.
    """
    import numpy as np

    stripes, inputs = words.shape
    nibbles = low_first(np.ascontiguousarray(words).view(np.uint8), _BITS)
    outputs = nibbles.reshape(stripes, inputs // _TILE, _STRIPE, _TILE).transpose(0, 2, 1, 3)
    blocks = outputs.reshape(stripes * _STRIPE, inputs // _BLOCK, 4, 2, 4).transpose(0, 1, 2, 4, 3)
    return np.ascontiguousarray(blocks.reshape(-1, inputs // _BLOCK, 4, 4, 2).transpose(0, 1, 3, 2, 4)).reshape(-1, inputs)
