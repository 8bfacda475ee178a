"""Pair weights by their numbers where names do not match: layer by layer, and only by evidence that can fail.

Equal numbers are evidence only if they could have differed. An array of one repeated value, such as a bias of zeros or a scale
of ones, proves nothing: it follows its layer and never decides. The partner of a layer follows from all of its weights:

1. Two layers whose weights are all equal are partners, unless further layers have the same weights.
2. Of the other layers, each weight whose numbers are those of one layer on each side counts for these two by its size, so
   that a kernel outweighs a bias. Two layers that are each other's best match are partners; their remaining weights are
   paired by the last part of their names, or by their roles.
3. A weight of any other layer is paired if no third weight has its numbers.

If several weights have the same numbers, it is not known which is which: they stay unpaired, and a note names them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from steelyard import sizes
from steelyard.core.roles import plain_layer
from steelyard.core.weight import Role, Weight
from steelyard.errors import first_of, printable

NUMBERS, LAYER = "same numbers", "numbers of its layer"
"""The evidence for a pair: its own numbers, or those of other weights of its layer."""
NAMED = 3  # names in a note
Kept = TypeVar("Kept")


class Matches(NamedTuple):
    """For each paired weight of the other side its name on this side and the evidence, and notes on what stays unpaired.

    `changed` counts the pairs whose numbers differ.
    """

    pairs: dict[str, tuple[str, str]]
    notes: list[str]
    changed: int


class _Member(NamedTuple):
    """A weight of a layer: its name in it, a key that weights of equal numbers share, and whether these are evidence."""

    weight: Weight
    leaf: str
    key: int
    is_evidence: bool


if TYPE_CHECKING:
    Layer = list[_Member]
    Couples = Iterable[tuple[_Member, _Member]]


def by_numbers(mine: Iterable[Weight], theirs: Iterable[Weight]) -> Matches:
    """Pair the weights of two sides; weights that are tied to others are left out."""
    partners: dict[str, tuple[str, str]] = {}
    unclear: list[tuple[list[_Member], list[_Member]]] = []
    changed = 0

    def settle(couples: Couples) -> None:
        nonlocal changed
        for one, other in couples:
            changed += one.key != other.key
            partners[other.weight.name] = one.weight.name, NUMBERS if one.is_evidence and one.key == other.key else LAYER

    ours, others = sides = _layers(mine, theirs)
    for some, alike in _in_common(ours, others, _signature):
        if len(some) == len(alike) == 1:
            settle(_partners(some[0], alike[0]))
        else:
            unclear.append(([each for layer in some for each in layer], [each for layer in alike for each in layer]))
    # then layers of which only some weights are equal, such as those of a partly retrained net
    for one, other in _best_matches(*_without(sides, partners, unclear)):
        settle(_partners(one, other))
    rest = [[each for layer in side for each in layer if each.is_evidence] for side in _without(sides, partners, unclear)]
    for these, those in _in_common(rest[0], rest[1], lambda member: member.key):
        if len(these) == len(those) == 1:
            settle([(these[0], those[0])])
        else:
            unclear.append((these, those))
    return Matches(partners, [*map(_unclear_note, unclear), *_constant_note(_without(sides, partners, unclear))], changed)


# Layers, and which of their weights have equal numbers.


def _layers(mine: Iterable[Weight], theirs: Iterable[Weight]) -> tuple[list[Layer], list[Layer]]:
    """Return the layers of both sides as lists of their weights; a weight without a layer is one of its own."""
    listed = [[weight for weight in side if not weight.tied and weight.size] for side in (mine, theirs)]
    keys = _keys(*listed)
    sides: list[list[Layer]] = []
    for weights in listed:
        layers: dict[str, Layer] = {}
        for weight in weights:
            name = plain_layer(weight.name)
            layer = plain_layer(weight.layer) if weight.layer else name
            layers.setdefault(layer, []).append(_Member(weight, name.removeprefix(layer).lstrip("./"), *keys[id(weight)]))
        sides.append(list(layers.values()))
    return sides[0], sides[1]


def _keys(mine: list[Weight], theirs: list[Weight]) -> dict[int, tuple[int, bool]]:
    """Return the key of each weight by its id, and whether its numbers are evidence; only possible partners are read."""
    groups: dict[object, tuple[list[Weight], list[Weight]]] = {}
    for nth, weights in enumerate((mine, theirs)):
        for weight in weights:
            groups.setdefault((weight.dtype, weight.shape), ([], []))[nth].append(weight)
    keys: dict[int, tuple[int, bool]] = {}
    for group in groups.values():
        # numbers are read only where both sides have a weight of this dtype and shape
        for alike in equal_ones(group) if all(group) else ([weight] for side in group for weight in side):
            is_evidence = len(alike) > 1 and not is_constant(alike[0])
            keys |= dict.fromkeys(map(id, alike), (len(keys), is_evidence))
    return keys


def equal_ones(group: tuple[list[Weight], list[Weight]]) -> Iterable[list[Weight]]:
    """Return the weights of one dtype and shape in lists of those with equal numbers."""
    heads: dict[int, list[list[Weight]]] = {}
    for weight, head in _heads([*group[0], *group[1]]):
        # the first numbers nearly always differ, so few pairs are read as a whole
        known = heads.setdefault(hash(head), [])
        equal = next((each for each in known if _are_equal(each[0], weight)), None)
        if equal is None:
            known.append([weight])
        else:
            equal.append(weight)
    return (each for known in heads.values() for each in known)


def _heads(weights: Sequence[Weight]) -> Iterator[tuple[Weight, bytes]]:
    """Yield weights of one dtype and shape, each with the bytes of its first numbers; many small ones are read together."""
    from steelyard.numerics.small import TOGETHER, is_grouped, read_rows

    if len(weights) < sizes.SMALL_RUN or not is_grouped(weights[0]) or weights[0].size > sizes.PAIR_HEAD:
        yield from ((weight, weight.read(0, min(weight.size, sizes.PAIR_HEAD)).tobytes()) for weight in weights)
        return
    for start in range(0, len(weights), TOGETHER):
        some = weights[start : start + TOGETHER]
        rows, failed = read_rows(some)
        for at, weight in enumerate(some):
            yield weight, (weight.read(0, weight.size) if at in failed else rows[at]).tobytes()


def _are_equal(one: Weight, other: Weight) -> bool:
    from steelyard.measures.diff.arithmetic import equal
    from steelyard.numerics.blocks import pairs_of

    return all(equal(x, y) for _, x, y in pairs_of(one, other, sizes.DIFF_BLOCK))


def is_constant(weight: Weight) -> bool:
    """Whether all numbers of a weight are one value."""
    from steelyard.numerics.blocks import blocks_of

    first = weight.read(0, 1).tobytes()
    return all(block.tobytes() == first * block.size for _, block in blocks_of(weight, 0, weight.size, sizes.DIFF_BLOCK))


# Partners.


def _signature(layer: Layer) -> tuple[int, ...] | None:
    """Return the keys of a layer's weights; None if none is evidence."""
    return tuple(sorted(each.key for each in layer)) if any(each.is_evidence for each in layer) else None


