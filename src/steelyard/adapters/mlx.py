"""Adapters of mlx-lm: adapters.safetensors with `<layer>.lora_a` (inputs, rank) and `<layer>.lora_b` (rank, outputs).

adapter_config.json    {"fine_tune_type": "lora", "num_layers": 16, "lora_parameters": {"rank": 8, "scale": 20.0, ...}}

The kernel is (outputs, inputs), so scale (a b) is added transposed. `<layer>.m` has the norms of the rows for DoRA. An
embedding has a of shape (vocabulary, rank), and adds scale a b as it is. Source: mlx_lm/tuner/lora.py and dora.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.codecs.peft import CONFIG, number
from steelyard.core.merging import Change, Names
from steelyard.errors import ShapeError, printable
from steelyard.numerics import low_rank
from steelyard.numerics.row_changes import normed, plus

if TYPE_CHECKING:
    from steelyard.codecs.plain import Config
    from steelyard.core.effective import Pieces
    from steelyard.core.merging import Apply
    from steelyard.core.weight import Weight

_SCHEME = "LoRA of mlx-lm"


def recognises(adapter: Pieces, config: Config) -> bool:
    """Whether a layer has lora_a and lora_b, or the config is that of mlx-lm."""
    return {"lora_a", "lora_b"} <= {*adapter.leaves}


def changes(adapter: Pieces, base: Mapping[str, Weight], config: Config, *, residual: bool) -> Iterator[Change]:
    """Yield what the adapter does to the weights of its base."""
    parameters = config.get("lora_parameters")
    scale = number(parameters.get("scale")) if isinstance(parameters, dict) else None
    if scale is None:
        raise ShapeError(f"the adapter has no {CONFIG} next to it with the scale of lora_parameters; pass its folder")
    layers = adapter.stems("lora_a")
    for name in adapter:
        if name.rpartition(".")[2] not in ("lora_a", "lora_b", "m") or name.rpartition(".")[0] not in layers:
            raise ShapeError(f"the adapter has {printable(name)}, which is not a part that Steelyard knows")
    names = Names(base, layers)
    for layer in layers:
        down, up, norms = adapter.of(layer, "lora_a", "lora_b", "m")
        target = f"{names.of(layer)}.weight"
        parts = tuple(weight.name for weight in (down, up, norms) if weight is not None)
        if target not in base:
            raise ShapeError(f"the base has no {printable(target)}, which the adapter changes")
        try:
            applied = _applied(down, up, norms, base[target].shape, scale)
            yield Change(target, _SCHEME, parts, applied, settings={"scale": scale}, assumed=names.assumed)
        except ShapeError as error:
            yield Change(target, _SCHEME, parts, refusal=str(error))


def _applied(down: Weight | None, up: Weight | None, norms: Weight | None, shape: tuple[int, ...], scale: float) -> Apply:
    if down is None or up is None or len(shape) != 2:
        raise ShapeError("it has no lora_b" if up is None else f"the weight has shape {list(shape)}, which is not a matrix")
    if len(down.shape) != 2 or len(up.shape) != 2 or down.shape[1] != up.shape[0]:
        raise ShapeError(f"its factors have shapes {list(down.shape)} and {list(up.shape)}")
    is_embedding = shape == (down.shape[0], up.shape[1]) != (up.shape[1], down.shape[0])
    change = plus(low_rank.fitting(low_rank.lora(up, down, transposed=not is_embedding), shape), scale)
    return change if norms is None else normed(change, norms, shape, 0)
