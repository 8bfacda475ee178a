"""GPTQ: words of 32 bits along the inputs, with a scale and a zero point for each output and group of inputs.

X.qweight  int32 (in * bits / 32, out)        codes of a column, the lowest bits first
X.qzeros   int32 (groups, out * bits / 32)    zero points of a row: of the format "gptq" less by one, of "gptq_v2" as they are
X.scales   float (groups, out)
X.g_idx    int32 (in)                         the group of each input, in any order after activation ordering

weight[o, i] = scales[g, o] * (code[i, o] - zero[g, o]), where g = g_idx[i]. Format "gptq_p" has its bits in planes (`_planar`).
AutoGPTQ and GPTQModel subtract the ones of format "gptq" from whole words, so that a zero point of 0 borrows from the next one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.quantization_config import integer, quantization_config
from steelyard.core.effective import Derivation, Pieces, attempted, derived, joined, refused
from steelyard.core.weight import Role
from steelyard.errors import ShapeError, quoted
from steelyard.numerics.packed import fields, less_zeros, matrix_reader, rows, transposed
from steelyard.numerics.scales import floats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from steelyard.codecs.plain import Config
    from steelyard.core.weight import Array, Weight

_LEAVES = ("qweight", "qzeros", "scales", "g_idx")
_WORD = 32
_SETTINGS = ("bits", "group_size", "desc_act", "sym", "checkpoint_format", "format")
_FORMATS = ("gptq", "gptq_v2", "gptq_p")
_PLANES = {3: (2, 1), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1)}
"""The widths of the planes of format "gptq_p", the lowest bits first."""
_ONES = {2: 0x55555555, 4: 0x11111111, 8: 0x01010101}
"""A word of 32 bits with 1 in each of its fields."""
_WIDE = 7  # from so many bits, a code less a zero point may not fit into int8
_LOOKED_AT = 1 << 14  # words of zero points that show whether all are equal


class _Layer(NamedTuple):
    """The stored weights of a layer, and its numbers of bits, inputs, outputs and groups."""

    codes: Weight
    zeros: Weight
    scales: Weight
    group_of: Weight | None
    bits: int
    inputs: int
    outputs: int
    groups: int


class _Numbers(NamedTuple):
    """What the rows of a weight are made of; a row is an output of the layer."""

    codes: Weight
    scales: Weight
    zeros: Callable[[int, int], Array]
    unpack: Callable[[Array], Array]
    order: Array | None
    group: int


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of linear layers."""
    config: Config | None = None
    for stem in pieces.stems("qweight"):
        found = pieces.of(stem, *_LEAVES)
        config = quantization_config(pieces) if config is None else config
        name, facts = joined(stem, "weight"), Derivation("GPTQ", tuple(weight.name for weight in found if weight))
        yield attempted(name, facts, partial(_weight, name, found, config, facts, listing=pieces.listing))


def _weight(name: str, found: tuple[Weight | None, ...], config: Config, facts: Derivation, *, listing: bool) -> Weight:
    layer = _layer(found, config)
    shape = layer.outputs, layer.inputs
    if listing:
        return refused(name, facts._replace(scheme=f"GPTQ {layer.bits} bits"), "its numbers were not looked at", shape)
    order, group = _groups(layer, config)
    stored, assumed = _format(layer, config)
    settings = {key: value for key in _SETTINGS if isinstance(value := config.get(key), str | int | bool)}
    facts = facts._replace(scheme=f"GPTQ {layer.bits} bits", settings=settings, assumed=assumed)
    numbers = _Numbers(
        transposed(layer.codes), transposed(layer.scales), _zeros(layer, stored), _unpacker(stored, layer.bits), order, group
    )
    return derived(
        name, shape, matrix_reader(shape, partial(_part, numbers, layer.inputs)), facts, role=Role.KERNEL, axes="out in"
    )


