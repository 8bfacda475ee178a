"""Which weights are in repeated blocks: `h.0` to `h.11` of a transformer, `layer1.0` to `layer4.1` of a ResNet.

A number in a name counts blocks if most of the names after it are the same for several numbers, and most numbers have more
than one layer: `h.0.attn.weight` is in a block, `fc1.weight` is a layer. A number after that counts blocks as well if
neighbours have kernels of the same shapes, and most parts of the outer block have such a number: `layer1.0`, but not the two
convolutions of `block.0` and the experts of `layers.0`, which are parts of one block.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, repeat
from typing import NamedTuple

from steelyard.core.roles import layer_of
from steelyard.text.order import DEPTH

_NUMBER = re.compile(r"(?<![0-9])([0-9]{1,9}[a-z]?)(?![A-Za-z0-9])")
"""A number that may count blocks, with the letter of `block2a`; longer ones are hashes."""
FOLDED = 4
"""The least number of alike parts that share a column, such as experts."""
ANY = "\0"
"""The number of parts that share a column."""


class Named(NamedTuple):
    """A weight by its name without the collection, whole and split at numbers, and its shape."""

    place: int
    name: str
    parts: list[str]
    shape: tuple[int, ...]

    def has_number(self, depth: int) -> bool:
        """Whether there is a number after the text at `depth`."""
        return len(self.parts) > depth + 1


class Spot(NamedTuple):
    """The block of a weight, and the rest of its name; `folded` is the number that its column does not distinguish."""

    block: str
    part: str
    folded: str = ""


Members = Mapping[str, Sequence[Named]]
"""The weights of blocks by the names of the blocks, with which the names of the weights begin."""


class _Kind(NamedTuple):
    """Blocks that are alike but for their names: the first of them stands for all, which are so many `times`."""

    block: str
    own: Sequence[Named]
    times: int

    @property
    def tails(self) -> list[str]:
        """The names of the weights within the block."""
        return _tails(self.block, self.own)


def _tails(block: str, own: Sequence[Named]) -> list[str]:
    end = len(block)
    return [each.name[end:] for each in own]


def _kinds(members: Members) -> tuple[list[_Kind], dict[str, int]]:
    """Return the kinds of blocks, which differ in the names and the shapes within, and the place of each block's kind."""
    known: dict[object, int] = {}
    of: dict[str, int] = {}
    for block, own in members.items():
        end = len(block)
        content = tuple([(each.name[end:], each.shape) for each in own])
        of[block] = known.setdefault(content, len(known))
    times = Counter(of.values())
    firsts = {kind: block for block, kind in reversed(of.items())}
    return [_Kind(firsts[kind], members[firsts[kind]], times[kind]) for kind in range(len(known))], of


def blocks_of(names: Iterable[str], shapes: Iterable[tuple[int, ...]]) -> dict[int, Spot]:
    """Return the block and the part of each weight, by its place among the names; weights outside blocks are left out.

    >>> names = [f"h.{nth}.{part}.weight" for nth in range(2) for part in ("attn", "mlp")]
    >>> blocks_of([*names, "head.weight"], [(2, 2)] * 5)[2]
    Spot(block='h.1', part='.attn.weight', folded='')
    """
    named = [
        Named(nth, name, _NUMBER.split(name, DEPTH), shape) for nth, (name, shape) in enumerate(zip(names, shapes, strict=True))
    ]
    return dict(_found(named, "", 0))


def _found(named: Iterable[Named], above: str, depth: int) -> Iterator[tuple[int, Spot]]:
    """Find the blocks among weights whose names are the same up to the part `depth`, which is the text `above`."""
    for members in _families(named, above, depth).values():
        kinds, of = _kinds(members)
        if _repeats(kinds):
            yield from _settled(members, kinds, of, depth + 2)
        else:
            for block, own in members.items():
                yield from _found(own, block, depth + 2)


def _families(named: Iterable[Named], above: str, depth: int) -> dict[str, dict[str, list[Named]]]:
    """Return the weights with a number after the text at `depth`, by this text, and by the name up to the number."""
    families: dict[str, dict[str, list[Named]]] = {}
    for each in named:
        if each.has_number(depth):
            text, number = each.parts[depth : depth + 2]
            families.setdefault(text, {}).setdefault(f"{above}{text}{number}", []).append(each)
    return families


