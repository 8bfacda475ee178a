"""torchao: tensors of subclasses in pickles and safetensors, whose plain tensors have names of their own.

X.qdata, X.scale, X.zero_point                    Int8Tensor, IntxUnpackedToInt8Tensor, Float8Tensor, MXTensor, NVFP4Tensor
L._weight_qdata, L._weight_scale, ...             the same of X = L.weight in safetensors, with the facts as JSON in the metadata
X.tensor_impl.int_data, .float8_data, .scale, ... AffineQuantizedTensor (torchao 0.12)
X.tensor_impl.int_data.int4_shard, .int2_shard    UintxTensor: a shard of the low bits and one of the high bits, in which the low
                                                  field of a byte is of the first part of the row, the next of the second part
X.quantized_data, X.nf4, X.quantized_scalers, ... NF4Tensor: the number of a code, times the scale of its block, where
                                                  scale = quantised scale / factor + mean
X.original_weight_tensor.qdata                    a tensor whose layer quantises its inputs too

number = (code - zero point) * scale, where a block of numbers shares a scale. Class, type, shape and block are in the encoding of
the tensors of a pickle: "Int8Tensor float32 32x64 by 1x64". Other layouts have the order of a kernel, and are refused.
"""

from __future__ import annotations

import re
from functools import partial
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.plain import from_json
from steelyard.core.effective import Derivation, attempted, derived, joined
from steelyard.core.roles import leaf_of
from steelyard.core.rounding import rounded
from steelyard.core.weight import Role
from steelyard.dtypes import numpy_dtype
from steelyard.errors import ShapeError, SteelyardError, printable
from steelyard.numerics.packed import e2m1, flattened, high_first, matrix_reader, rows
from steelyard.numerics.scales import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Array, Weight
    from steelyard.numerics.scales import Scales

_PLAIN = ("Int8Tensor", "IntxUnpackedToInt8Tensor", "Float8Tensor")
_FOURS = {"MXTensor": 32, "NVFP4Tensor": 16}
"""Classes with numbers of E2M1 or float8, and the numbers of a row that share a scale."""
_IMPLEMENTATIONS = ("PlainAQTTensorImpl", "UintxAQTTensorImpl", "Float8AQTTensorImpl")
_AROUND = ("LinearActivationQuantizedTensor",)
_TYPES = ("float16", "bfloat16", "float32", "float64")
_SHARDS = {bits: [width for width in (4, 2, 1) if bits & width] for bits in range(1, 8)}
"""By the number of bits, the bits of each shard, that of the lowest first."""
_NF4 = ("quantized_data", "nf4", "quantized_scalers", "quantization_factor", "scaler_mean")
_CODES = ("qdata", "int_data", "float8_data", "packed_weight", "int4_shard", "int2_shard", "int1_shard")
_OTHERS = ("scale", "zero_point", "per_tensor_scale", "scale_and_zero", "act_pre_scale")
_WORDS = (*_CODES, *_OTHERS, *_NF4)
_PLACES = ("", "tensor_impl", "tensor_impl.int_data")
_MOST = 1 << 16
"""characters of the metadata of a tensor"""


class _Facts(NamedTuple):
    """What a file says about a tensor: its class and those inside, type, shape, block and further words."""

    kinds: tuple[str, ...] = ()
    dtype: str = ""
    shape: tuple[int, ...] | None = None
    block: tuple[int, ...] | None = None
    words: Mapping[str, str] = {}

    @property
    def kind(self) -> str:
        """The class that has the numbers; blank where it is not known."""
        return next((kind for kind in self.kinds if kind not in _AROUND), "")