def _in_common(
    mine: Iterable[Kept], theirs: Iterable[Kept], key: Callable[[Kept], object]
) -> list[tuple[list[Kept], list[Kept]]]:
    """Return the groups of members that have the same key on both sides; None is not a key."""
    groups: dict[object, tuple[list[Kept], list[Kept]]] = {}
    for nth, side in enumerate((mine, theirs)):
        for each in side:
            groups.setdefault(key(each), ([], []))[nth].append(each)
    return [group for shared, group in groups.items() if shared is not None and all(group)]


def _without(
    sides: tuple[list[Layer], list[Layer]], partners: dict[str, tuple[str, str]], unclear: list[tuple[Layer, Layer]]
) -> tuple[list[Layer], list[Layer]]:
    """Return the layers without the weights that are paired or known to be unclear."""
    done = ({name for name, _ in partners.values()}, set(partners))
    open_ones: tuple[list[Layer], list[Layer]] = ([], [])
    for nth, side in enumerate(sides):
        names = done[nth] | {each.weight.name for group in unclear for each in group[nth]}
        rest = ([each for each in layer if each.weight.name not in names] for layer in side)
        open_ones[nth].extend(filter(None, rest))
    return open_ones


def _best_matches(mine: list[Layer], theirs: list[Layer]) -> Iterator[tuple[Layer, Layer]]:
    """Yield the layers that are each other's only best match, by the size of their common weights."""
    places = [{id(each.weight): nth for nth, layer in enumerate(side) for each in layer} for side in (mine, theirs)]
    members = [[each for layer in side for each in layer if each.is_evidence] for side in (mine, theirs)]
    votes: Counter[tuple[int, int]] = Counter()
    for some, alike in _in_common(members[0], members[1], lambda member: member.key):
        homes = [{place[id(each.weight)] for each in side} for place, side in zip(places, (some, alike), strict=True)]
        if len(homes[0]) == len(homes[1]) == 1:
            # equal numbers in several layers of one side, as of copied layers, do not show which of them it is
            votes[homes[0].pop(), homes[1].pop()] += some[0].weight.size
    rivals: dict[tuple[int, int], list[int]] = {}
    for pair, size in votes.items():
        for end in enumerate(pair):
            rivals.setdefault(end, []).append(size)
    for pair, size in votes.items():
        if all(max(sizes_of) == size and sizes_of.count(size) == 1 for sizes_of in (rivals[end] for end in enumerate(pair))):
            yield mine[pair[0]], theirs[pair[1]]


def _partners(one: Layer, other: Layer) -> Iterator[tuple[_Member, _Member]]:
    """Yield the corresponding weights of two layers, by names and numbers, numbers, names, and roles in this order."""
    ways: tuple[Callable[[_Member], object], ...] = (
        lambda each: (each.leaf, each.key),
        lambda each: each.key if each.is_evidence else None,
        lambda each: (each.leaf, each.weight.shape),
        lambda each: None if each.weight.role is Role.OTHER else (each.weight.role, each.weight.shape),
    )
    for key in ways:
        matched = [(some[0], alike[0]) for some, alike in _in_common(one, other, key) if len(some) == len(alike) == 1]
        yield from matched
        done = {id(each) for pair in matched for each in pair}
        one, other = ([each for each in layer if id(each) not in done] for layer in (one, other))


# Notes.


def _unclear_note(group: tuple[list[_Member], list[_Member]]) -> str:
    mine, theirs = map(_named, group)
    return f"{mine} have the numbers of {theirs}, and it is not known which is which; name the partners with pairs="


def _constant_note(rest: tuple[list[Layer], list[Layer]]) -> Iterator[str]:
    """Yield a note on equal weights of one repeated value that no layer has paired."""
    members = [[each for layer in side for each in layer if not each.is_evidence] for side in rest]
    alike = _in_common(members[0], members[1], lambda member: member.key)
    if alike:
        mine, theirs = (_named([each for group in alike for each in group[nth]]) for nth in (0, 1))
        yield f"{mine} and {theirs} hold one repeated value each, which does not show that they correspond"


def _named(members: list[_Member]) -> str:
    """Name the first few weights."""
    return first_of(members, NAMED, lambda each: printable(each.weight.name))