def _repeats(kinds: Iterable[_Kind]) -> bool:
    """Whether most of the names after the number are those of several members, and most members have several layers."""
    tails = [(set(kind.tails), kind.times) for kind in kinds]
    times: dict[str, int] = {}
    for own, count in tails:
        for tail in own:
            times[tail] = times.get(tail, 0) + count
    shared = sum(count for count in times.values() if count > 1)
    return 2 * shared >= sum(times.values()) and _are_blocks(tails)


def _are_blocks(tails: Sequence[tuple[Iterable[str], int]]) -> bool:
    """Whether at least half of the members, which are given with how many are alike, have more than one layer."""
    return 2 * sum(times for own, times in tails if len(set(map(layer_of, own))) > 1) >= sum(times for _, times in tails)


def _settled(members: Members, kinds: Sequence[_Kind], of: Mapping[str, int], depth: int) -> Iterator[tuple[int, Spot]]:
    """Yield the blocks of members that are blocks: their own blocks, if most parts are in such, otherwise the members."""
    inner = _alike(kinds, depth)
    parts: set[object] = set()
    nested: dict[str, bool] = {}
    for kind, counted in zip(kinds, inner, strict=True):
        for each, tail, count in zip(kind.own, kind.tails, counted, strict=True):
            parts.add((each.parts[depth], _after_number(each, tail, depth)) if count else tail)
            nested |= {each.parts[depth]: True} if count else {}
    if nested and 2 * sum(isinstance(part, tuple) for part in parts) >= len(parts):
        for block, own in members.items():
            yield from _row(block, [each for each, count in zip(own, inner[of[block]], strict=True) if not count])
        for family in nested:
            pooled = _pooled(members, {block: inner[kind] for block, kind in of.items()}, depth, family)
            yield from _settled(pooled, *_kinds(pooled), depth + 2)
    else:
        for block, own in members.items():
            yield from _row(block, own, depth, inner[of[block]])


def _after_number(each: Named, tail: str, depth: int) -> str:
    return tail[len(each.parts[depth]) + len(each.parts[depth + 1]) :]


def _pooled(members: Members, counts: Mapping[str, Sequence[int]], depth: int, family: str) -> Members:
    """Return the inner blocks of one family, whatever their outer block is."""
    pooled: dict[str, list[Named]] = {}
    for block, own in members.items():
        above = block + family
        for each, count in zip(own, counts[block], strict=True):
            if count and each.parts[depth] == family:
                pooled.setdefault(above + each.parts[depth + 1], []).append(each)
    return pooled


def _row(block: str, own: Sequence[Named], depth: int = 0, folded: Iterable[int] = repeat(0)) -> Iterator[tuple[int, Spot]]:
    """Yield the block and the part of each weight; parts of which at least `FOLDED` are alike lose their number."""
    for each, tail, count in zip(own, _tails(block, own), folded, strict=False):
        if count >= FOLDED:
            text, number = each.parts[depth : depth + 2]
            yield each.place, Spot(block, f"{text}{ANY}{_after_number(each, tail, depth)}", number)
        else:
            yield each.place, Spot(block, tail)


def _alike(kinds: Sequence[_Kind], depth: int) -> list[list[int]]:
    """Return for the weights of each kind of block how many inner blocks are alike where it is in one; else zero."""
    families: dict[str, list[tuple[Members, int]]] = {}
    for kind in kinds:
        for text, inner in _families(kind.own, kind.block, depth).items():
            families.setdefault(text, []).append((inner, kind.times))
    counts: dict[int, int] = {}
    for groups in families.values():
        if _are_alike(groups):
            counts |= {each.place: len(inner) for inner, _ in groups for own in inner.values() for each in own}
    return [[counts.get(each.place, 0) for each in kind.own] for kind in kinds]


def _are_alike(groups: Sequence[tuple[Members, int]]) -> bool:
    """Whether at least a third of the kernels that neighbours in a group have in common have the same shape.

    Each group is given with how many are like it.
    """
    common = same = 0
    tails: list[tuple[list[str], int]] = []
    for inner, times in groups:
        listed = [(_tails(block, own), own) for block, own in inner.items()]
        tails += [(names, times) for names, _ in listed]
        kernels = ({tail: each.shape for tail, each in zip(*both, strict=True) if len(each.shape) > 1} for both in listed)
        for one, two in pairwise(kernels):
            shared = one.keys() & two.keys()
            common += times * len(shared)
            same += times * sum(one[tail] == two[tail] for tail in shared)
    return 0 < common <= 3 * same and _are_blocks(tails)
