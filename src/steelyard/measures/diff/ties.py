"""Names of tied weights that only one source has, such as the head of a language model whose kernel is its embedding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.measures.diff.pairing import Couple


def without_tied(couples: Sequence[Couple]) -> tuple[list[Couple], list[str]]:
    """Leave out each weight without a partner whose numbers are compared under a name to which it is tied, with a note."""
    compared = [each for each in couples if each.comparable]
    ours, theirs = _owners(each.one for each in compared), _owners(each.other for each in compared)
    kept, notes = [], []
    for each in couples:
        weight, known, where = (each.one, ours, "first") if each.other is None else (each.other, theirs, "second")
        owner = known.get(weight.tied or weight.name) if weight is not None and not (each.one and each.other) else None
        if weight is None or owner is None:
            kept.append(each)
        else:
            tied = f"{printable(weight.name)!r}, which only the {where} source has, is tied to {printable(owner)!r}"
            notes.append(f"{tied} and compared with it")
    return kept, notes


def _owners(weights: Iterable[Weight | None]) -> dict[str, str]:
    """Map the owner of each compared weight to the name under which it is compared."""
    return {weight.tied or weight.name: weight.name for weight in weights if weight is not None}
