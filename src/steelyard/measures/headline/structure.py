"""What a net of no known family consists of: a chain of dense layers, convolutions, recurrent layers or blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from steelyard.core.weight import Role, Weight
from steelyard.errors import printable
from steelyard.measures.headline.blocks import repeated, width
from steelyard.text.rows import Row
from steelyard.text.units import counted

if TYPE_CHECKING:
    from steelyard.core.graph import Graph

CHAINS = ("MLP", "dense layer ")
"""How the names of chains of dense layers begin."""
MIXED = 3
"""Maximum activations that are named."""
SHOWN = 8
"""Maximum lengths of a chain that are written out."""
_GATES = {4: "LSTM", 3: "GRU", 1: "RNN"}
_GATE = r"([./])h[ifgornz]([./])[^./]*$"
"""The end of the name of a recurrent kernel of one gate, as Flax has them."""
_SPATIAL = ("k", "kh", "kw", "kd")


def structure(rows: Sequence[Row]) -> tuple[str, list[str]]:
    """Return a name for the net and its parts; blank and empty if its weights show neither."""
    kernels = [weight for row in rows for weight in row.counted if weight.role is Role.KERNEL]
    recurrent = [weight for row in rows for weight in row.counted if weight.role is Role.RECURRENT_KERNEL]
    convolutions = sum(map(_is_convolution, kernels))
    dense = [weight for weight in kernels if len(weight.shape) == 2]
    if recurrent:
        return _recurrent(recurrent, len(dense))
    if convolutions:
        return "CNN", [counted(convolutions, "convolution"), *([counted(len(dense), "dense layer")] if dense else [])]
    if (blocks := repeated(rows)) > 1:
        wide = width(rows)
        return "", [counted(blocks, "block"), *([f"{wide:,} wide"] if wide else [])]
    chain = _chain(dense, {weight.shape[0] for row in rows for weight in row.weights if len(weight.shape) == 1})
    if chain and len(dense) == len(kernels):
        return f"MLP {_written(chain)}" if len(dense) > 1 else f"dense layer {_written(chain)}", []
    return "", [counted(len(dense), "dense layer")] if len(dense) > 1 else []


def _recurrent(recurrent: Sequence[Weight], dense: int) -> tuple[str, list[str]]:
    """Name recurrent layers by the gates in their axes, or by their shapes: four times as many numbers a unit are an LSTM's."""
    gates = {re.sub(_GATE, r"\1", weight.name) for weight in recurrent if re.search(_GATE, weight.name)}
    shapes = {tuple(sorted(weight.shape)) for weight in recurrent if len(weight.shape) == 2}
    several = len(recurrent) // max(len(gates), 1) if gates else 1  # gates of one layer, each a kernel of its own
    names = {_GATES.get(several * long // max(short, 1), "") if long % max(short, 1) == 0 else "" for short, long in shapes}
    units = {short for short, _ in shapes}
    name = names.pop() if len(names) == 1 else ""
    parts = [counted(len(recurrent) // several, "recurrent kernel"), *([f"{units.pop():,} wide"] if len(units) == 1 else [])]
    return name and f"{name}-like", parts + ([counted(dense // several, "other kernel")] if dense // several else [])


def _is_convolution(weight: Weight) -> bool:
    """Whether a kernel slides over its input: by its axes, or because it has four or five."""
    words = weight.axes.split()
    return any(word in _SPATIAL for word in words) if words else len(weight.shape) in (4, 5)


def _chain(dense: Sequence[Weight], vectors: set[int]) -> list[int]:
    """Return the lengths of a chain of dense layers, from the inputs to the outputs; empty if they form none."""
    if not dense:
        return []
    axes = {weight.axes for weight in dense}
    ways = [turned for word, turned in (("in out", False), ("out in", True)) if axes <= {word, ""}]
    chains = [_lengths(dense, turned=turned) for turned in ways]
    found = [chain for chain in chains if chain and (len(ways) == 1 or not vectors or vectors >= set(chain[1:]))]
    return found[0] if len(found) == 1 or (found and found[0] == found[-1]) else []


def _lengths(dense: Sequence[Weight], *, turned: bool) -> list[int]:
    ends = [weight.shape[::-1] if turned else weight.shape for weight in dense]
    if any(one[1] != two[0] for one, two in pairwise(ends)):
        return []
    return [ends[0][0], *(end[1] for end in ends)]


def activations(graph: Graph | None) -> list[str]:
    """Return the words of a chain's activations in the order of its layers, equal ones once; none where no graph is known."""
    layers = graph.layers if graph else []
    words = ("softmax" if layer.kind == "softmax" else layer.settings.get("activation") for layer in layers)
    known = dict.fromkeys(printable(word, 40) for word in words if isinstance(word, str) and word != "linear")
    return [*known] if len(known) <= MIXED else []


def _written(chain: Sequence[int]) -> str:
    shown = [*map(str, chain)] if len(chain) <= SHOWN else [*map(str, chain[:4]), "...", *map(str, chain[-2:])]
    return "-".join(shown)
