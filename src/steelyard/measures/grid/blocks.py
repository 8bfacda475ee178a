"""Which weights are in repeated blocks: `h.0` to `h.11` of a transformer, `layer1.0` to `layer4.1` of a ResNet.

A number in a name counts blocks if most of the names after it are the same for several numbers, and most numbers have more
than one layer: `h.0.attn.weight` is in a block, `fc1.weight` is a layer. A number after that counts blocks as well if
neighbours have kernels of the same shapes, and most parts of the outer block have such a number: `layer1.0`, but not the two
convolutions of `block.0` and the experts of `layers.0`, which are parts of one block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
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
    """A weight by its name without the collection, split at numbers, and its shape."""

    place: int
    parts: list[str]
    shape: tuple[int, ...]

    def before(self, depth: int) -> str:
        """The name up to the part `depth`."""
        return "".join(self.parts[:depth])

    def after(self, depth: int) -> str:
        """The name from the part `depth`."""
        return "".join(self.parts[depth:])

    def has_number(self, depth: int) -> bool:
        """Whether there is a number after the text at `depth`."""
        return len(self.parts) > depth + 1


class Spot(NamedTuple):
    """The block of a weight, and the rest of its name; `folded` is the number that its column does not distinguish."""

    block: str
    part: str
    folded: str = ""


Members = Mapping[str, Sequence[Named]]
"""The weights of blocks by the names of the blocks."""


def blocks_of(names: Iterable[str], shapes: Iterable[tuple[int, ...]]) -> dict[int, Spot]:
    """Return the block and the part of each weight, by its place among the names; weights outside blocks are left out.

    >>> names = [f"h.{nth}.{part}.weight" for nth in range(2) for part in ("attn", "mlp")]
    >>> blocks_of([*names, "head.weight"], [(2, 2)] * 5)[2]
    Spot(block='h.1', part='.attn.weight', folded='')
    """
    named = [Named(nth, _NUMBER.split(name, DEPTH), shape) for nth, (name, shape) in enumerate(zip(names, shapes, strict=True))]
    return dict(_found(named, 0))


def _found(named: Iterable[Named], depth: int) -> Iterator[tuple[int, Spot]]:
    """Find the blocks among weights whose names are the same up to the part `depth`."""
    for members in _families(named, depth).values():
        if _repeats(members, depth + 2):
            yield from _settled(members, depth + 2)
        else:
            for own in members.values():
                yield from _found(own, depth + 2)


def _families(named: Iterable[Named], depth: int) -> dict[str, dict[str, list[Named]]]:
    """Return the weights with a number after the text at `depth`, by this text, and by the name up to the number."""
    families: dict[str, dict[str, list[Named]]] = {}
    for each in named:
        if each.has_number(depth):
            members = families.setdefault(each.parts[depth], {})
            members.setdefault(each.before(depth + 2), []).append(each)
    return families


def _repeats(members: Members, depth: int) -> bool:
    """Whether most of the names after the number are those of several members, and most members have several layers."""
    tails = [{each.after(depth) for each in own} for own in members.values()]
    times: dict[str, int] = {}
    for tail in (tail for own in tails for tail in own):
        times[tail] = times.get(tail, 0) + 1
    shared = sum(count for count in times.values() if count > 1)
    return 2 * shared >= sum(times.values()) and _are_blocks(tails)


def _are_blocks(tails: Sequence[Iterable[str]]) -> bool:
    """Whether at least half of the members have more than one layer."""
    return 2 * sum(len(set(map(layer_of, own))) > 1 for own in tails) >= len(tails)


def _settled(members: Members, depth: int) -> Iterator[tuple[int, Spot]]:
    """Yield the blocks of members that are blocks: their own blocks, if most parts are in such, otherwise the members."""
    inner = _alike(members, depth)
    parts = {(each.parts[depth], each.after(depth + 2)) if each.place in inner else each.after(depth) for each in _all(members)}
    nested = {part[0] for part in parts if isinstance(part, tuple)}
    if nested and 2 * sum(isinstance(part, tuple) for part in parts) >= len(parts):
        own = {block: [each for each in some if each.place not in inner] for block, some in members.items()}
        yield from _rows(own, depth, {})
        for family in nested:
            yield from _settled(_pooled((each for each in _all(members) if each.place in inner), depth, family), depth + 2)
    else:
        yield from _rows(members, depth, inner)


def _all(members: Members) -> Iterator[Named]:
    return (each for own in members.values() for each in own)


def _pooled(named: Iterable[Named], depth: int, family: str) -> Members:
    """Return the inner blocks of one family, whatever their outer block is."""
    pooled: dict[str, list[Named]] = {}
    for each in named:
        if each.parts[depth] == family:
            pooled.setdefault(each.before(depth + 2), []).append(each)
    return pooled


def _rows(members: Members, depth: int, folded: Mapping[int, int]) -> Iterator[tuple[int, Spot]]:
    """Yield the block and the part of each weight; parts of which at least `FOLDED` are alike lose their number."""
    for block, own in members.items():
        for each in own:
            if folded.get(each.place, 0) >= FOLDED:
                text, number = each.parts[depth : depth + 2]
                yield each.place, Spot(block, f"{text}{ANY}{each.after(depth + 2)}", number)
            else:
                yield each.place, Spot(block, each.after(depth))


def _alike(members: Members, depth: int) -> dict[int, int]:
    """Return the number of inner blocks that are alike for each weight in one, by its place."""
    families: dict[str, list[dict[str, list[Named]]]] = {}
    for own in members.values():
        for text, inner in _families(own, depth).items():
            families.setdefault(text, []).append(inner)
    return {
        each.place: len(inner)
        for groups in families.values()
        if _are_alike(groups, depth + 2)
        for inner in groups
        for each in _all(inner)
    }


def _are_alike(groups: Sequence[Members], depth: int) -> bool:
    """Whether at least a third of the kernels that neighbours in a group have in common have the same shape."""
    common = same = 0
    for inner in groups:
        kernels = ({each.after(depth): each.shape for each in own if len(each.shape) > 1} for own in inner.values())
        for one, two in pairwise(kernels):
            shared = one.keys() & two.keys()
            common += len(shared)
            same += sum(one[tail] == two[tail] for tail in shared)
    tails = [[each.after(depth) for each in own] for inner in groups for own in inner.values()]
    return 0 < common <= 3 * same and _are_blocks(tails)
