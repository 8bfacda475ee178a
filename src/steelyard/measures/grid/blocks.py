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
from itertools import count, pairwise
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
    """A weight by its name without the collection, and its shape."""

    place: int
    name: str
    shape: tuple[int, ...]


class _Cut(NamedTuple):
    """The rest of a name, cut at its first number; without a number, all of it is `text`."""

    text: str
    number: str = ""
    after: str = ""


def _cut(name: str, begin: int, depth: int) -> _Cut:
    """Cut a name from its character `begin` on; before it are `depth` numbers."""
    found = _NUMBER.search(name, begin) if depth < DEPTH else None
    return _Cut(name[begin:]) if found is None else _Cut(name[begin : found.start()], found[1], name[found.end() :])


class Part(NamedTuple):
    """The rest of a weight's name after its block; `folded` is the number that its column does not distinguish."""

    name: str
    folded: str = ""


class Run(NamedTuple):
    """Weights of one block by their places, which go up, and the part of each; blocks that are alike share the list of parts."""

    block: str
    places: Sequence[int]
    parts: Sequence[Part]


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

    def cuts(self, depth: int) -> list[_Cut]:
        """Return the names of the weights within the block, cut at their first numbers."""
        return [_cut(each.name, len(self.block), depth) for each in self.own]


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


def blocks_of(names: Iterable[str], shapes: Iterable[tuple[int, ...]]) -> list[Run]:
    """Return the blocks, with their weights by their places among the names; weights outside blocks are left out.

    >>> names = [f"h.{nth}.{part}.weight" for nth in range(2) for part in ("attn", "mlp")]
    >>> found = blocks_of([*names, "head.weight"], [(2, 2)] * 5)
    >>> [(run.block, run.places, [part.name for part in run.parts]) for run in found]
    [('h.0', [0, 1], ['.attn.weight', '.mlp.weight']), ('h.1', [2, 3], ['.attn.weight', '.mlp.weight'])]
    """
    return [run for run in _found(map(Named, count(), names, shapes), "", 0) if run.places]


def _found(named: Iterable[Named], above: str, depth: int) -> Iterator[Run]:
    """Find the blocks among weights whose names are the same up to the number `depth`, which ends the text `above`."""
    for members in _families(named, above, depth).values():
        kinds, of = _kinds(members)
        if _repeats(kinds):
            yield from _settled(members, kinds, of, depth + 1)
        else:
            for block, own in members.items():
                yield from _found(own, block, depth + 1)


def _families(named: Iterable[Named], above: str, depth: int) -> dict[str, dict[str, list[Named]]]:
    """Return the weights with a number after the text `above`, by the text between, and by the name up to the number."""
    families: dict[str, dict[str, list[Named]]] = {}
    begin, add = "", list[Named]().append
    for each in named:
        name = each.name
        if begin and name.startswith(begin):  # most are in the block of the one before
            add(each)
            continue
        text, number, _ = _cut(name, len(above), depth)
        begin = ""
        if number:
            block = f"{above}{text}{number}"
            add = families.setdefault(text, {}).setdefault(block, []).append
            add(each)
            mark = name[len(block) : len(block) + 1]
            begin = "" if mark.isalnum() or not mark else block + mark
    return families


def _repeats(kinds: Iterable[_Kind]) -> bool:
    """Whether most of the names after the number are those of several members, and most members have several layers."""
    tails = [(set(kind.tails), kind.times) for kind in kinds]
    times: dict[str, int] = {}
    for own, alike in tails:
        for tail in own:
            times[tail] = times.get(tail, 0) + alike
    shared = sum(number for number in times.values() if number > 1)
    return 2 * shared >= sum(times.values()) and _are_blocks(tails)


def _are_blocks(tails: Sequence[tuple[Iterable[str], int]]) -> bool:
    """Whether at least half of the members, which are given with how many are alike, have more than one layer."""
    return 2 * sum(times for own, times in tails if len(set(map(layer_of, own))) > 1) >= sum(times for _, times in tails)


def _settled(members: Members, kinds: Sequence[_Kind], of: Mapping[str, int], depth: int) -> Iterator[Run]:
    """Yield the blocks of members that are blocks: their own blocks, if most parts are in such, otherwise the members."""
    inner = _alike(kinds, depth)
    parts: set[object] = set()
    nested: dict[str, bool] = {}
    for kind, counted in zip(kinds, inner, strict=True):
        for cut, tail, times in zip(kind.cuts(depth), kind.tails, counted, strict=True):
            parts.add((cut.text, cut.after) if times else tail)
            nested |= {cut.text: True} if times else {}
    if nested and 2 * sum(isinstance(part, tuple) for part in parts) >= len(parts):
        for block, own in members.items():
            outer = [each for each, times in zip(own, inner[of[block]], strict=True) if not times]
            yield Run(block, [each.place for each in outer], [Part(tail) for tail in _tails(block, outer)])
        for family in nested:
            within = [
                [cut.number if times and cut.text == family else "" for cut, times in zip(kind.cuts(depth), counted, strict=True)]
                for kind, counted in zip(kinds, inner, strict=True)
            ]
            pooled = _pooled(members, {block: within[kind] for block, kind in of.items()}, family)
            yield from _settled(pooled, *_kinds(pooled), depth + 1)
    else:
        columns = [_columns(kind, depth, counted) for kind, counted in zip(kinds, inner, strict=True)]
        for block, own in members.items():
            yield Run(block, [each.place for each in own], columns[of[block]])


def _pooled(members: Members, within: Mapping[str, Sequence[str]], family: str) -> Members:
    """Return the inner blocks of one family, whatever their outer block is, which has the number of each weight's inner one."""
    pooled: dict[str, list[Named]] = {}
    for block, own in members.items():
        last, add = "", list[Named]().append
        for each, number in zip(own, within[block], strict=True):
            if number and number != last:
                last, add = number, pooled.setdefault(block + family + number, []).append
            if number:
                add(each)
    return pooled


def _columns(kind: _Kind, depth: int, counted: Sequence[int]) -> list[Part]:
    """Return the part of each weight of a kind of block; parts of which at least `FOLDED` are alike lose their number."""
    listed = zip(kind.cuts(depth), kind.tails, counted, strict=True)
    return [Part(f"{cut.text}{ANY}{cut.after}", cut.number) if times >= FOLDED else Part(tail) for cut, tail, times in listed]


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
