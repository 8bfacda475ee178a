"""Where each weight is in the grid: blocks are rows, and their parts columns; without blocks, layers and their weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.roles import COLLECTIONS
from steelyard.core.weight import Role, Weight
from steelyard.measures.grid.blocks import ANY, Part, Run, blocks_of
from steelyard.text.order import natural

if TYPE_CHECKING:
    Places = dict[str, tuple[int, int]]
    """The row and the column of each weight, by its name."""

SEPARATORS = "./_"
SPARSE = (16, 1024)
"""A grid has at most so many cells for each weight, and so many more."""
FEW = 8
"""Layers have no more weights than this, or at least not more than there are layers."""


class Layout(NamedTuple):
    """The labels of a grid, the place of each weight, and the names of those `outside` the blocks.

    `kind` is "blocks", or "layers" for a net without repeated blocks, of which the columns are the weights of a layer, or
    "weights", with one column, where the names show neither. Counters are `left_out`.
    """

    kind: str
    rows: list[str]
    columns: list[str]
    places: Places
    outside: list[str]
    left_out: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        places = {name: list(place) for name, place in self.places.items()}
        return {**self._asdict(), "places": places}


def layout_of(weights: Iterable[Weight], *, ordered: bool = False) -> Layout:
    """Return where each weight is in the grid; rows and columns are in the natural order of the names.

    Weights that are `ordered` are in it already.

    >>> import numpy as np, steelyard
    >>> net = {f"h.{nth}.{part}.weight": np.ones((2, 2)) for nth in range(3) for part in ("attn", "mlp")}
    >>> found = layout_of(steelyard.weights({"wte.weight": np.ones((9, 2)), **net}).values())
    >>> found.rows, found.columns, found.places["h.1.mlp.weight"], found.outside
    (['h.0', 'h.1', 'h.2'], ['attn.weight', 'mlp.weight'], (1, 1), ['wte.weight'])
    """
    given = list(weights)
    listed = given if ordered else [given[place] for place in natural([weight.name for weight in given])]
    counted = [weight for weight in listed if weight.role is Role.COUNT]
    held = [weight for weight in listed if weight.role is not Role.COUNT] or listed
    left_out = [weight.name for weight in counted] if len(held) < len(listed) else []
    for kind, find in (("blocks", _by_block), ("layers", _by_layer)):
        runs = find(held)
        if 2 * sum(len(run.places) for run in runs) >= len(held) and (made := _laid_out(kind, held, runs, left_out)):
            return made
    alone = [Run(weight.name, [nth], [Part("")]) for nth, weight in enumerate(held)]
    return _laid_out("weights", held, alone, left_out) or Layout("weights", [], [], {}, [], left_out)


def _by_block(held: Sequence[Weight]) -> list[Run]:
    """Find blocks by names that say where a weight is: that of `onnx::Conv_193` is its layer's, `/layer1/conv1/Conv/kernel`."""
    names = [weight.name if weight.layer in weight.name else f"{weight.layer}/{weight.role.value}" for weight in held]
    plain = [_without_collection(name) for name in names] if any(name.startswith(COLLECTIONS) for name in names) else names
    return blocks_of(plain if len(set(plain)) == len(names) else names, [weight.shape for weight in held])


def _has_place(weight: Weight) -> bool:
    return not weight.layer or weight.layer in weight.name


def _without_collection(name: str) -> str:
    """Return a name without its Flax collection, since weights of one layer may be in several."""
    first, _, rest = name.partition("/")
    return rest if first in COLLECTIONS else name


def _by_layer(held: Sequence[Weight]) -> list[Run]:
    """Return the layer of each weight as its block; a weight without a layer is a row of its own."""
    return [Run(weight.layer or weight.name, [nth], [Part(_leaf(weight))]) for nth, weight in enumerate(held)]


def _leaf(weight: Weight) -> str:
    """Return the name of a weight without that of its layer, which may be anywhere in it: "coefs_" of "coefs_.0"."""
    if not weight.layer:
        return ""
    if not _has_place(weight):
        return weight.role.value
    before, _, after = weight.name.partition(weight.layer)
    joined = f"{before.rstrip('./')}.{after.lstrip('./')}" if before and after else before or after
    return joined.strip("./")


def _laid_out(kind: str, held: Sequence[Weight], runs: Sequence[Run], left_out: list[str]) -> Layout | None:
    """Return the layout; None for one that would be nearly empty, or none at all."""
    ordered = sorted(runs, key=lambda run: run.places[0])
    rows = {block: nth for nth, block in enumerate(dict.fromkeys(run.block for run in ordered))}
    kinds = {id(run.parts): run.parts for run in runs}
    parts = _grouped(_in_order(runs))
    if not runs or len(rows) * len(parts) > SPARSE[0] * len(held) + SPARSE[1]:
        return None
    if kind == "layers" and len(parts) > max(len(rows), FEW):  # the word before the first dot is not a layer
        return None
    columns = {part: nth for nth, part in enumerate(parts)}
    across = {alike: [columns[part.name] for part in listed] for alike, listed in kinds.items()}
    names = [weight.name for weight in held]
    places: Places = {}
    for run in runs:
        places.update(zip(map(names.__getitem__, run.places), zip(repeat(rows[run.block]), across[id(run.parts)]), strict=True))
    outside = [name for name in names if name not in places]
    return Layout(kind, list(rows), _labels(parts, chain.from_iterable(kinds.values())), places, outside, left_out)


def _in_order(runs: Iterable[Run]) -> list[str]:
    """Return the names of the parts in the order in which the weights have them first."""
    alike: dict[int, list[Run]] = {}
    for run in runs:
        alike.setdefault(id(run.parts), []).append(run)
    first: dict[str, int] = {}
    for listed in alike.values():
        for part, places in zip(listed[0].parts, zip(*(run.places for run in listed), strict=True), strict=True):
            first[part.name] = min(first.get(part.name, places[0]), *places)
    return sorted(first, key=first.__getitem__)


def _grouped(parts: Iterable[str]) -> list[str]:
    """Return parts with those of one layer next to each other, in the order in which each first appears.

    >>> _grouped([".attn.q", ".mlp.up", ".attn.k"])
    ['.attn.q', '.attn.k', '.mlp.up']
    """
    ranks: dict[tuple[str, ...], int] = {}
    keys: dict[str, list[int]] = {}
    for part in parts:
        words = tuple(part.replace("/", ".").split("."))
        keys[part] = [ranks.setdefault(words[: nth + 1], len(ranks)) for nth in range(min(len(words), 8))]
    return sorted(keys, key=keys.__getitem__)


def _labels(parts: Sequence[str], found: Iterable[Part]) -> list[str]:
    """Return the labels of columns: parts without their first separator, and with the range of the folded numbers."""
    numbers: dict[str, set[str]] = {}
    for part in found:
        if part.folded:
            numbers.setdefault(part.name, set()).add(part.folded)
    labels = []
    for name in parts:
        known = sorted(numbers.get(name, ()), key=lambda number: (len(number), number))
        named = name.replace(ANY, f"[{known[0]}-{known[-1]}]", 1) if known else name
        labels.append(named.lstrip(SEPARATORS) or named)
    return labels if len(set(labels)) == len(labels) else list(parts)
