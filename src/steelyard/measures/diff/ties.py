"""Names of tied weights that only one source has, such as the head of a language model whose kernel is its embedding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from steelyard.core.weight import Role
from steelyard.errors import quoted
from steelyard.measures.diff.by_numbers import equal_ones, is_constant

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.measures.diff.pairing import Couple


_HEAD = {Role.KERNEL, Role.EMBEDDING}
"""The roles of a language model's head and of its embedding."""


def without_tied(couples: Sequence[Couple]) -> tuple[list[Couple], list[str]]:
    """Leave out each weight without a partner whose numbers are compared under a name to which it is tied, with a note."""
    if all(each.one and each.other for each in couples):
        return list(couples), []
    compared = [each for each in couples if each.comparable]
    ours, theirs = _owners(each.one for each in compared), _owners(each.other for each in compared)
    kept, notes = [], []
    for each in couples:
        weight, known, where = (each.one, ours, "first") if each.other is None else (each.other, theirs, "second")
        owner = known.get(weight.tied or weight.name) if weight is not None and not (each.one and each.other) else None
        if weight is None or owner is None:
            kept.append(each)
        else:
            tied = f"{quoted(weight.name)}, which only the {where} source has, is tied to {quoted(owner)}"
            notes.append(f"{tied} and compared with it")
    return kept, [*notes, *_copies(kept)]


def _copies(couples: Sequence[Couple]) -> Iterator[str]:
    """Yield a note for each weight without a partner that is, or could be, an untied copy of a compared one."""
    for where, sides in (
        ("first", [(each.one, each.other) for each in couples]),
        ("second", [(c.other, c.one) for c in couples]),
    ):
        alone = [own for own, partner in sides if own and partner is None and not own.tied and own.size]
        shared: dict[object, list[Weight]] = {_look(own): [] for own in alone}
        for own, partner in sides:
            if own and partner and not own.tied and (alike := shared.get(_look(own))) is not None:
                alike.append(own)
        looks = {_look(own) for own in alone if own.role in _HEAD}
        heads = {(look, each.role): each for look in looks for each in reversed(shared[look])}
        copied = _copied(alone, shared)
        for weight in alone:
            said = f"{quoted(weight.name)}, which only the {where} source has,"
            copy = copied.get(weight.name)
            embeddings = (heads.get((_look(weight), role)) for role in _HEAD - {weight.role} if weight.role in _HEAD)
            if copy and not is_constant(weight):
                yield f"{said} is a copy of {quoted(copy.name)}, to which other nets tie it"
            elif embedding := next((each for each in embeddings if each and not copy), None):
                yield f"{said} is not a copy of {quoted(embedding.name)}, to which other nets tie it"


def _look(weight: Weight) -> object:
    return weight.shape, weight.dtype


def _copied(alone: Iterable[Weight], shared: Mapping[object, list[Weight]]) -> dict[str, Weight]:
    """Return the first weight with the numbers of each lonely one, by its name; every weight is read once."""
    lonely: dict[object, list[Weight]] = {}
    for weight in alone:
        lonely.setdefault(_look(weight), []).append(weight)
    copied: dict[str, Weight] = {}
    for look, some in lonely.items():
        names = {weight.name for weight in some}
        for group in equal_ones((some, shared[look])) if shared[look] else ():
            first = next((each for each in group if each.name not in names), None)
            copied |= {each.name: first for each in group if first and each.name in names}
    return copied


def _owners(weights: Iterable[Weight | None]) -> dict[str, str]:
    """Map the owner of each compared weight to the name under which it is compared."""
    return {weight.tied or weight.name: weight.name for weight in weights if weight is not None}
