"""Packed weights whose scales are lost: float8 without a scale, and the bytes of bitsandbytes without their state."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from steelyard.core.effective import Derivation, Pieces, attempted
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.weight import Weight


_LEAVES = ("weight", "gate_up_proj", "down_proj")


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield refused weights."""
    for leaf in [leaf for leaf in pieces.leaves if leaf in _LEAVES]:
        for stem in pieces.stems(leaf):
            weight = pieces.get(f"{stem}.{leaf}" if stem else leaf)
            if weight is None or len(weight.shape) < 2:
                continue
            if weight.dtype.startswith("float8") and not pieces.listing:  # a listing shows them as they are stored
                yield attempted(weight.name, Derivation("FP8", (weight.name,)), partial(_lost, "scale"))
            elif weight.dtype == "uint8" and weight.shape[1:] == (1,):
                facts = Derivation("bitsandbytes 4 bits", (weight.name,))
                yield attempted(weight.name, facts, partial(_lost, "quant_state, which has its type, block size and shape,"))


def _lost(what: str) -> Weight:
    raise ShapeError(f"its {what} is missing")
