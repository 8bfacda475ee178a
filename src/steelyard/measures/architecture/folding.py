"""Repeated runs of a sequence as one, also within one another: A B B C B B C is A, then twice (twice B, then C)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

_CANDIDATES = 200
"""Later places of an item that are looked at as the beginning of its next repetition."""
_WORK = 4_000_000
"""Comparisons after which the rest stays as it is: a hostile file may have no end of them."""


class Group(NamedTuple):
    """A run of `length` items from `start`, which is repeated `times`; `parts` are what it is made of, a single item of none."""

    start: int
    length: int
    times: int
    parts: tuple[Group, ...] = ()

    def places(self) -> list[int]:
        """Return where the run begins each time."""
        return [self.start + self.length * nth for nth in range(self.times)]


Alike = Callable[[int, int], bool]
"""Whether the items at two places are alike in all that their keys leave out."""


class _Folder:
    __slots__ = ("alike", "keys", "left", "places")

    def __init__(self, keys: Sequence[Hashable], alike: Alike | None) -> None:
        numbers: dict[Hashable, int] = {}
        self.keys = [numbers.setdefault(key, len(numbers)) for key in keys]
        self.alike = alike
        self.left = _WORK
        self.places: dict[int, list[int]] = {}
        for place, key in enumerate(self.keys):
            self.places.setdefault(key, []).append(place)

    def groups(self, start: int, stop: int) -> Iterator[Group]:
        """Yield the groups between two places: at each, the repetition that covers most; of equal ones the shortest run."""
        while start < stop:
            length, times = max(self._repeated(start, stop), key=lambda found: found[0] * found[1], default=(1, 1))
            parts = tuple(self.groups(start, start + length)) if length > 1 else ()
            yield Group(start, length, times, parts)
            start += length * times

    def _repeated(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the lengths of runs from a place that are repeated, and how many times."""
        from bisect import bisect_right

        own = self.places[self.keys[start]]
        begin = bisect_right(own, start)
        for place in own[begin : begin + _CANDIDATES]:
            length = place - start
            if start + 2 * length > stop or self.left <= 0:
                return
            times = 1 + self._same(start, length, stop) // length
            if times > 1:
                yield length, times

    def _same(self, start: int, length: int, stop: int) -> int:
        """Return how many items from a place are each like the one a run later."""
        place = start
        while place + length < stop and self._alike(place, place + length):
            place += 1
        self.left -= place - start + 1
        return place - start

    def _alike(self, one: int, other: int) -> bool:
        return self.keys[one] == self.keys[other] and (self.alike is None or self.alike(one, other))


def groups_of(keys: Sequence[Hashable], alike: Alike | None = None) -> list[Group]:
    """Return a sequence as groups of repeated runs; items are alike if their keys are equal and `alike` says so.

    >>> [(each.start, each.length, each.times, len(each.parts)) for each in groups_of("abbcbbcd")]
    [(0, 1, 1, 0), (1, 3, 2, 2), (7, 1, 1, 0)]
    """
    return [*_Folder(keys, alike).groups(0, len(keys))]
