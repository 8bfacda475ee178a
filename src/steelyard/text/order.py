"""The natural order of names in a view: blocks by their numbers, 2 before 10, and everything else as it is listed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, TypeVar

from steelyard.core.names import Head, changes
from steelyard.core.names import heads as heads_of
from steelyard.errors import printable

Listed = TypeVar("Listed")

DEPTH = 6
"""Maximum numbers of a name that are compared; a name may contain thousands."""
_HEAD = re.compile(r"[^0-9]*+[0-9]+")
"""A name up to the end of its first number. Use `match`: `search` would start at every character of a long name."""
_DIGITS = "0123456789"
_SHORT = 18  # digits of a number that is converted quickly
_BREAKS = ("", ".", "/")
"""What is before and after a number that is a whole part of a name; blank at an end of the name."""


def natural(names: Sequence[str]) -> list[int]:
    """Return the places of the names in their natural order: corresponding blocks are sorted by their numbers.

    Blocks of one container, `h.0` to `h.11`, stand where the first of them stands, and those with the same parts list them in
    the same order. Numbers within words, as in `conv10`, are sorted where the words are consecutive; names that alternate, as
    `conv1`, `bn1`, `conv2`, `bn2`, or count down, as `up3`, `up2`, `up1`, were ordered on purpose.

    >>> names = ["h.0.w", "h.1.w", "h.10.w", "h.2.w", "out"]
    >>> [names[place] for place in natural(names)]
    ['h.0.w', 'h.1.w', 'h.2.w', 'h.10.w', 'out']
    """
    return _places(names, 0)


def in_natural_order(listed: Iterable[Listed], name: Callable[[Listed], str]) -> list[Listed]:
    """Return items in the natural order of their names.

    >>> in_natural_order(["dense", "dense_1", "dense_10", "dense_2"], str)
    ['dense', 'dense_1', 'dense_2', 'dense_10']
    """
    items = list(listed)
    return [items[place] for place in natural([name(each) for each in items])]


def order_note(source: Iterable[str], places: list[int] | None = None) -> str:
    """Return a line if the natural order of names is another than that of the source; else blank.

    `places` is that order, as `natural` returns it, where it is known.

    >>> order_note(["h.0.w", "h.1.w", "h.10.w", "h.2.w"])
    'blocks are shown by number; the source, and so the vector, has h.10 before h.2'
    """
    names = list(source)
    places = natural(names) if places is None else places
    after = [*accumulate(reversed(places), min)][::-1]  # the least place of a name and of all that follow
    nth = next((nth for nth, place in enumerate(places) if place > after[nth]), None)
    if nth is None:
        return ""
    later, earlier = _blocks(names[places[nth]], names[after[nth]])
    return f"blocks are shown by number; the source, and so the vector, has {printable(earlier)} before {printable(later)}"


def _blocks(one: str, other: str) -> tuple[str, str]:
    """Return two names up to the first number in which they differ, or whole if they differ in words.

    >>> _blocks("h.2.w", "h.10.w"), _blocks("h.2.w", "h.2.b")
    (('h.2', 'h.10'), ('h.2.w', 'h.2.b'))
    """
    ends = [0, 0]
    while heads := [_HEAD.match(name, end) for name, end in zip((one, other), ends, strict=True)]:
        if heads[0] is None or heads[1] is None or heads[0][0].rstrip(_DIGITS) != heads[1][0].rstrip(_DIGITS):
            return one, other
        ends = [heads[0].end(), heads[1].end()]
        if heads[0][0] != heads[1][0]:
            break
    return one[: ends[0]], other[: ends[1]]


def _by_size(digits: str) -> tuple[int, str]:
    """Return a key that sorts numbers by their size, without converting those of thousands of digits."""
    stripped = digits.lstrip("0")
    return len(stripped), stripped


def sizes_of(numerals: Sequence[str]) -> list[Any]:
    """Return keys that sort numbers by their sizes."""
    if max(map(len, numerals)) > _SHORT:
        return list(map(_by_size, numerals))
    return [*map(int, numerals)] if all(numerals) else [int(each or 0) for each in numerals]


def _places(names: Sequence[str], depth: int) -> list[int]:
    """Sort the runs of names by the first number in each, and then within each run by the next."""
    if depth == DEPTH:
        return list(range(len(names)))
    heads, cuts = _runs(names)
    if not any(digits for _, digits in heads):
        return list(range(len(names)))
    runs = _by_number(heads, [names[first] for first in cuts[:-1]])
    if len(heads) == len(names) and runs == list(range(len(runs))):
        return runs  # a block for each name, in order
    places: list[int] = []
    known: dict[object, list[int]] = {}
    alike: dict[object, dict[str, int]] = {}
    for (family, digits), own in _joined(runs, heads, cuts):
        if len(own) == 1 or not digits:
            places += own
            continue
        end = len(family) + len(digits)
        rests = [names[place][end:] for place in own]
        listed = (family, *rests)
        order = known.get(listed)
        if order is None:
            order = known[listed] = _of_block(family, rests, alike, depth)
        places += [own[place] for place in order]
    return places


def _of_block(family: str, rests: list[str], alike: dict[object, dict[str, int]], depth: int) -> list[int]:
    """Return the order of a block: as `alike` has it for the first of its family with the same parts, else by the next number."""
    parts = (family, frozenset(rests))
    if (rank := alike.get(parts)) is not None:
        return sorted(range(len(rests)), key=lambda nth: rank[rests[nth]])
    order = _places(rests, depth + 1)
    alike[parts] = {rests[place]: nth for nth, place in enumerate(order)}
    return order


def _runs(names: Sequence[str]) -> tuple[list[Head], list[int]]:
    """Return the heads of the runs of consecutive names with the same head, and the places at which they start and end."""
    listed = heads_of(names)
    cuts = changes(listed)
    return [listed[cut] for cut in cuts[:-1]], cuts


def _by_number(heads: Sequence[Head], names: Sequence[str]) -> list[int]:
    """Sort the runs of each family, which differ in their number only, among the places that the family has."""
    ordered = list(range(len(heads)))
    gathered: dict[int, list[int]] = {}
    for family, slots in _families(heads).items():
        if len(slots) == 1 or not heads[slots[0]][1]:
            continue
        keys = sizes_of([heads[slot][1] for slot in slots])
        gaps = 0 if slots[-1] - slots[0] == len(slots) - 1 else sum(two != one + 1 for one, two in pairwise(slots))
        if not gaps and keys == sorted(keys):
            continue  # in order already
        adjacent = len(slots) - 1 - gaps
        ends = [len(family) + len(heads[slot][1]) for slot in slots]
        whole = family[-1:] in _BREAKS and all(
            names[slot][end : end + 1] in _BREAKS for slot, end in zip(slots, ends, strict=True)
        )
        if not whole and (gaps or all(one > two for one, two in pairwise(keys))):
            continue
        members = [slots[nth] for nth in sorted(range(len(slots)), key=keys.__getitem__)]
        for slot, member in zip(slots, members, strict=True):
            ordered[slot] = member
        if whole and 0 < gaps <= adjacent:
            gathered |= {slot: [] for slot in slots[1:]} | {slots[0]: members}
    if not gathered:
        return ordered
    return [run for nth, place in enumerate(ordered) for run in gathered.get(nth, (place,))]


def _families(heads: Sequence[Head]) -> Mapping[str, Sequence[int]]:
    """Return the places of the heads with the same words."""
    words = [family for family, _ in heads]
    if words.count(words[0]) == len(words):
        return {words[0]: range(len(words))}
    families: dict[str, list[int]] = {}
    for nth, family in enumerate(words):
        families.setdefault(family, []).append(nth)
    return families


def _joined(runs: Iterable[int], heads: Sequence[Head], cuts: Sequence[int]) -> Iterator[tuple[Head, list[int]]]:
    """Yield the head and the places of each block; consecutive runs of one block are joined."""
    head, places = ("", ""), list[int]()
    for run in runs:
        if heads[run] != head:
            if places:
                yield head, places
            head, places = heads[run], []
        places.extend(range(cuts[run], cuts[run + 1]))
    yield head, places
