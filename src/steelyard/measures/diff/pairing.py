"""Pair the weights of two sources: by name, by rules, by their numbers, or by layer as `transfer` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.patterns import Pattern
from steelyard.core.places import same_places
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.core.wrappers import shapes_of, wrapping
from steelyard.errors import AmbiguityError, ShapeError, printable
from steelyard.measures.diff.by_numbers import LAYER, NUMBERS, by_numbers
from steelyard.measures.diff.ties import without_tied
from steelyard.transfers.rules import checked_names

if TYPE_CHECKING:
    Names = Mapping[str, str] | None


PREFIX, PLACE = "name without a prefix", "place"


class Couple(NamedTuple):
    """Two paired weights, either of them None without a partner, and the reason; `one` is in the layout of `other`."""

    one: Weight | None
    other: Weight | None
    why: str = "name"
    layout: str = ""

    @property
    def comparable(self) -> bool:
        """Whether both sides exist and have the same shape."""
        return self.one is not None and self.other is not None and self.one.shape == self.other.shape

    @property
    def is_renamed(self) -> bool:
        """Whether numbers show that the weights, or those of their layers, are the same under another name."""
        return self.why in (NUMBERS, LAYER)


class Coupling(NamedTuple):
    """The couples in the order of the second source, notes on how they were found, and what was left out of their names."""

    couples: list[Couple]
    notes: list[str]
    prefixes: dict[str, Any] | None = None


class _Named(NamedTuple):
    """The names of the other source by those of this one, the evidence, and notes on it."""

    names: Mapping[str, str]
    why: str
    notes: list[str]


def couple(one: Weights, other: Weights, rules: Names = None, pairs: Names = None) -> Coupling:
    """Pair the weights of two sources.

    Weights are paired by equal names, or by names that `rules` and `pairs` map to each other. If few names match, they may do
    so without the words of wrappers (`core.wrappers`), or weights have proven places (`core.places`); if none do, weights are
    paired by their numbers. If these do not pair all, or names match and axes do not, layers are paired as in `transfer`. Of
    the rest, weights are paired by their numbers as far as these are evidence: see `by_numbers`. A weight that is tied to a
    compared one needs no partner.
    """
    given = checked_names(rules, "rules"), checked_names(pairs, "pairs")
    wrapped = None if any(given) else wrapping(shapes_of(one), shapes_of(other))
    matches = _Named(wrapped.names, "name", []) if wrapped else _Named(_by_rules(one, other, *given), "rule", [])
    if wrapped and wrapped.note:
        matches = _Named(wrapped.names, PREFIX, [wrapped.note])
    if wrapped and len(matches.names) < len(other) and (places := _places(one, other)):
        matches = _Named(places, PLACE, ["weights were paired by their places, since their names differ"])
    if matches.names:
        other_layout = any(_turned_round(one[mine], other[theirs]) for mine, theirs in matches.names.items())
    else:
        numbers = by_numbers(one.values(), other.values())
        other_layout = numbers.changed > 0 or len(numbers.pairs) < len(other.distinct())
    made = _as_transferred(one, other, given, matches) if other_layout else _complete(one, other, matches)
    couples, notes = without_tied(made.couples)
    return Coupling(couples, list(dict.fromkeys([*made.notes, *notes])), wrapped and wrapped.to_dict())


def _places(one: Weights, other: Weights) -> dict[str, str]:
    """Return the names of the other source by those of this one, whichever is the model that proves the places."""
    return same_places(one, other) or {mine: theirs for theirs, mine in same_places(other, one).items()}


def _complete(one: Weights, other: Weights, named: _Named) -> Coupling:
    """Pair the rest by their numbers, and add the weights without a partner."""
    partners = {
        theirs: (mine, "name" if mine == theirs and named.why == PREFIX else named.why) for mine, theirs in named.names.items()
    }
    left = [weight for weight in one.values() if weight.name not in named.names]
    by_number = by_numbers(left, [weight for weight in other.values() if weight.name not in partners])
    partners |= by_number.pairs
    couples = []
    for weight in other.values():
        mine, evidence = partners.get(weight.name, ("", ""))
        if weight.tied is None or not _counted_already(weight, one, partners):
            couples.append(Couple(one[mine], weight, evidence) if evidence else Couple(None, weight))
    paired = {mine for mine, _ in partners.values()}
    owners = {weight.tied for weight in other.values()}
    tied = {mine for theirs, (mine, _) in partners.items() if theirs in owners}
    couples += [Couple(weight, None) for weight in left if weight.name not in paired and weight.tied not in tied]
    return Coupling(couples, [*named.notes, *by_number.notes])


def _counted_already(weight: Weight, one: Weights, partners: Mapping[str, tuple[str, str]]) -> bool:
    """Whether a weight is tied on both sides to the same weight, which is compared already."""
    if weight.tied is None or weight.tied not in partners:
        return False
    owner = partners[weight.tied][0]
    if weight.name in partners:
        return one[partners[weight.name][0]].tied == owner
    return any(each.tied == owner for each in one.values())


def _by_rules(one: Weights, other: Weights, rules: Mapping[str, str], pairs: Mapping[str, str]) -> dict[str, str]:
    """Return the names that rules and pairs map to each other; equal names that no rule changes are paired too."""
    import re

    try:
        ways = [(Pattern(pattern), template) for pattern, template in rules.items()]
    except re.error as error:
        raise ShapeError(f"a rule is not a regular expression: {error}") from None
    wanted = {weight.name: name for weight in one.values() for name in _renamed(weight, ways, pairs) if name in other}
    taken = set(wanted.values())
    return wanted | {name: name for name in one if name in other and name not in wanted and name not in taken}


def _renamed(weight: Weight, ways: Iterable[tuple[Pattern, str]], pairs: Mapping[str, str]) -> Iterator[str]:
    """Yield the names that a weight may have on the other side; a rule matches its own name or its layer's."""
    leaf = weight.name.removeprefix(weight.layer) if weight.layer and weight.name.startswith(weight.layer) else ""
    if leaf and weight.layer in pairs:
        yield pairs[weight.layer] + leaf
    if weight.name in pairs:
        yield pairs[weight.name]
    for rule, template in ways:
        if match := rule.match(weight.name):
            yield match.expand(template)
        elif leaf and (match := rule.match(weight.layer)):
            yield match.expand(template) + leaf