class _Held(NamedTuple):
    """The tensors of one effective weight, by their words, and what is said about it."""

    name: str
    tensors: Mapping[str, Weight]
    facts: _Facts


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of tensors of subclasses."""
    for held in (*_of_pickles(pieces), *_of_metadata(pieces)):
        kind = next((kind for kind in held.facts.kinds if kind in _IMPLEMENTATIONS), held.facts.kind)
        facts = Derivation(f"torchao {printable(kind) or 'tensor'}", tuple(weight.name for weight in held.tensors.values()))
        yield attempted(held.name, facts, partial(_weight, held, facts))


def _of_pickles(pieces: Pieces) -> Iterator[_Held]:
    """Yield tensors whose plain tensors are below their own name."""
    names: dict[str, None] = {}
    for leaf in (*_CODES, "quantized_data"):
        for stem in pieces.stems(leaf):
            inside = stem.endswith(("tensor_impl", "int_data"))
            if leaf in ("qdata", "quantized_data") or inside:
                above = stem.removesuffix(".int_data").removesuffix(".tensor_impl")
                names[above.removesuffix(".original_weight_tensor")] = None
    for name in names:
        tensors: dict[str, Weight] = {}
        for outer in (name, f"{name}.original_weight_tensor"):
            for place in _PLACES:
                found = pieces.of(joined(outer, place) if place else outer, *_WORDS)
                tensors |= {word: weight for word, weight in zip(_WORDS, found, strict=True) if weight is not None}
        if "quantized_data" not in tensors or "nf4" in tensors:
            yield _Held(name, tensors, _from_encoding(max((each.encoding for each in tensors.values()), key=len)))


def _from_encoding(text: str) -> _Facts:
    """Return the facts in the encoding of a tensor of a pickle."""
    kinds: list[str] = []
    facts = _Facts()
    for part in text.split(", ") if " " in text else ():
        kind, dtype, shape, *others = [*part.split(" "), "", ""]
        words = dict(zip(others[::2], others[1::2], strict=False))
        if kind not in _AROUND and not kinds:
            facts = facts._replace(dtype=dtype, shape=_axes(shape), block=_axes(words.get("by", "")))
        kinds.append(kind)
        facts = facts._replace(words={**facts.words, **words})
    return facts._replace(kinds=(*([kind for kind in _AROUND if kind in text]), *(k for k in kinds if k not in _AROUND)))


def _axes(text: str) -> tuple[int, ...] | None:
    return tuple(map(int, text.split("x"))) if re.fullmatch(r"-?\d{1,18}(x-?\d{1,18})*", text) else None


def _of_metadata(pieces: Pieces) -> Iterator[_Held]:
    """Yield tensors that safetensors have under names such as `fc._weight_qdata`, or `fc.weight:qdata` before."""
    for leaf in [leaf for leaf in pieces.leaves if re.fullmatch(r"_\w+_qdata|\w+:qdata", leaf)]:
        old = leaf.endswith(":qdata")
        word = leaf[:-6] if old else leaf[1:-6]
        for stem in pieces.stems(leaf):
            leaves = [f"{word}:{each}" if old else f"_{word}_{each}" for each in _WORDS]
            tensors = {each: weight for each, weight in zip(_WORDS, pieces.of(stem, *leaves), strict=True) if weight is not None}
            name = joined(stem, word)
            yield _Held(name, tensors, _from_json(pieces.meta.get(name)))


def _from_json(text: object) -> _Facts:
    """Return the facts in the metadata of safetensors."""
    try:
        whole = from_json(text.encode()) if isinstance(text, str) and len(text) <= _MOST else None
    except (SteelyardError, UnicodeError):
        whole = None
    kind, held = (whole.get("_type"), whole.get("_data")) if isinstance(whole, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(held, dict):
        return _Facts()
    dtype = next((_word(held.get(key)) for key in ("dtype", "orig_dtype") if held.get(key)), "")
    words = {"swizzled": ""} if held.get("is_swizzled_scales") is True else {}
    return _Facts((kind,), dtype, _integers(held.get("shape")), _integers(held.get("block_size")), words)


def _word(value: object) -> str:
    inner = value.get("_data") if isinstance(value, dict) else None
    return inner if isinstance(inner, str) else ""


def _integers(value: object) -> tuple[int, ...] | None:
    several = value if isinstance(value, list) else [value]
    known = [each for each in several if type(each) is int]
    return tuple(known) if len(known) == len(several) else None


def _weight(held: _Held, facts: Derivation) -> Weight:
    tensors, said = held.tensors, held.facts
    why = next((each.unreadable for each in tensors.values() if each.unreadable), None)
    if why:
        raise ShapeError(why)
    if "nf4" in tensors:
        return _nf4(held, facts)
    if said.kind in _FOURS:
        return _of_four_bits(held, facts)
    inside = said.kind == "AffineQuantizedTensor" and any(kind in _IMPLEMENTATIONS for kind in said.kinds)
    if said.kind not in ("", *_PLAIN) and not inside:
        raise ShapeError(f"{printable(said.kinds[-1])} has its numbers in the order of a kernel, or packed as only torchao knows")
    if "packed_weight" in tensors or "scale_and_zero" in tensors:
        raise ShapeError("its packed_weight has the order of a kernel")
    if said.words.get("zero") == "float":
        raise ShapeError("its zero points are fractions, as those of the tinygemm kernel are")
    shape, part = _codes(tensors, said)
    if said.shape is not None and said.shape != shape:
        raise ShapeError(f"its codes have shape {shape}, and the file says {said.shape}")
    scale, zero = tensors.get("scale"), None if said.words.get("zero") == "none" else tensors.get("zero_point")
    if scale is None:
        raise ShapeError("its scale is missing")
    scales, zeros = _blocks(scale, shape, said.block), None if zero is None else _blocks(zero, shape, said.block)
    assumed = () if said.kind else ("its blocks divide its axes, since the file does not name its class",)
    return _finished(held, shape, partial(_part, part, scales, zeros), facts._replace(assumed=assumed))


def _finished(held: _Held, shape: tuple[int, ...], part: Callable[[int, int], Array], facts: Derivation) -> Weight:
    """Return the weight in the type that the file says the tensor has."""
    dtype = held.facts.dtype if held.facts.dtype in _TYPES else "float32"

    def typed(first: int, last: int) -> Array:
        import numpy as np

        with np.errstate(over="ignore", invalid="ignore"):
            return rounded(part(first, last), numpy_dtype(dtype))

    role, axes = (Role.KERNEL, "out in") if len(shape) == 2 and leaf_of(held.name) == "weight" else (Role.OTHER, "")
    return derived(held.name, shape, matrix_reader(shape, typed), facts, dtype=dtype, role=role, axes=axes)


def _codes(tensors: Mapping[str, Weight], said: _Facts) -> tuple[tuple[int, ...], Callable[[int, int], Array]]:
    """Return the shape of the codes, and what reads rows of them."""
    stored = next((tensors[word] for word in ("qdata", "int_data", "float8_data") if word in tensors), None)
    if stored is not None:
        if stored.dtype not in ("int8", "uint8") and not stored.dtype.startswith("float8"):
            raise ShapeError(f"its codes are {stored.dtype}")
        if not said.kind and stored.dtype == "uint8":
            raise ShapeError("its codes are bytes, and the file does not name its class")
        return stored.shape, partial(rows, flattened(stored))
    shards = {width: tensors[f"int{width}_shard"] for width in (4, 2, 1) if f"int{width}_shard" in tensors}
    bits = sum(shards)
    told = said.words.get("bits", str(bits))
    if told != str(bits) or not shards:
        raise ShapeError(f"it has {printable(told)} bits, and shards of {bits}")
    shapes = {(*shard.shape[:-1], shard.shape[-1] * 8 // width) if shard.shape else () for width, shard in shards.items()}
    shape = next(iter(shapes))
    if len(shapes) > 1 or not shape or any(shard.dtype != "uint8" for shard in shards.values()):
        raise ShapeError("its shards do not fit each other")
    if said.words.get("along", "-1") not in ("-1", str(len(shape) - 1)):
        raise ShapeError(f"it is packed along axis {printable(said.words['along'])}, which is not read")
    return shape, partial(_unpacked, {width: flattened(shard) for width, shard in shards.items()})


def _unpacked(shards: Mapping[int, Weight], first: int, last: int) -> Array:
    """Return rows of codes: the fields of a byte are of as many parts of the row."""
    import numpy as np

    codes, done = np.zeros((), np.uint8), 0
    for width, shard in shards.items():
        stored = rows(shard, first, last)
        fields = [(stored >> np.uint8(at)) & np.uint8((1 << width) - 1) for at in range(0, 8, width)]
        codes = codes | np.concatenate(fields, axis=1) << np.uint8(done)
        done += width
    return codes


def _blocks(scale: Weight, shape: tuple[int, ...], block: tuple[int, ...] | None) -> Scales:
    """Return scales or zero points of the blocks of a weight, of which no axis has a part of one."""
    values = scale.replace(dtype="float32", read=partial(_as_float, scale))
    if block is None:
        return spread(values, shape)
    if len(block) != len(shape) or any(each < -1 or not each for each in block):
        raise ShapeError(f"its blocks {block} do not fit a weight {shape}")
    sides = [length if each == -1 else each for each, length in zip(block, shape, strict=True)]
    grid = tuple(length // side for length, side in zip(shape, sides, strict=True))
    whole = all(side == length for side, length in zip(sides, shape, strict=True))
    if any(length % side for side, length in zip(sides, shape, strict=True)) or prod(grid) != scale.size:
        raise ShapeError(f"blocks {block} of a weight {shape} need scales {grid}, not {scale.shape}")
    if not whole and any(side != 1 for side in sides[:-2]):
        raise ShapeError(f"its blocks {block} have more than two axes, which is not read")
    pair = (1, sides[-1]) if len(sides) == 1 else (sides[-2], sides[-1])
    return spread(values.replace(shape=grid), shape, pair)


def _as_float(scale: Weight, start: int, stop: int) -> Array:
    import numpy as np

    return scale.read(start, stop).astype(np.float32)


def _part(codes: Callable[[int, int], Array], scales: Scales, zeros: Scales | None, first: int, last: int) -> Array:
    import numpy as np

    values = codes(first, last).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        if zeros is not None:
            zeros.apply(np.subtract, values, first)
        scales.apply(np.multiply, values, first)
    return values


def _of_four_bits(held: _Held, facts: Derivation) -> Weight:
    """Return the weight of float8, or of two numbers of E2M1 in each byte, with a scale for each 16 or 32 of a row."""
    data, scale, whole = (held.tensors.get(word) for word in ("qdata", "scale", "per_tensor_scale"))
    if data is None or scale is None or not data.shape:
        raise ShapeError("its numbers or their scales are missing")
    if "swizzled" in held.facts.words:
        raise ShapeError("its scales have the order of a kernel")
    packed = data.dtype == "uint8"
    shape = (*data.shape[:-1], data.shape[-1] * (1 + packed))
    size = held.facts.block[0] if held.facts.block else _FOURS[held.facts.kind]
    if size < 1 or shape[-1] % size or scale.size * size != prod(shape) or (held.facts.shape or shape) != shape:
        raise ShapeError(f"scales {scale.shape} for blocks of {size} do not fit a weight {shape}")
    scales = spread(scale.replace(shape=(*shape[:-1], shape[-1] // size)), shape, (1, size))
    codes = flattened(data)
    factor = whole.read(0, 1).astype("float32") if whole is not None and whole.size == 1 else None
    if whole is not None and factor is None:
        raise ShapeError(f"its scale for the whole tensor has shape {whole.shape}")

    def part(first: int, last: int) -> Array:
        stored = rows(codes, first, last)
        values = _part(lambda _a, _b: e2m1(stored) if packed else stored, scales, None, first, last)
        return values if factor is None else values * factor

    return _finished(held, shape, part, facts)


def _nf4(held: _Held, facts: Derivation) -> Weight:
    """Return the weight of codes of 4 bits, the high ones first; scales are those of blocks of the flat weight."""
    missing = [word for word in _NF4 if word not in held.tensors]
    if missing:
        raise ShapeError(f"its {' and '.join(missing)} are missing")
    codes, table, scalers, factors, mean = (held.tensors[word] for word in _NF4)
    shape, block, group = held.facts.shape, held.facts.block, held.facts.words.get("of", "")
    if shape is None or block is None or len(block) != 1 or not re.fullmatch(r"\d{1,18}", group):
        raise ShapeError("the file does not say its shape and the sizes of its blocks")
    size, count, several = block[0], prod(shape), max(int(group), 1)
    fits = size > 0 and codes.size * 2 == count == scalers.size * size and factors.size == -(-scalers.size // several)
    if not fits or table.size != 16 or mean.size != 1 or codes.dtype != "uint8":
        raise ShapeError(f"{codes.size} bytes and {scalers.size} scales for blocks of {size} do not fit a weight {shape}")

    def read(start: int, stop: int) -> Array:
        import numpy as np

        first, last = start // size, -(-stop // size)
        if stop <= start:
            return np.empty(0, np.float32)
        steps = factors.read(first // several, (last - 1) // several + 1).astype(np.float32)
        group_of = np.arange(first, last) // several - first // several
        with np.errstate(all="ignore"):
            scale = scalers.read(first, last).astype(np.float32) / steps[group_of] + mean.read(0, 1).astype(np.float32)
            pairs = high_first(codes.read(start // 2, -(-stop // 2)), 4)[start % 2 :][: stop - start]
            values: Array = table.read(0, 16).astype(np.float32)[pairs]
            real: Array = values * scale[np.arange(start, stop) // size - first]
        return real

    dtype = held.facts.dtype if held.facts.dtype in _TYPES else "float32"

    def typed(start: int, stop: int) -> Array:
        return rounded(read(start, stop), numpy_dtype(dtype))

    return derived(held.name, shape, typed, facts, dtype=dtype)
