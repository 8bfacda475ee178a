"""compressed-tensors, as vLLM and llm-compressor write it: packed integers, plain int8 and float8, and packed float4.

pack-quantized   L.weight_packed int32 (out, words of a row)    L.weight_scale (out, groups)    L.weight_shape int64 (2)
                 L.weight_zero_point int32 (words of a column, groups), or int8 (out, groups)    L.weight_g_idx int32 (in)
others           L.weight int8 or float8 (out, in)    L.weight_scale for all, rows, groups or blocks    L.weight_zero_point
nvfp4            L.weight_packed uint8 (out, in / 2)    L.weight_scale float8 (out, in / 16)    L.weight_global_scale (1)
mxfp4            L.weight_packed uint8 (out, in / 2)    L.weight_scale uint8 (out, in / 32)

A packed code is less 2^(bits - 1), a zero point too: weight = (code - zero) * scale. A row is one stream of bits, the lowest
first; until version 0.9 a word of 32 bits had 32 // bits codes instead, which differs for 3, 5, 6 and 7 bits.
nvfp4: weight = E2M1 * scale / global scale, the low bits of a byte first. mxfp4, mxfp8: the scale is 2^(byte - 127).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.quantization_config import integer, quantization_config
from steelyard.core.effective import Derivation, Pieces, Setting, attempted, derived, joined
from steelyard.core.weight import Role
from steelyard.dtypes import numpy_dtype
from steelyard.errors import ShapeError, quoted
from steelyard.numerics.packed import as_float32, e2m1, fields, flattened, in_groups, matrix_reader, rows
from steelyard.numerics.scales import Scales, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from steelyard.codecs.plain import Config
    from steelyard.core.weight import Array, Weight

_METHOD = "compressed-tensors"
_PARTS = ("weight_scale", "weight_zero_point", "weight_shape", "weight_global_scale", "weight_g_idx")
_ACTIVATIONS = (
    "input_scale", "input_zero_point", "input_global_scale", "output_scale", "output_zero_point", "k_scale", "v_scale", "q_scale",
)  # fmt: skip
_READ = ("pack-quantized", "int-quantized", "naive-quantized", "float-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized",
         "mxfp8-quantized", "dense", "mixed-precision")  # fmt: skip
_WORD = 32
_SAME_IN_BOTH = (1, 2, 4, 8)
"""Numbers of bits of which a word has a whole number."""
_GROUPS = {"nvfp4": 16, "mxfp4": 32, "mxfp8": 32}


class _Parts(NamedTuple):
    """The stored weights of a layer beside its codes."""

    scale: Weight | None
    zero: Weight | None
    shape: Weight | None
    whole: Weight | None
    order: Weight | None


class _Packed(NamedTuple):
    """What the rows of a weight of pack-quantized are made of; `middle` is the code of 0."""

    codes: Weight
    unpack: Callable[[Array], Array]
    scales: Scales
    zeros: Callable[[int, int], Array] | None
    order: Array | None
    inputs: int
    middle: int
    dtype: str


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of layers."""
    config = quantization_config(pieces)
    is_said = config.get("quant_method") == _METHOD
    for stem in pieces.stems("weight_packed"):
        if (codes := pieces.get(joined(stem, "weight_packed"))) is not None:
            yield _attempt(pieces, stem, codes, config if is_said else {})
    for stem in pieces.stems("weight_scale"):
        codes = pieces.get(joined(stem, "weight"))
        if codes is not None and _is_plain(codes, is_said=is_said, config=config):
            yield _attempt(pieces, stem, codes, config if is_said else {})


def _is_plain(codes: Weight, *, is_said: bool, config: Config) -> bool:
    """Whether a weight with a scale is one of this library: its config says so, or no config says another one of int8."""
    return (codes.dtype == "int8" and (is_said or "quant_method" not in config)) or (codes.dtype.startswith("float8") and is_said)


def _attempt(pieces: Pieces, stem: str, codes: Weight, config: Config) -> Weight:
    parts = _Parts(*pieces.of(stem, *_PARTS))
    others = tuple(weight.name for weight in pieces.of(stem, *_ACTIVATIONS) if weight)
    facts = Derivation(_METHOD, (codes.name, *(weight.name for weight in parts if weight)), activations=others)
    name = joined(stem, "weight")
    return attempted(name, facts, partial(_weight, name, codes, parts, config, facts))


