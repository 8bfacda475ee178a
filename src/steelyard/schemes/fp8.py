"""Weights of float8 with scales beside them, as vLLM, DeepSeek, transformers, ModelOpt and ComfyUI write them.

X, X_scale          one scale for all, for each row (out) or (out, 1), for each expert, or a grid of one for each block
X, X_scale_inv      the same of DeepSeek, which is a factor too, in spite of its name
L.weight, L.scale   of DeepSeek V4; L.weight, L.scale_weight of ComfyUI

weight = number * scale. Scales of uint8 or float8_e8m0fnu are powers of two. The config's `weight_block_size` has the sides of a
block; the last blocks of an axis may be cut. Experts of DeepSeek V4 are int8 with two numbers of E2M1 in each byte, the low bits
first, and a power of two for each 32 of a row.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from steelyard.codecs.quantization_config import quantization_config
from steelyard.core.effective import Derivation, Pieces, Setting, attempted, derived, joined
from steelyard.errors import ShapeError
from steelyard.numerics.packed import as_float32, e2m1, flattened, matrix_reader, rows
from steelyard.numerics.scales import Scales, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.codecs.plain import Config
    from steelyard.core.weight import Array, Weight

_ENDS = ("_scale_inv", "_scale")
_WHOLE = {"scale": "weight", "scale_weight": "weight"}
"""The last words of names of scales that do not begin with the last word of their weight."""
_ACTIVATIONS = (
    "input_scale",
    "output_scale",
    "input_scale_inv",
    "scale_input",
    "k_scale",
    "v_scale",
    "q_scale",
    "activation_scale",
)
_POWERS = ("uint8", "float8_e8m0fnu")
_EXPERT_GROUP = 32


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of layers and experts."""
    config: Config | None = None
    for leaf in [*pieces.leaves]:
        end = next((end for end in _ENDS if leaf.endswith(end)), None)
        word = _WHOLE.get(leaf, leaf.removesuffix(end) if end else "")
        for stem in pieces.stems(leaf) if word else ():
            codes, scale = pieces.of(stem, word, leaf)
            if scale is None or codes is None or (not codes.dtype.startswith("float8") and not _is_expert(codes, scale)):
                continue
            config = quantization_config(pieces) if config is None else config
            if not codes.dtype.startswith("float8") and config.get("quant_method") != "fp8":
                continue
            others = tuple(weight.name for weight in pieces.of(stem, *_ACTIVATIONS) if weight and weight.name != scale.name)
            facts = Derivation("FP8", (codes.name, scale.name), activations=others)
            yield attempted(codes.name, facts, partial(_weight, codes, scale, config, facts))
    yield from _without_weights(pieces)


def _without_weights(pieces: Pieces) -> Iterator[Weight]:
    """Yield refused weights for scales whose weight is missing."""
    for leaf in ("weight_scale_inv", "weight_scale"):
        for stem in pieces.stems(leaf):
            name, scale = joined(stem, "weight"), joined(stem, leaf)
            if pieces.get(name) is None and pieces.get(joined(stem, "weight_packed")) is None:
                yield attempted(name, Derivation("FP8", (scale,)), _missing)


def _missing() -> Weight:
    raise ShapeError("its scales are here, and the weight is missing")


def _is_expert(codes: Weight, scale: Weight) -> bool:
    """Whether a weight has two numbers of E2M1 in a byte, and its scales are powers of two."""
    if codes.dtype not in ("int8", "uint8") or scale.dtype not in _POWERS or len(codes.shape) < 2:
        return False
    *leading, width = codes.shape
    return scale.shape == (*leading, width * 2 // _EXPERT_GROUP) and width * 2 % _EXPERT_GROUP == 0


def _weight(codes: Weight, scale: Weight, config: Config, facts: Derivation) -> Weight:
    if not codes.dtype.startswith("float8"):
        *leading, width = codes.shape
        shape = (*leading, 2 * width)
        facts = facts._replace(scheme="FP8 with experts of MXFP4")
        read = matrix_reader(shape, partial(_part_of_expert, flattened(codes), spread(scale, shape, (1, _EXPERT_GROUP))))
        return derived(codes.name, shape, read, facts, role=codes.role, axes=codes.axes)
    blocks = _blocks(config)
    scales = spread(scale, codes.shape, blocks)
    is_grid = scales.height > 1 and scale.size > 1 and len(scale.shape) == len(codes.shape) and scale.shape[-1] > 1
    settings: dict[str, Setting] = {"weight_block_size": f"{blocks[0]} x {blocks[1]}"} if blocks and is_grid else {}
    guessed = f"its blocks have {scales.height} x {scales.group} numbers, since the scales divide it so"
    assumed = (guessed,) if is_grid and not blocks else ()
    facts = facts._replace(scheme="FP8 in blocks" if is_grid else "FP8", settings=settings, assumed=assumed)
    read = matrix_reader(codes.shape, partial(_part, flattened(codes), scales))
    return derived(codes.name, codes.shape, read, facts, role=codes.role, axes=codes.axes)


def _blocks(config: Config) -> tuple[int, int] | None:
    """Return the sides of a block that the config has."""
    sides = config.get("weight_block_size")
    if sides is None:
        return None
    lengths = [side for side in sides if type(side) is int and side > 0] if isinstance(sides, list) else []
    if not isinstance(sides, list) or len(lengths) != len(sides) or len(lengths) != 2:
        raise ShapeError("the config's weight_block_size is not two positive integers")
    return lengths[0], lengths[1]


def _part(codes: Weight, scales: Scales, first: int, last: int) -> Array:
    import numpy as np

    values = as_float32(rows(codes, first, last))
    scales.apply(np.multiply, values, first)
    return values


def _part_of_expert(codes: Weight, scales: Scales, first: int, last: int) -> Array:
    import numpy as np

    values = e2m1(rows(codes, first, last))
    scales.apply(np.multiply, values, first)
    return values