def _turned_round(one: Weight, other: Weight) -> bool:
    """Whether two weights of one name have their axes in different orders."""
    if one.axes == other.axes:
        return False
    mine, theirs = one.axes.split(), other.axes.split()
    return mine != theirs and sorted(mine) == sorted(theirs)


def _as_transferred(one: Weights, other: Weights, given: tuple[Names, Names], named: _Named) -> Coupling:
    """Pair layers as `transfer` does; if that is not possible, pair by name and add the reason to the notes."""
    from steelyard.transfers.transfer import plan_transfer

    try:
        plan = plan_transfer(one, into=other, rules=given[0], pairs=given[1])
    except (AmbiguityError, ShapeError) as error:
        if any(given):
            raise
        note = f"layers were not paired: {printable(error, 400)}"
        return _complete(one, other, named._replace(notes=[*named.notes, note]))
    laid_out = plan.weights()
    rows = {row.target: row for row in plan.rows}
    couples = []
    for weight in other.values():
        if weight.name in rows:
            row = rows[weight.name]
            mine = laid_out[weight.name].replace(name=" + ".join(row.sources) or "(nothing)")
            couples.append(Couple(mine, weight, "layer", row.layout))
        elif not weight.tied and weight.role is not Role.COUNT:
            couples.append(Couple(None, weight))
    used = {name for row in plan.rows for name in row.sources}
    couples += [Couple(w, None) for w in one.values() if w.name not in used and not w.tied and w.role is not Role.COUNT]
    wrapped = [plan.wrapped.note] if plan.wrapped else []
    how = ["layers were paired as transfer does"] if plan.rows else []
    return Coupling(couples, [*how, *wrapped, *plan.notes])
