"""The names and the config of adapters of PEFT.

base_model.model.<layer>.lora_A.weight              in the file of an adapter
base_model.model.<layer>.lora_A.<adapter>.weight    in the state dict of a live net with adapters
base_model.model.<layer>.lora_embedding_A           parts of an embedding, and of LoHa, LoKr, IA3 and VeRA have no last word

adapter_config.json    {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "rank_pattern": {<end of a layer>: 4}, ...}
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.patterns import Pattern
from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from steelyard.codecs.plain import Config, Plain

CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
PARTS = (
    "lora_A",
    "lora_B",
    "lora_embedding_A",
    "lora_embedding_B",
    "lora_magnitude_vector",
    "lora_E",
    "hada_w1_a",
    "hada_w1_b",
    "hada_w2_a",
    "hada_w2_b",
    "hada_t1",
    "hada_t2",
    "lokr_w1",
    "lokr_w1_a",
    "lokr_w1_b",
    "lokr_w2",
    "lokr_w2_a",
    "lokr_w2_b",
    "lokr_t2",
    "ia3_l",
    "vera_lambda_b",
    "vera_lambda_d",
    "oft_R",
    "trainable_tokens_delta",
)
"""The words for the parts of an adapter of one layer."""
_PART = "|".join(sorted(PARTS, reverse=True))
_NAME = re.compile(rf"(?:(.+?)\.)?(?:token_adapter\.)?({_PART})(?:\.((?!(?:weight|bias)\Z)[^.]+))?(?:\.(weight|bias))?\Z")
_PATTERN = re.compile(r"(?:[\w\-\^$|/,]|\.|\\[.d]|\(|\)(?![*+?{])|\[[\w\-]*\](?![*+?{]))*")
"""Expressions whose time does not explode: neither a group nor a set is repeated."""
_REPEATS = 2
_LONGEST = 1000
_HIGHEST = 1 << 31
"""Ranks above this are of no net."""


class PartName(NamedTuple):
    """What a name says: the layer, the part of it, "weight", "bias" or blank, and the adapter of a live net, or blank."""

    layer: str
    part: str
    leaf: str
    adapter: str


def part_of(name: str) -> PartName | None:
    """Return what the name of a part of an adapter says; None for other names.

    >>> part_of("base_model.model.q_proj.lora_A.weight")
    PartName(layer='q_proj', part='lora_A', leaf='weight', adapter='')
    >>> part_of("base_model.model.emb.lora_embedding_A.default").adapter
    'default'
    """
    match = _NAME.match(name.removeprefix(PREFIX)) if len(name) <= _LONGEST else None
    return match and PartName(match[1] or "", match[2], match[4] or "", match[3] or "")


def of_layer(config: Config, patterns: str, layer: str, otherwise: str) -> Plain:
    """Return what a config says of a layer: the value of the first pattern that matches its end, or else that of a key.

    >>> config = {"lora_alpha": 8, "alpha_pattern": {"q_proj": 16}}
    >>> of_layer(config, "alpha_pattern", "h.0.q_proj", "lora_alpha"), of_layer(config, "alpha_pattern", "fc", "lora_alpha")
    (16, 8)
    """
    found = config.get(patterns)
    for key, value in found.items() if isinstance(found, dict) else ():
        if _fits(key, layer):
            return value
    return config.get(otherwise)


def _fits(pattern: str, layer: str) -> bool:
    """Whether the end of a layer's name matches a regular expression, as `get_pattern_key` of PEFT asks."""
    if layer == pattern or layer.endswith(f".{pattern}"):
        return True
    plain = pattern.replace(".*", "").replace(".+", "").replace("\\d+", "").replace("\\d*", "")
    repeats = sum(pattern.count(mark) for mark in "*+")
    if not _PATTERN.fullmatch(plain) or repeats > _REPEATS or len(pattern) > _LONGEST:
        raise ShapeError(f"its config has the pattern {quoted(pattern)}, which Steelyard does not read")
    try:
        return _ending(pattern).match(layer) is not None
    except re.error:
        raise ShapeError(f"its config has the pattern {quoted(pattern)}, which is not a regular expression") from None


@lru_cache
def _ending(pattern: str) -> Pattern:
    return Pattern(rf"(.*\.)?({pattern})$\n?")  # as PEFT matches it, whose "$" allows for a last line end


def number(value: Plain) -> float | None:
    """Return a number of a config; None for anything else.

    >>> number(8), number("8")
    (8.0, None)
    """
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30 else None


def scale_of(config: Config, layer: str, rank: int | None = None) -> float:
    """Return alpha / rank of a layer, or alpha / sqrt(rank) with "use_rslora".

    Raises `ShapeError` where the config does not have them, or another rank than `rank`, that of the weights.

    >>> scale_of({"r": 4, "lora_alpha": 8}, "fc"), scale_of({"r": 4, "lora_alpha": 8, "use_rslora": True}, "fc")
    (2.0, 4.0)
    """
    alpha = number(of_layer(config, "alpha_pattern", layer, "lora_alpha" if "lora_alpha" in config else "alpha"))
    stated = of_layer(config, "rank_pattern", layer, "r")
    if alpha is None or type(stated) is not int or not 1 <= stated <= _HIGHEST:
        raise ShapeError(f"its {CONFIG} does not have the rank and the alpha, which give its scale")
    if rank is not None and rank != stated:
        raise ShapeError(f"its {CONFIG} has rank {stated}, and its weights have rank {rank}")
    return float(alpha / (stated**0.5 if config.get("use_rslora") is True else stated))