def _layer(found: tuple[Weight | None, ...], config: Config) -> _Layer:
    """Return the layer, whose shapes agree with each other and with the config."""
    codes, zeros, scales, index = found
    if codes is None or zeros is None or scales is None:
        missing = " and ".join(leaf for leaf, weight in zip(_LEAVES[:3], found, strict=False) if weight is None)
        raise ShapeError(f"{missing} is missing")
    if any(len(weight.shape) != 2 or 0 in weight.shape for weight in (codes, zeros, scales)) or {codes.dtype, zeros.dtype} != {
        "int32"
    }:
        raise ShapeError(f"qweight is {codes.dtype} {codes.shape}, qzeros {zeros.dtype} {zeros.shape}, scales {scales.shape}")
    (height, outputs), (groups, words) = codes.shape, zeros.shape
    if scales.shape != (groups, outputs) or (index and len(index.shape) != 1):
        raise ShapeError(f"qweight {codes.shape}, qzeros {zeros.shape} and scales {scales.shape} do not belong together")
    fitting = [
        bits
        for bits in range(2, 9)
        if -(-outputs * bits // _WORD) == words and (not index or -(-index.shape[0] * bits // _WORD) == height)
    ]
    said = None if config.get("dynamic") else integer(config, "bits")
    if said is not None and said not in fitting:
        raise ShapeError(f"the config says {said} bits, the shapes say {' or '.join(map(str, fitting)) or 'none of 2 to 8'}")
    if said is None and len(fitting) != 1:
        raise ShapeError("no config says the number of bits, and the shapes do not prove it")
    bits = fitting[0] if said is None else said
    return _Layer(codes, zeros, scales, index, bits, index.shape[0] if index else height * _WORD // bits, outputs, groups)


def _groups(layer: _Layer, config: Config) -> tuple[Array | None, int]:
    """Return the group of each input, None where they are in order, and the number of inputs of a group then."""
    import numpy as np

    group = -(-layer.inputs // layer.groups)
    if layer.group_of is None:
        said = integer(config, "group_size")
        if said is not None and said > 0 and -(-layer.inputs // said) == layer.groups:
            group = said
        if -(-layer.inputs // group) != layer.groups or (layer.inputs % layer.groups and group != said):
            raise ShapeError(f"{layer.inputs:,} inputs cannot be in {layer.groups:,} groups, and g_idx is missing")
        if config.get("desc_act") is True and layer.groups > 1:
            raise ShapeError("the config says that inputs are ordered by activation (desc_act), and g_idx is missing")
        return None, group
    index = layer.group_of.read(0, layer.inputs)
    if index.dtype.kind not in "iu" or int(index.min()) < 0 or int(index.max()) >= layer.groups:
        raise ShapeError(f"g_idx names groups that are not among the {layer.groups:,} of scales")
    in_order = np.array_equal(index, np.arange(layer.inputs) // group)
    return (None, group) if in_order else (index.astype(np.intp), group)


def _format(layer: _Layer, config: Config) -> tuple[str, tuple[str, ...]]:
    """Return the format of the zero points, and what was assumed.

    Files of format "gptq_v2" often call themselves "gptq": then the zero points of symmetric layers show which they are.
    """
    method, said = config.get("quant_method", "gptq"), config.get("checkpoint_format") or config.get("format") or "gptq"
    if method not in ("gptq", "gptqmodel") or said not in _FORMATS:
        raise ShapeError(f"the config says {quoted(str(said if method == 'gptq' else method))}, which is not read")
    if layer.bits in (5, 6, 7) and said != "gptq_p":
        raise ShapeError(f"numbers of {layer.bits} bits are known in format gptq_p only, and the config says {said!r}")
    word, middle = str(said), 1 << (layer.bits - 1)
    equal = _equal_zeros(layer, word)
    shown = {middle - 1: "gptq", middle: word if word == "gptq_p" else "gptq_v2"}.get(-1 if equal is None else equal)
    symmetric = None if config.get("dynamic") else config.get("sym")
    if shown is None:
        if symmetric is True:
            raise ShapeError(f"the config says that it is symmetric, and its zero points are not all {middle - 1} or {middle}")
        if not config:
            raise ShapeError("no config says whether its zero points are those of format gptq or gptq_v2")
        return word, ()
    if config and shown == word:
        return word, ()
    if symmetric is False or "gptq_p" in (word, shown):
        raise ShapeError(f"the config says format {word} and zero points of any value, but all are {equal}, as in {shown}")
    other = f", though the config says {word}" if config else ""
    return shown, (f"its zero points are those of format {shown}, since all are {equal}{other}",)


def _equal_zeros(layer: _Layer, word: str) -> int | None:
    """Return the stored zero point that all of the first rows have; None if they differ."""
    width = layer.zeros.shape[1]
    first = rows(layer.zeros, 0, min(max(_LOOKED_AT // width, 1), layer.groups))
    values = _unpacker(word, layer.bits)(first)[:, : layer.outputs]
    return int(values[0, 0]) if (values == values[0, 0]).all() else None


def _unpacker(word: str, bits: int) -> Callable[[Array], Array]:
    return partial(_planar if word == "gptq_p" and bits in _PLANES else fields, bits=bits)


def _planar(words: Array, bits: int) -> Array:
    """Return the codes of rows of words, 32 codes in `bits` words: a plane of some of their bits after the other.

    plane of w bits    w words    code j * (32 / w) + k has its bits in word j, from bit k * w
    """
    import numpy as np

    blocks = words.reshape(*words.shape[:-1], -1, bits)
    codes = np.zeros((*blocks.shape[:-1], _WORD), np.uint8)
    word = shift = 0
    for width in _PLANES[bits]:
        codes |= fields(np.ascontiguousarray(blocks[..., word : word + width]), width) << np.uint8(shift)
        word, shift = word + width, shift + width
    return codes.reshape(*words.shape[:-1], -1)


def _zeros(layer: _Layer, word: str) -> Callable[[int, int], Array]:
    """Return what reads the zero points of outputs [first, last), a row for each."""
    columns = transposed(layer.zeros)
    unpack = _unpacker(word, layer.bits)

    def read(first: int, last: int) -> Array:
        import numpy as np

        # fields of 32 outputs end with a word
        begin = first // _WORD * _WORD
        end = min(-(-last // _WORD) * layer.bits, columns.shape[0])
        words = np.ascontiguousarray(rows(columns, begin * layer.bits // _WORD, end).T)
        if word == "gptq" and layer.bits in _ONES:
            words = words.view(np.uint32) + np.uint32(_ONES[layer.bits])
        values = unpack(words)[:, first - begin : last - begin].astype(np.int16)
        if word == "gptq" and layer.bits not in _ONES:
            values = values + 1 & (1 << layer.bits) - 1
        return np.ascontiguousarray(values.T, np.int8 if layer.bits < _WIDE else np.int16)

    return read


def _part(numbers: _Numbers, inputs: int, first: int, last: int) -> Array:
    """Return the rows [first, last) of the weight."""
    import numpy as np

    scales, zeros = floats(rows(numbers.scales, first, last)), numbers.zeros(first, last)
    unpacked = numbers.unpack(rows(numbers.codes, first, last))[:, :inputs]
    codes: Array = unpacked.view(zeros.dtype) if zeros.itemsize == 1 else unpacked.astype(zeros.dtype)
    if numbers.order is None:
        return less_zeros(codes, zeros, scales, numbers.group)
    # `wrap` copies without a check of each index
    codes -= zeros[0, 0] if _are_equal(zeros) else np.take(zeros, numbers.order, axis=1, mode="wrap")
    values = codes.astype(np.float32)
    values *= np.take(scales, numbers.order, axis=1, mode="wrap")
    return values


def _are_equal(values: Array) -> bool:
    return bool(values.size and (values == values[0, 0]).all())