def _weight(name: str, codes: Weight, parts: _Parts, config: Config, facts: Derivation) -> Weight:
    if config.get("transform_config"):
        raise ShapeError("its config has transforms (transform_config): the weight is rotated")
    formats = {said for group in [config, *_groups_of(config)] if (said := _word(group, "format"))}
    if other := sorted(formats - {*_READ}):
        raise ShapeError(f"its format is {quoted(other[0])}, which is not read")
    if parts.scale is None:
        raise ShapeError("weight_scale is missing")
    facts = facts._replace(assumed=() if config else ("it is of compressed-tensors, which no config says",))
    if codes.dtype == "int32":
        return _packed(name, codes, parts, config, facts)
    return (_float4 if codes.name != name else _plain)(name, codes, parts, config, facts)


def _word(config: Config, key: str) -> str | None:
    value = config.get(key)
    return value if isinstance(value, str) else None


def _groups_of(config: Config) -> list[Config]:
    """Return the facts about weights of each group of the config."""
    groups = config.get("config_groups")
    listed = [group for group in groups.values() if isinstance(group, dict)] if isinstance(groups, dict) else []
    return [{**weights, "format": group.get("format")} for group in listed if isinstance(weights := group.get("weights"), dict)]


def _settings(config: Config) -> dict[str, Setting]:
    keys = ("num_bits", "type", "strategy", "group_size", "symmetric", "actorder")
    return {key: value for key in keys if isinstance(value := config.get(key), str | int | bool)}


# --- pack-quantized


def _packed(name: str, codes: Weight, parts: _Parts, config: Config, facts: Derivation) -> Weight:
    shape = _shape(parts.shape, codes)
    group, bits, layout = _bits(codes, shape, config)
    scale = parts.scale
    if scale is None or len(scale.shape) > len(shape) or scale.dtype == "uint8":
        raise ShapeError(f"its scales do not fit a weight {shape}")
    size = integer(group, "group_size") if _word(group, "strategy") in (None, "group", "tensor_group") else None
    scales = spread(scale, shape, _group_blocks(scale, shape, size))
    order = _order(parts.order, shape, scales.group) if parts.order else None
    if group.get("symmetric") is False and parts.zero is None:
        raise ShapeError("the config says that it is not symmetric, and weight_zero_point is missing")
    zeros = _zeros(parts.zero, scales, shape, bits, layout) if parts.zero else None
    unpack = partial(fields if layout == "stream" else _by_words, bits=bits)
    packed = _Packed(flattened(codes), unpack, scales, zeros, order, shape[-1], 1 << (bits - 1), _result(scale))
    read = matrix_reader(shape, partial(_part, packed))
    facts = facts._replace(scheme=f"compressed-tensors {bits} bits", settings=_settings(group))
    return derived(name, shape, read, facts, dtype=_result(scale), role=Role.KERNEL, axes="out in" if len(shape) == 2 else "")


def _shape(stored: Weight | None, codes: Weight) -> tuple[int, ...]:
    """Return the shape that `weight_shape` has, which is that of the codes but for the last axis."""
    if stored is None or stored.dtype not in ("int64", "int32") or len(stored.shape) != 1 or stored.size != len(codes.shape):
        raise ShapeError(f"weight_shape is missing, or is not the shape of a weight with {len(codes.shape)} axes")
    shape = tuple(map(int, stored.numpy()))
    if len(shape) < 2 or min(shape) < 1 or not limits.is_possible(shape) or shape[:-1] != codes.shape[:-1]:
        raise ShapeError(f"weight_shape is {shape}, and weight_packed {codes.shape}")
    return shape


def _bits(codes: Weight, shape: tuple[int, ...], config: Config) -> tuple[Config, int, str]:
    """Return the group of the config, the number of bits, and the layout of a row: "stream", or "words" as of old versions."""
    words, inputs = codes.shape[-1], shape[-1]
    groups = _groups_of(config)
    said = [bits for group in groups if (bits := integer(group, "num_bits")) is not None and 1 <= bits <= 8]
    fitting = sorted({bits for bits in said or range(1, 9) if words in (_in_stream(inputs, bits), _in_words(inputs, bits))})
    if len(fitting) != 1:
        known = " or ".join(map(str, sorted({*said}))) or "unknown"
        raise ShapeError(f"the bits of a number are {known}, which does not fit {inputs:,} numbers in {words:,} words")
    bits = fitting[0]
    group = next((group for group in groups if integer(group, "num_bits") == bits), {})
    if bits in _SAME_IN_BOTH or words == 1:
        return group, bits, "stream"
    if _in_stream(inputs, bits) != _in_words(inputs, bits):
        return group, bits, "stream" if words == _in_stream(inputs, bits) else "words"
    version = (_word(config, "version") or "").split(".")[:2]
    number = tuple(int(part) for part in version if part.isdecimal() and len(part) < 9)
    if len(number) == 2 and (number < (0, 10) or number >= (0, 20)):
        return group, bits, "words" if number < (0, 10) else "stream"
    raise ShapeError(
        f"rows of {inputs:,} numbers of {bits} bits take {words:,} words in two layouts, and no known version says which"
    )


