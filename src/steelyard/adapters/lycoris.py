"""Adapters of LyCORIS and kohya's sd-scripts: LoRA with its Tucker form, LoHa, LoKr, diagonal OFT, IA3, full differences.

lora_unet_down_blocks_0_attn1_to_q.lora_down.weight    the layer down_blocks.0.attn1.to_q of the net "unet"
lora_unet_down_blocks_0_attn1_to_q.alpha               the scale is alpha / rank; 1 without it

The dots of a layer's name became underscores, which names have of their own. So the names of the base are joined in the same
way, and looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.core.merging import Change, rows_of
from steelyard.errors import ShapeError, printable
from steelyard.numerics import low_rank
from steelyard.numerics.row_changes import (
    in_turn,
    kept,
    normed,
    numbers,
    plus,
    rotated_rows,
    times_columns,
    times_rows,
)

if TYPE_CHECKING:
    from steelyard.codecs.plain import Config
    from steelyard.core.effective import Pieces
    from steelyard.core.merging import Apply
    from steelyard.core.weight import Array, Weight

_LEAVES = (
    r"lora_(?:down|up|mid)\.weight|alpha|dora_scale|hada_[wt][12](?:_[ab])?|lokr_[wt][12](?:_[ab])?|diff|diff_b|w_norm|b_norm|"
    r"oft_blocks|rescale|on_input|weight"
)
_NAME = re.compile(rf"([^.]+)\.({_LEAVES})\Z")
_MARKS = ("lora_down.weight", "oft_blocks", "diff", "w_norm", "on_input")
_PREFIXES = ("lycoris", "lora_unet", "lora_te1", "lora_te2", "lora_te3", "lora_te", "lora_transformer", "lora_prior", "lora")
_EPSILON = 2.0**-23
"""What LyCORIS adds to the norms of DoRA, which are float32."""


def recognises(adapter: Pieces, config: Config) -> bool:
    """Whether the names begin with one word for the whole path of a layer, and end as those of LyCORIS."""
    if isinstance(config.get("peft_type"), str):
        return False
    matched = [match for name in adapter if (match := _NAME.match(name))]
    return any(match[2] in _MARKS or _bare(match[1]) for match in matched)


def changes(adapter: Pieces, base: Mapping[str, Weight], _config: Config, *, residual: bool) -> Iterator[Change]:
    """Yield what the adapter does to the weights of its base."""
    layers: dict[str, dict[str, Weight]] = {}
    for name in adapter:
        match, weight = _NAME.match(name), adapter.get(name)
        if match is None or weight is None:
            raise ShapeError(f"the adapter has {printable(name)}, which is not a part that Steelyard knows")
        layers.setdefault(match[1], {})[match[2]] = weight
    found = _Joined(base)
    for word, parts in layers.items():
        yield from _changes(word, parts, found.layer(word), base)


def _bare(word: str) -> str:
    """Return a word without the prefix for its net; blank where it has none."""
    prefix = next((each for each in _PREFIXES if word.startswith(f"{each}_")), None)
    return "" if prefix is None else word[len(prefix) + 1 :]


class _Joined:
    """The layers of a base by their names with underscores for dots; the end of such a name is enough if it is the only one."""

    __slots__ = ("_layers",)

    def __init__(self, base: Mapping[str, Weight]) -> None:
        self._layers: dict[str, set[str]] = {}
        for name in base:
            layer, dot, leaf = name.rpartition(".")
            if dot and leaf == "weight":
                at = [-1, *(place for place, mark in enumerate(layer) if mark == ".")]
                for place in at:
                    self._layers.setdefault(layer[place + 1 :].replace(".", "_"), set()).add(layer)

    def layer(self, word: str) -> str:
        """Return the layer that a word of the adapter is for; raises `ShapeError` if there is none, or more than one."""
        candidates = self._layers.get(_bare(word) or word, set())
        whole = {layer for layer in candidates if layer.replace(".", "_") == (_bare(word) or word)}
        named = whole or candidates
        if len(named) != 1:
            what = f"{len(named)} layers that join to" if named else "no layer that joins to"
            raise ShapeError(f"the base has {what} {printable(word)}; pass the net that the adapter is for, with its own names")
        return next(iter(named))


def _changes(word: str, parts: Mapping[str, Weight], layer: str, base: Mapping[str, Weight]) -> Iterator[Change]:
    names = tuple(weight.name for weight in parts.values())
    kernel, bias = f"{layer}.weight", f"{layer}.bias"
    try:
        scheme, applied = _applied(parts, base[kernel].shape)
        yield Change(kernel, scheme, names, applied)
        for part in ("diff_b", "b_norm"):
            if part in parts:
                if bias not in base or base[bias].shape != parts[part].shape:
                    raise ShapeError(f"it changes the bias by {part}, and the base has none of this shape")
                yield Change(bias, scheme, (parts[part].name,), plus(rows_of(parts[part])))
    except ShapeError as error:
        yield Change(kernel, "an adapter of LyCORIS", names, refusal=str(error))


def _applied(parts: Mapping[str, Weight], shape: tuple[int, ...]) -> tuple[str, Apply]:
    """Return the name of the kind, and how the rows of a kernel change."""
    if "oft_blocks" in parts:
        return "diagonal OFT of LyCORIS", _oft(parts, shape)
    if "on_input" in parts:
        return "IA3 of LyCORIS", _ia3(parts, shape)
    if "diff" in parts or "w_norm" in parts:
        whole = parts.get("diff") or parts["w_norm"]
        if whole.shape != shape:
            raise ShapeError(f"its difference has shape {list(whole.shape)}, and the weight {list(shape)}")
        return "a full difference of LyCORIS", plus(rows_of(whole))
    name, delta = _delta(parts)
    alpha = parts.get("alpha")
    scale = 1.0 if alpha is None or delta.rank is None else _number(alpha) / delta.rank
    applied = plus(low_rank.fitting(delta, shape), scale)
    return name, _with_norms(applied, parts["dora_scale"], shape) if "dora_scale" in parts else applied


def _delta(parts: Mapping[str, Weight]) -> tuple[str, low_rank.Delta]:
    if "lora_down.weight" in parts:
        down, up, middle = parts["lora_down.weight"], parts.get("lora_up.weight"), parts.get("lora_mid.weight")
        if up is None:
            raise ShapeError("it has no lora_up.weight")
        return "LoRA of LyCORIS", low_rank.lora(down, up) if middle is None else low_rank.lora_tucker(down, middle, up)
    if any(part.startswith("hada_") for part in parts):
        return "LoHa of LyCORIS", low_rank.loha(parts)
    if any(part.startswith("lokr_") for part in parts):
        return "LoKr of LyCORIS", low_rank.lokr(parts)
    raise ShapeError(f"its parts are {', '.join(map(printable, parts))}, which Steelyard does not merge")


def _number(weight: Weight) -> float:
    """Return the number of a weight with a single one, which is read now: it is the scale."""
    if weight.size != 1:
        raise ShapeError(f"its alpha has shape {list(weight.shape)}")
    return float(weight.numpy().reshape(-1)[0])


def _with_norms(applied: Apply, norms: Weight, shape: tuple[int, ...]) -> Apply:
    """Return the change of DoRA: the norms of the rows, or of the columns, where the norms have these."""
    ones = (1,) * (len(shape) - 2)
    axes = [axis for axis in (0, 1) if len(shape) > 1 and norms.shape == ((shape[0], 1, *ones), (1, shape[1], *ones))[axis]]
    if not axes:
        raise ShapeError(f"its dora_scale has shape {list(norms.shape)}, and the weight {list(shape)}")
    return normed(applied, norms, shape, axes[0], _EPSILON)


def _ia3(parts: Mapping[str, Weight], shape: tuple[int, ...]) -> Apply:
    """Return the factors 1 + weight of the inputs or the outputs."""
    factors = parts.get("weight")
    is_input = _number(parts["on_input"]) != 0
    if factors is None or len(shape) < 2 or factors.size != shape[1 if is_input else 0]:
        raise ShapeError(f"its factors do not fit the weight, which has shape {list(shape)}")
    stored = numbers(factors, (factors.size,))
    whole = kept(lambda: 1 + stored())
    return times_columns(whole) if is_input else times_rows(whole)


def _oft(parts: Mapping[str, Weight], shape: tuple[int, ...]) -> Apply:
    """Return the rotation of blocks of rows: R = (1 + Q) (1 - Q)^-1, where Q is the antisymmetric part of a block.

    A constraint, stored as "alpha", bounds the norm of all Q together, times the number of rows. Source: Qiu et al. 2023,
    arXiv:2306.07280, as in `lycoris/modules/diag_oft.py`.
    """
    blocks, rescale = parts["oft_blocks"], parts.get("rescale")
    if len(blocks.shape) != 3 or blocks.shape[1] != blocks.shape[2] or not shape or blocks.shape[0] * blocks.shape[1] != shape[0]:
        raise ShapeError(f"its blocks have shape {list(blocks.shape)}, and the weight {list(shape)}")
    bound = _number(parts["alpha"]) * shape[0] if "alpha" in parts else 0.0
    stored = numbers(blocks)

    def rotations() -> Array:
        import numpy as np

        q = stored() - stored().transpose(0, 2, 1)
        norm = float(np.sqrt((q * q).sum())) + 1e-8
        q = q * (bound / norm) if 0 < bound < norm else q
        one = np.eye(q.shape[1])
        made: Array = (one + q) @ np.linalg.inv(one - q)
        return made

    rotated = rotated_rows(kept(rotations))
    if rescale is None:
        return rotated
    if rescale.size != shape[0]:
        raise ShapeError(f"its rescale has shape {list(rescale.shape)}, and the weight {list(shape)}")
    scaled = times_rows(numbers(rescale, (rescale.size,)))
    return in_turn(rotated, scaled)
