"""Pair the weights of two sources: by name, by rules, by their numbers, or by layer as `transfer` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from steelyard import sizes
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import AmbiguityError, ShapeError, printable
from steelyard.transfers.rules import checked_names

if TYPE_CHECKING:
    import re

    Names = Mapping[str, str] | None


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


class Coupling(NamedTuple):
    """The couples in the order of the second source, and notes on how they were found."""

    couples: list[Couple]
    notes: list[str]


def couple(one: Weights, other: Weights, rules: Names = None, pairs: Names = None) -> Coupling:
    """Pair the weights of two sources.

    Weights are paired by equal names, or by names that `rules` and `pairs` map to each other. If no names match, or names
    match and axes do not, layers are paired as in `transfer`. Of the rest, weights with equal dtype, shape and numbers are
    paired as renamed.
    """
    given = checked_names(rules, "rules"), checked_names(pairs, "pairs")
    named = _by_rules(one, other, *given) if any(given) else {name: name for name in one if name in other}
    why = "rule" if any(given) else "name"
    if not named or any(_turned_round(one[mine], other[theirs]) for mine, theirs in named.items()):
        found = _same_numbers(one.values(), other.values()) if not named else {}
        if len(found) < len(other):
            return _as_transferred(one, other, given, named)
    return _complete(one, other, named, why, [])


def _complete(one: Weights, other: Weights, named: Mapping[str, str], why: str, notes: list[str]) -> Coupling:
    """Add the weights without a partner, and those that were renamed."""
    back = {theirs: mine for mine, theirs in named.items()}
    rest = [weight for weight in other.values() if weight.name not in back]
    left = [weight for weight in one.values() if weight.name not in named]
    same = _same_numbers(left, rest)
    couples = [_joined(one, weight, back, same, why) for weight in other.values() if not _counted_already(weight, one, back)]
    gone = set(same.values())
    couples += [Couple(weight, None) for weight in left if weight.name not in gone]
    return Coupling(couples, notes)


def _joined(one: Weights, weight: Weight, back: Mapping[str, str], same: Mapping[str, str], why: str) -> Couple:
    if weight.name in back:
        return Couple(one[back[weight.name]], weight, why)
    return Couple(one[same[weight.name]], weight, "same numbers") if weight.name in same else Couple(None, weight)


def _counted_already(weight: Weight, one: Weights, back: Mapping[str, str]) -> bool:
    """Whether a weight is tied on both sides to the same weight, which is compared already."""
    mine = one[back[weight.name]].tied if weight.name in back else None
    return mine is not None and weight.tied is not None and back.get(weight.tied) == mine


def _by_rules(one: Weights, other: Weights, rules: Mapping[str, str], pairs: Mapping[str, str]) -> dict[str, str]:
    """Return the names that rules and pairs map to each other; equal names that no rule changes are paired too."""
    import re

    try:
        ways = [(re.compile(pattern), template) for pattern, template in rules.items()]
    except re.error as error:
        raise ShapeError(f"a rule is not a regular expression: {error}") from None
    wanted = {weight.name: name for weight in one.values() for name in _renamed(weight, ways, pairs) if name in other}
    taken = set(wanted.values())
    return wanted | {name: name for name in one if name in other and name not in wanted and name not in taken}


def _renamed(weight: Weight, ways: Iterable[tuple[re.Pattern[str], str]], pairs: Mapping[str, str]) -> Iterator[str]:
    """Yield the names that a weight may have on the other side; a rule matches its own name or its layer's."""
    leaf = weight.name.removeprefix(weight.layer) if weight.layer and weight.name.startswith(weight.layer) else ""
    if leaf and weight.layer in pairs:
        yield pairs[weight.layer] + leaf
    if weight.name in pairs:
        yield pairs[weight.name]
    for rule, template in ways:
        if match := rule.fullmatch(weight.name):
            yield match.expand(template)
        elif leaf and (match := rule.fullmatch(weight.layer)):
            yield match.expand(template) + leaf


def _turned_round(one: Weight, other: Weight) -> bool:
    """Whether two weights of one name have their axes in different orders."""
    mine, theirs = one.axes.split(), other.axes.split()
    return mine != theirs and sorted(mine) == sorted(theirs)


def _same_numbers(mine: Iterable[Weight], theirs: Iterable[Weight]) -> dict[str, str]:
    """Map each renamed weight of the other side to its name on this side.

    Weights with equal numbers, such as biases of zeros, are paired by the longest common suffix of their names.
    """
    groups: dict[object, tuple[list[Weight], list[Weight]]] = {}
    for nth, weights in enumerate((mine, theirs)):
        for weight in weights:
            if not weight.tied:
                groups.setdefault((weight.dtype, weight.shape), ([], []))[nth].append(weight)
    found: dict[str, str] = {}
    for ours, others in groups.values():
        heads = {weight.name: _head(weight) for weight in (*ours, *others)} if ours and others else {}
        for weight in others:
            alike = [each for each in ours if heads[each.name] == heads[weight.name] and _equal(each, weight)]
            if alike:
                best = max(alike, key=lambda each: _common_end(each.name, weight.name))
                found[weight.name] = best.name
                ours.remove(best)
    return found


def _head(weight: Weight) -> bytes:
    return weight.read(0, min(weight.size, sizes.PAIR_HEAD)).tobytes()


def _equal(one: Weight, other: Weight) -> bool:
    from steelyard.measures.diff.entries import equal
    from steelyard.numerics.blocks import pairs_of

    return all(equal(x, y) for _, x, y in pairs_of(one, other, sizes.DIFF_BLOCK))


def _common_end(one: str, other: str) -> int:
    return next((nth for nth, (a, b) in enumerate(zip(one[::-1], other[::-1], strict=False)) if a != b), len(one))


def _as_transferred(one: Weights, other: Weights, given: tuple[Names, Names], named: Mapping[str, str]) -> Coupling:
    """Pair layers as `transfer` does; if that is not possible, pair by name and add the reason to the notes."""
    from steelyard.transfers.transfer import plan_transfer

    try:
        plan = plan_transfer(one, into=other, rules=given[0], pairs=given[1])
    except (AmbiguityError, ShapeError) as error:
        if any(given):
            raise
        return _complete(one, other, named, "name", [f"layers were not paired: {printable(error, 400)}"])
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
    return Coupling(couples, ["layers were paired as transfer does", *plan.notes])