def _in_stream(count: int, bits: int) -> int:
    return -(-count * bits // _WORD)


def _in_words(count: int, bits: int) -> int:
    return -(-count // (_WORD // bits))


def _by_words(words: Array, bits: int) -> Array:
    """Return the codes of rows of words, each of which has 32 // bits of them, the lowest bits first."""
    import numpy as np

    shifts = np.arange(0, _WORD // bits * bits, bits, dtype=np.uint32)
    codes = np.ascontiguousarray(words).view(np.uint32)[..., None] >> shifts & np.uint32((1 << bits) - 1)
    return codes.reshape(*words.shape[:-1], -1)


def _group_blocks(scale: Weight, shape: tuple[int, ...], size: int | None) -> tuple[int, int] | None:
    """Return the sides of the groups of a row; None where the scales alone show them."""
    if size is None or size < 1 or len(scale.shape) != len(shape):
        return None
    return 1, size


def _order(order: Weight, shape: tuple[int, ...], group: int) -> Array | None:
    """Return the group of each input; None where -1 says that they are in order."""
    import numpy as np

    if order.shape != shape[-1:] or order.dtype not in ("int32", "int64"):
        raise ShapeError(f"weight_g_idx is {order.dtype} {order.shape}")
    index = order.read(0, order.size)
    if int(index.min()) == -1:
        return None
    groups = -(-shape[-1] // group)
    if int(index.min()) < 0 or int(index.max()) >= groups:
        raise ShapeError(f"weight_g_idx names groups that are not among the {groups:,} of weight_scale")
    sizes = np.bincount(index, minlength=groups)
    if (sizes[:-1] != group).any():
        raise ShapeError("the groups of weight_g_idx do not have as many inputs as those of weight_scale")
    return index.astype(np.intp)


def _zeros(zero: Weight, scales: Scales, shape: tuple[int, ...], bits: int, layout: str) -> Callable[[int, int], Array]:
    """Return what reads the zero points of rows [first, last), as signed numbers."""
    if zero.dtype == "int8":
        return spread(zero.replace(dtype="float32"), shape, (scales.height, scales.group)).read
    per_word = _in_stream if layout == "stream" else _in_words
    words = per_word(shape[0], bits)
    groups = -(-shape[-1] // scales.group)
    if len(shape) != 2 or zero.dtype != "int32" or zero.shape != (words, groups):
        raise ShapeError(f"weight_zero_point is {zero.dtype} {zero.shape} for {groups:,} groups of a weight {shape}")
    step = _WORD if layout == "stream" else _WORD // bits  # rows that end with a word
    unpack = partial(fields if layout == "stream" else _by_words, bits=bits)

    def read(first: int, last: int) -> Array:
        import numpy as np

        begin = first // step * step
        end = min(per_word(-(-last // step) * step, bits), words)
        columns = np.ascontiguousarray(rows(zero, per_word(begin, bits), max(end, per_word(begin, bits))).T)
        values = unpack(columns)[:, first - begin : last - begin].astype(np.float32)
        return values.T - np.float32(1 << (bits - 1))

    return read


def _part(packed: _Packed, first: int, last: int) -> Array:
    """Return the rows [first, last) of a packed weight."""
    import numpy as np

    values = packed.unpack(rows(packed.codes, first, last))[:, : packed.inputs].astype(np.float32)
    middle, scale = np.float32(packed.middle), packed.scales.read(first, last)
    zero = packed.zeros(first, last) + middle if packed.zeros else np.full_like(scale, middle)
    if packed.order is None:
        in_groups(np.subtract, values, zero, packed.scales.group)
        in_groups(np.multiply, values, scale, packed.scales.group)
    else:
        values -= zero[:, packed.order]
        values *= scale[:, packed.order]
    return values.astype(numpy_dtype(packed.dtype), copy=False)


def _result(scale: Weight) -> str:
    """Return the dtype of the library's own result: that of bfloat16 scales, else float32."""
    return "bfloat16" if scale.dtype == "bfloat16" else "float32"


# --- plain and float4


def _plain(name: str, codes: Weight, parts: _Parts, config: Config, facts: Derivation) -> Weight:
    scale, zero, shape = parts.scale, parts.zero, codes.shape
    groups = _groups_of(config)
    bits = {bits for group in groups if (bits := integer(group, "num_bits")) is not None}
    if scale is None or len(shape) < 2 or (len(bits) == 1 and not bits <= {1, 2, 3, 4, 5, 6, 7, 8}):
        raise ShapeError(f"{codes.dtype} {shape} is not a weight of {sorted(bits)} bits")
    group = groups[0] if len(groups) == 1 else {}
    scales = spread(scale, shape, _blocks(group, scale, shape))
    if zero is not None and (zero.shape != scale.shape or (zero.dtype != "int8" and not zero.dtype.startswith("float8"))):
        raise ShapeError(f"weight_zero_point is {zero.dtype} {zero.shape}, weight_scale {scale.shape}")
    if group.get("symmetric") is False and zero is None:
        raise ShapeError("the config says that it is not symmetric, and weight_zero_point is missing")
    zeros = spread(zero.replace(dtype="float32"), shape, (scales.height, scales.group)) if zero else None
    dtype = "bfloat16" if scale.dtype == "uint8" else _result(scale)
    kind = "mxfp8" if scale.dtype == "uint8" else codes.dtype
    read = matrix_reader(shape, partial(_part_of_plain, flattened(codes), scales, zeros, dtype))
    facts = facts._replace(scheme=f"compressed-tensors {kind}", settings=_settings(group))
    return derived(
        name, shape, read, facts, dtype=dtype, role=codes.role if codes.role is not Role.OTHER else Role.KERNEL, axes=codes.axes
    )


def _blocks(group: Config, scale: Weight, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the sides of the blocks or groups that the config has."""
    sides = group.get("block_structure")
    if isinstance(sides, list) and _word(group, "strategy") == "block":
        lengths = [side for side in sides if type(side) is int and side > 0]
        if len(lengths) != 2 or len(sides) != 2:
            raise ShapeError("the config's block_structure is not two positive integers")
        return lengths[0], lengths[1]
    size = integer(group, "group_size") if _word(group, "strategy") in ("group", "tensor_group") else None
    return _group_blocks(scale, shape, size)


def _part_of_plain(codes: Weight, scales: Scales, zeros: Scales | None, dtype: str, first: int, last: int) -> Array:
    import numpy as np

    values = as_float32(rows(codes, first, last))
    if zeros:
        zeros.apply(np.subtract, values, first)
    scales.apply(np.multiply, values, first)
    return values.astype(numpy_dtype(dtype), copy=False)


def _float4(name: str, codes: Weight, parts: _Parts, config: Config, facts: Derivation) -> Weight:
    scale, whole = parts.scale, parts.whole
    if scale is None or codes.dtype != "uint8" or len(codes.shape) < 2:
        raise ShapeError(f"weight_packed is {codes.dtype} {codes.shape}")
    *leading, width = codes.shape
    shape = (*leading, 2 * width)
    kind = "mxfp4" if scale.dtype in ("uint8", "float8_e8m0fnu") else "nvfp4"
    if kind == "nvfp4" and (whole is None or scale.dtype != "float8_e4m3fn"):
        raise ShapeError(
            f"weight_scale is {scale.dtype}, and weight_global_scale is {'missing' if whole is None else whole.dtype}"
        )
    scales = spread(scale, shape, (1, _GROUPS[kind]))
    divisor = spread(whole, shape) if whole and kind == "nvfp4" else None
    read = matrix_reader(shape, partial(_part_of_float4, flattened(codes), scales, divisor))
    group = next(iter(_groups_of(config)), {})
    facts = facts._replace(scheme=f"compressed-tensors {kind}", settings=_settings(group))
    return derived(name, shape, read, facts, dtype="bfloat16", role=Role.KERNEL, axes="out in" if len(shape) == 2 else "")


def _part_of_float4(codes: Weight, scales: Scales, divisor: Scales | None, first: int, last: int) -> Array:
    import numpy as np

    values = e2m1(rows(codes, first, last))
    scale = scales.read(first, last)
    if divisor:
        scale = scale / divisor.read(first, last)
    in_groups(np.multiply, values, scale, scales.group)
    return values.astype(numpy_dtype("bfloat16"))
