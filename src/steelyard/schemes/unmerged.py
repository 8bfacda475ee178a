"""Adapters that are not merged: a net's state with their parts inside it, or an adapter without its base.

<layer>.base_layer.weight    what an adapter of PEFT adds to, in the state of a live net
<layer>.lora_A.<adapter>.weight, <layer>.lora_B.<adapter>.weight
<layer>.weight, <layer>.lora_A, <layer>.lora_B    of loralib, whose eval() merges in place under the same names

Such a state does not have the scale alpha / rank, nor which adapters are active, nor whether they are merged already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs.peft import PREFIX, part_of
from steelyard.core.effective import Derivation, derived, refused
from steelyard.core.plugins import load
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Weight

_SIGNS = re.compile(r"lora_|lycoris_|hada_|lokr_|ia3_l|vera_lambda_|oft_|trainable_tokens_delta")
_MLX = {"lora_a", "lora_b", "m"}
_BASE = ".base_layer."
_PLAIN = "a wrapper of PEFT"
_INNER = ("weight", "in_proj_weight", "conv.weight")
"""Where the kernel of a layer may be beside its parts; a convolution of loralib has it one level deeper."""


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield a refusal for each weight that an adapter adds to, and the other weights of such a layer."""
    names = [name for name in pieces if _SIGNS.search(name)]
    if not names:
        return
    layers: dict[str, list[str]] = {}
    for name in names:
        if part := part_of(name):
            layers.setdefault(part.layer, []).append(name)
    _require_base(pieces, layers)
    for layer, parts in layers.items():
        yield from _layer(pieces, layer, parts)


def _require_base(pieces: Pieces, layers: dict[str, list[str]]) -> None:
    """Raise `ShapeError` for an adapter without its base."""
    others = [name for name in pieces if part_of(name) is None]
    stray = [name for name in others if not name.startswith(PREFIX) and name not in ("base_model.vera_A", "base_model.vera_B")]
    is_peft = layers and not stray and not any(_base_of(pieces, layer) for layer in layers)
    is_mlx = {*pieces.leaves} <= _MLX
    if is_peft or is_mlx or load("adapters", "lycoris").recognises(pieces, {}):
        raise ShapeError("this is an adapter without its base: call steelyard.effective(base, adapter=...) with both")


def _base_of(pieces: Pieces, layer: str) -> list[Weight]:
    """Return the stored weights to which the parts of a layer are added."""
    whole = [pieces.get(f"{stem}{layer}.{leaf}") for stem in (PREFIX, "") for leaf in _INNER]
    under = f"{layer}{_BASE}"
    inner = [pieces.get(name) for name in pieces if name.removeprefix(PREFIX).startswith(under)]
    return [weight for weight in (*inner, *whole) if weight is not None]


def _layer(pieces: Pieces, layer: str, parts: list[str]) -> Iterator[Weight]:
    stored = _base_of(pieces, layer)
    kernels = [weight for weight in stored if weight.name.rpartition(".")[2] != "bias"]
    if not kernels:
        return
    facts = Derivation("an adapter in the state of a net", (*(weight.name for weight in kernels), *parts))
    own = any(_BASE in weight.name for weight in kernels)
    prefix = PREFIX if kernels[0].name.startswith(PREFIX) else ""
    name = f"{prefix}{layer}.weight" if own else kernels[0].name
    what = "neither its scale, nor which adapters are active" if own else "neither its scale, nor whether it is merged already"
    reason = f"a state dict has {what}; pass the base and what save_pretrained wrote to steelyard.merge_adapter"
    shape = kernels[0].shape if len(kernels) == 1 and not kernels[0].unreadable else ()
    yield refused(name, facts, reason, shape)
    for bias in stored:
        if bias not in kernels and own:
            yield derived(f"{prefix}{layer}.bias", bias.shape, bias.read, Derivation(_PLAIN, (bias.name,)), dtype=bias.dtype)
