"""Weights as a table of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.core.weights import Weights


def table(weights: Weights) -> str:
    """Return one line for each weight, and the totals."""
    lines = [f"{printable(w.name)}  {w.shape}  {w.dtype}  {w.role}" for w in weights.values()]
    return "\n".join([*lines, f"{len(weights)} weights, {weights.size:,} parameters, {weights.nbytes:,} bytes"])
