"""MLX: rows of codes in words of 32 bits, in groups of affine, mxfp4, mxfp8 or nvfp4 numbers.

L.weight   uint32 (out, in * bits / 32)    a stream of bits, the lowest first; experts have an axis before
L.scales   float (out, in / group)         affine: weight = code * scale + bias
L.biases   float (out, in / group)         of affine only; L.bias is the bias of the layer
           scales uint8 (out, in / group)  mxfp4 and mxfp8: 2^(byte - 127) times E2M1 or E4M3; nvfp4: E4M3 times E2M1

The config has group_size, bits and mode in "quantization", and those of some layers by their names. Shapes alone give only the
product of group size and bits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.quantization_config import integer, quantization_config
from steelyard.core.effective import Derivation, Pieces, Setting, attempted, derived
from steelyard.core.rounding import rounded
from steelyard.core.weight import Role
from steelyard.dtypes import numpy_dtype
from steelyard.errors import ShapeError, quoted
from steelyard.numerics.packed import e2m1, fields, flattened, in_groups, matrix_reader, rows
from steelyard.numerics.scales import Scales, floats, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.codecs.plain import Config
    from steelyard.core.weight import Array, Weight

_WORD = 32
_BITS, _GROUPS = (2, 3, 4, 5, 6, 8), (32, 64, 128)
"""Those of mode affine."""
_MODES = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
"""The bits and the group of each other mode."""


class _Mode(NamedTuple):
    word: str
    bits: int
    group: int


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of linear layers, embeddings and experts."""
    config: Config | None = None
    for stem in pieces.stems("scales"):
        codes, scales, biases = pieces.of(stem, "weight", "scales", "biases")
        if codes is None or scales is None or codes.dtype != "uint32":
            continue
        config = quantization_config(pieces) if config is None else config
        own = config.get(stem)
        name, facts = codes.name, Derivation("MLX", tuple(weight.name for weight in (codes, scales, biases) if weight))
        known = {**config, **own} if isinstance(own, dict) else config
        yield attempted(name, facts, partial(_weight, codes, scales, biases, known, facts))


def _weight(codes: Weight, scales: Weight, biases: Weight | None, config: Config, facts: Derivation) -> Weight:
    if len(codes.shape) < 2 or 0 in codes.shape or scales.shape[:-1] != codes.shape[:-1] or not scales.size:
        raise ShapeError(f"weight is {codes.shape}, scales {scales.shape}")
    if (biases is None) != (scales.dtype == "uint8") or (biases and (biases.shape, biases.dtype) != (scales.shape, scales.dtype)):
        known = f"{biases.dtype} {biases.shape}" if biases else "missing"
        raise ShapeError(f"scales are {scales.dtype} {scales.shape}, biases {known}")
    product, rest = divmod(codes.shape[-1] * _WORD, scales.shape[-1])
    mode, assumed = _mode(product, config, is_affine=biases is not None)
    inputs = scales.shape[-1] * mode.group
    if rest or mode.bits * mode.group != product:
        raise ShapeError(f"the config says {mode.bits} bits in groups of {mode.group}, the shapes {product} bits a group")
    shape = (*codes.shape[:-1], inputs)
    spread_out = spread(scales, shape, (1, mode.group)) if mode.word != "nvfp4" else None
    offsets = spread(biases, shape, (1, mode.group)) if biases else None
    dtype = scales.dtype if biases else "float32"
    settings: dict[str, Setting] = {"bits": mode.bits, "group_size": mode.group, "mode": mode.word} if config else {}
    facts = facts._replace(scheme=f"MLX {mode.word} {mode.bits} bits", settings=settings, assumed=assumed)
    stored = flattened(codes)
    if spread_out and offsets:
        part = partial(_affine, stored, spread_out, offsets, mode.bits, dtype)
    else:
        part = partial(_floats, stored, flattened(scales), mode)
    role = Role.KERNEL if len(shape) > 2 else Role.OTHER
    return derived(codes.name, shape, matrix_reader(shape, part), facts, dtype=dtype, role=role)


def _mode(product: int, config: Config, *, is_affine: bool) -> tuple[_Mode, tuple[str, ...]]:
    """Return the mode with its bits and group, which the config has or the product of both proves, and what was assumed."""
    word, bits, group = (
        config.get("mode", "affine" if is_affine else None),
        integer(config, "bits"),
        integer(config, "group_size"),
    )
    if word is not None and (word not in ("affine", *_MODES) or (word == "affine") != is_affine):
        raise ShapeError(f"the config says mode {quoted(str(word))}, and biases are {'here' if is_affine else 'missing'}")
    known = {"affine": [(b, g) for b in _BITS for g in _GROUPS]} if is_affine else {k: [v] for k, v in _MODES.items()}
    fitting = [
        _Mode(each, b, g)
        for each, pairs in known.items()
        for b, g in pairs
        if word in (None, each) and bits in (None, b) and group in (None, g) and b * g == product
    ]
    if not fitting:
        said = f"the config says {bits} bits in groups of {group}, and " if bits or group else ""
        raise ShapeError(f"{said}a group has {product} bits")
    if len(fitting) > 1:
        several = " or ".join(f"{each.bits} bits in groups of {each.group}" for each in fitting)
        raise ShapeError(f"no config says whether it has {several}")
    whole = bits is None or group is None
    return fitting[0], (
        f"it has {fitting[0].bits} bits in groups of {fitting[0].group}, as nothing else fits the shapes",
    ) * whole


def _affine(codes: Weight, scales: Scales, biases: Scales, bits: int, dtype: str, first: int, last: int) -> Array:
    import numpy as np

    values = fields(rows(codes, first, last), bits).astype(np.float32)
    scales.apply(np.multiply, values, first)
    biases.apply(np.add, values, first)
    return rounded(values, numpy_dtype(dtype))


def _floats(codes: Weight, scales: Weight, mode: _Mode, first: int, last: int) -> Array:
    """Return rows of a mode other than affine."""
    import numpy as np
    from ml_dtypes import float8_e4m3fn

    stored = np.ascontiguousarray(rows(codes, first, last)).view(np.uint8)
    values = e2m1(stored) if mode.bits == 4 else stored.view(float8_e4m3fn).astype(np.float32)
    read = rows(scales, first, last)
    in_groups(np.multiply, values, floats(read.view(float8_e4m3fn) if mode.word == "nvfp4" else read), mode.group)
    return values
