"""Count the numbers that the layers of quantisers pack into integers, where the shapes of a layer's tensors prove it.

| layer of | packed | proof |
|---|---|---|
| GPTQ | `qweight` (in * bits / 32, out) | `scales` (groups, out), `qzeros` (groups, out * bits / 32) |
| AWQ | `qweight` (in, out * bits / 32) | `scales` (groups, out), `qzeros` (groups, out * bits / 32) |
| bitsandbytes 4 bits | `weight` (numbers / 2, 1), uint8 | the shape in the JSON `weight.quant_state.bitsandbytes__nf4`, `__fp4` |

Layers of other quantisers, such as MLX (`weight` of uint32 with `scales`), have shapes that fit several numbers of bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.plain import from_json
from steelyard.errors import SteelyardError

if TYPE_CHECKING:
    from steelyard.core.weight import Weight

_GPTQ, _SCALES, _STATE = ".qweight", ".scales", ".quant_state.bitsandbytes__"
_WORD = 32
"""bits of an integer of GPTQ, AWQ and MLX"""


def packed_notes(weights: Mapping[str, Weight]) -> list[str]:
    """Return a sentence with the logical and stored counts of packed weights, and one for those of unknown count."""
    known: list[tuple[int, int]] = []
    unknown: list[int] = []
    for name in weights:
        if name.endswith(_GPTQ) or (name.endswith(_SCALES) and _is_packed(weights, name)):
            stem = name[: name.rindex(".")]
            logical = _of_words(weights, stem) if name.endswith(_GPTQ) else None
            stored = weights.get(name if name.endswith(_GPTQ) else f"{stem}.weight")
        elif _STATE in name:
            stored = weights.get(name.partition(_STATE)[0])
            logical = _of_state(weights[name]) if stored is not None else None
        else:
            continue
        if stored is not None and logical is not None:
            known.append((logical, stored.size))
        elif stored is not None:
            unknown.append(stored.size)
    return [*_known(known), *_unknown(unknown)]


def _is_packed(weights: Mapping[str, Weight], scales: str) -> bool:
    """Whether scales belong to a weight of words; those of GPTQ and AWQ belong to their `qweight`."""
    weight = weights.get(scales.removesuffix(_SCALES) + ".weight")
    return weight is not None and weight.dtype in ("int32", "uint32")


def _of_words(weights: Mapping[str, Weight], stem: str) -> int | None:
    """Return the count of a layer of GPTQ or AWQ; None where the shapes of its tensors do not agree."""
    shapes = [weights[f"{stem}.{leaf}"].shape if f"{stem}.{leaf}" in weights else () for leaf in ("qweight", "qzeros", "scales")]
    if any(len(shape) != 2 or 0 in shape for shape in shapes) or weights[f"{stem}.qweight"].dtype not in ("int32", "uint32"):
        return None
    (rows, columns), (groups, words), (scaled, outputs) = shapes
    bits, rest = divmod(words * _WORD, outputs)
    if groups != scaled or rest or not 1 <= bits <= 8:
        return None
    if columns == outputs and rows * _WORD % bits == 0:
        return rows * _WORD // bits * outputs
    return rows * outputs if columns == words else None


def _of_state(state: Weight) -> int | None:
    """Return the count of the shape in a quantisation state of bitsandbytes."""
    if state.unreadable is not None or state.dtype != "uint8" or state.size > limits.TEXT:
        return None
    try:
        facts = from_json(state.numpy().tobytes())
    except SteelyardError:
        return None
    shape = facts.get("shape") if isinstance(facts, dict) else None
    lengths = [length for length in shape if type(length) is int] if isinstance(shape, list) else []
    return prod(lengths) if isinstance(shape, list) and len(lengths) == len(shape) and limits.is_possible(lengths) else None


def _known(counts: Iterable[tuple[int, int]]) -> Iterable[str]:
    listed = list(counts)
    if listed:
        logical, stored = (sum(column) for column in zip(*listed, strict=True))
        yield f"{_weights(len(listed))} packed: {logical:,} numbers of the net, stored as {stored:,}"


def _unknown(counts: Iterable[int]) -> Iterable[str]:
    listed = list(counts)
    if listed:
        stored = f"{_weights(len(listed))} packed, stored as {sum(listed):,} numbers"
        yield f"{stored}; the file does not show how many they are in the net"


def _weights(count: int) -> str:
    return f"{count:,} weight{'s are' if count > 1 else ' is'}"
