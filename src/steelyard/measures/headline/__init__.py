"""The sentence on top of a view: what kind of net it is, and its size. It needs the listing only: no number is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from steelyard.errors import printable
from steelyard.measures.headline.amounts import amount_text, in_bytes, trained, types
from steelyard.measures.headline.blocks import count, experts, stages, width
from steelyard.measures.headline.families import FAMILIES, WORDS, Family
from steelyard.measures.headline.structure import CHAINS, activations, structure
from steelyard.text.rows import NUMBER, counts_of, rows_of
from steelyard.text.units import counted

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.text.rows import Row

    Kind = tuple[str, list[str]]
    """A name for the net, and what is known of its structure."""

_MANY = 5_000
"""Maximum rows whose names are compared with those of families: nets of so many different rows are none of them."""


def sentence(weights: Weights, rows: Sequence[Row] | None = None) -> str:
    """Return one sentence on a net: its family or structure, parameters, types and bytes; blank for no weights.

    A family that the file names is stated; one that only the names of its weights show is "-like". `rows` are the folded
    rows of the weights, where a view has them already.

    Examples:
        >>> import numpy as np, steelyard
        >>> net = {"fc1.weight": np.zeros((128, 64), "float32"), "fc2.weight": np.zeros((10, 128), "float32")}
        >>> sentence(steelyard.weights(net))
        'MLP 64-128-10: 9,472 parameters + 0 buffers, float32, 37.9 kB; at int8 10.0 kB'
    """
    if not weights:
        return ""
    rows = rows_of(weights) if rows is None else rows
    return _said(weights, rows, kind_of(weights, rows))


def on_top(weights: Weights, rows: Sequence[Row]) -> str:
    """Return the sentence for the top of a table, which ends with totals; blank where it says no more than they do."""
    kind = kind_of(weights, rows)
    return _said(weights, rows, kind) if any(kind) else ""


def _said(weights: Weights, rows: Sequence[Row], kind: Kind) -> str:
    name, parts = kind
    adapted = _adapters(rows)
    tied = ["tied"] if any(row.weight.tied is not None for row in rows) else []
    amounts = [amount_text(counts_of(weights, rows)), trained(rows), types(rows), in_bytes(rows)]
    facts = ", ".join(filter(None, [*parts, *adapted, *tied, *amounts]))
    return f"{name}: {facts}" if name else facts


def kind_of(weights: Weights, rows: Sequence[Row]) -> Kind:
    """Return the family or the structure of a net."""
    if len(rows) > _MANY:
        return "", []
    listed = "\n".join("." + NUMBER.sub("#", row.weight.name).replace("/", ".") for row in rows)
    family = next((family for family in FAMILIES if _shows(family, listed)), None)
    word = _own_word(weights.meta)
    if family is None and not word:
        name, parts = structure(rows)
        return ", ".join([name, *(activations(weights.graph) if name.startswith(CHAINS) else [])]), parts
    name = word or f"{family.name if family else ''}-like"
    return name, _parts(rows, family)


def _shows(family: Family, listed: str) -> bool:
    return all(mark in listed for mark in family.marks) and not any(mark in listed for mark in family.without)


def _own_word(meta: Mapping[str, object]) -> str:
    """Return the family that the file itself or its config names; blank if neither does."""
    config, general = meta.get("config.json"), meta.get("metadata")
    word = config.get("model_type") if isinstance(config, Mapping) else None
    if word is None and isinstance(general, Mapping):
        word = general.get("general.architecture")
    return WORDS.get(word, printable(word, 40)) if isinstance(word, str) else ""


def _parts(rows: Sequence[Row], family: Family | None) -> list[str]:
    """Return the blocks or stages of a family, their width, and the experts."""
    stacks = (*family.stacks,) if family else (("block", "blk"), ("block", "layers"), ("block", "layer"))
    parts: list[str] = []
    for word, container in stacks:
        if word == "stage":
            parts += _staged(stages(rows, container))
        elif blocks := count(rows, container):
            parts.append(f"{blocks:,} {word}{'s' * (blocks != 1)}")
            if family is None:
                break
    wide = width(rows)
    if parts and wide and not any("stage" in part for part in parts):
        parts.append(f"{wide:,} wide")
    if (several := experts(rows)) > 1:
        parts.append(f"{several:,} experts")
    return parts


def _staged(blocks: Sequence[int]) -> list[str]:
    """Count stages and their blocks: 4 stages of 2 blocks, or 4 stages of 3, 4, 6 and 3 blocks."""
    if not blocks:
        return []
    many = counted(len(blocks), "stage")
    if len(set(blocks)) == 1:
        return [f"{many} of {counted(blocks[0], 'block')}"]
    return [f"{many} of {', '.join(f'{each:,}' for each in blocks[:-1])} and {blocks[-1]:,} blocks"]


def _adapters(rows: Sequence[Row]) -> list[str]:
    """Count the layers with LoRA adapters, and name their rank if all have the same."""
    pairs = [row for row in rows if ".lora_A." in f".{row.weight.name}." and len(row.weight.shape) == 2]
    if not pairs:
        return []
    ranks, layers = {min(row.weight.shape) for row in pairs}, sum(row.times for row in pairs)
    rank = f" of rank {ranks.pop():,}" if len(ranks) == 1 else ""
    return [f"LoRA{rank} on {counted(layers, 'layer')}"]
