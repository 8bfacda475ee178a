"""Weights as rows: one for each weight, or for each weight of a block that a model repeats."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from math import prod
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from steelyard.core.weight import Weight
from steelyard.errors import SteelyardError

Listed = TypeVar("Listed")

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.numerics.summary import Summary

    Rest = tuple[str, object]
    """What of a name was not looked at yet, and what those that are alike have in common."""
    Group = tuple[str, object, list[Listed]]
    """The rest of what is alike, and all that is."""

_NUMBER = re.compile(r"([0-9]+)")
_HEAD = re.compile(r"[^0-9]*+[0-9]+")
"""A name up to the end of its first number; to be matched, since a search would begin at every letter of a long name."""
_COUNTED = re.compile(r"([^0-9]*)([0-9]{1,9})")
"""A head whose number may count up; longer ones are hashes."""
_DEPTH = 6
"""Numbers in one name that are looked at; a name may hold thousands."""
_kind = attrgetter("shape", "dtype", "role", "tied", "trainable", "encoding", "axes")


class Row:
    """What one line shows: the first of its weights stands for all, which are alike but for their names.

    `counted` are those of them that totals count: a weight that shares another's numbers is left out.
    """

    __slots__ = ("counted", "layer", "name", "weight", "weights")

    def __init__(self, weights: Sequence[Weight], counted: Sequence[Weight]) -> None:
        self.weight = weights[0]
        self.weights = weights
        self.counted = counted
        self.name = span(weights[0].name, weights[-1].name)
        self.layer = span(weights[0].layer, weights[-1].layer)

    @property
    def times(self) -> int:
        """How many weights the row stands for."""
        return len(self.weights)

    @property
    def size(self) -> int:
        """The elements of all weights that count."""
        return sum([prod(weight.shape) for weight in self.counted])


class Measured(NamedTuple):
    """A row, what its numbers are, and why they cannot be read, where they cannot."""

    row: Row
    summary: Summary
    error: SteelyardError | None = None


def measured(rows: Iterable[Row]) -> Iterator[Measured]:
    """Read the numbers of each row. One of whose weights some cannot be read is taken apart, so that the others are shown."""
    from steelyard.numerics.summary import Summary, summarise

    for row in rows:
        try:
            yield Measured(row, summarise(row.counted))
        except SteelyardError as error:
            if row.times == 1:
                yield Measured(row, Summary(), error)
            else:
                counted = set(map(id, row.counted))
                yield from measured(Row([weight], [weight] if id(weight) in counted else []) for weight in row.weights)


def rows_of(weights: Weights, *, unfolded: bool = False) -> list[Row]:
    """Return the rows in the order of the weights; blocks that a model repeats are folded unless `unfolded`.

    A block repeats where a number in its names counts up by one and the rest of the names, the shapes,
    dtypes and roles are the same.

    >>> import steelyard, numpy as np
    >>> net = {f"layers.{i}.{leaf}": np.zeros(2) for i in range(12) for leaf in ("weight", "bias")}
    >>> [(row.name, row.times) for row in rows_of(steelyard.weights(net))]
    [('layers.[0-11].weight', 12), ('layers.[0-11].bias', 12)]
    """
    distinct = list(weights.distinct().values())
    groups: Iterable[list[Weight]] = ([weight] for weight in weights.values())
    if not unfolded:
        groups = folded(weights.values(), attrgetter("name"), _kind)
    if len(distinct) == len(weights):
        return [Row(group, group) for group in groups]
    counted = set(map(id, distinct))
    return [Row(group, [weight for weight in group if id(weight) in counted]) for group in groups]


def folded(listed: Iterable[Listed], name: Callable[[Listed], str], kind: Callable[[Listed], object]) -> list[list[Listed]]:
    """Put together what has one place in blocks that repeat, and is alike in `kind`; the order stays.

    >>> folded(["in", "h.0.w", "h.0.b", "h.1.w", "h.1.b"], str, len)
    [['in'], ['h.0.w', 'h.1.w'], ['h.0.b', 'h.1.b']]
    """
    return [group for _, _, group in _folded([(name(each), kind(each), [each]) for each in listed], 0)]


def folded_apart(listed: Iterable[Listed], name: Callable[[Listed], str], kind: Callable[[Listed], object]) -> list[list[Listed]]:
    """Put together what differs in numbers only that count up, and is alike in `kind`, in whatever order it comes.

    Unlike `folded` it does not ask that whole blocks repeat: some of their weights may be missing.

    >>> folded_apart(["h.1.w", "h.0.b", "h.0.w"], str, len)
    [['h.0.w', 'h.1.w'], ['h.0.b']]
    """
    alike: dict[object, list[Listed]] = {}
    for each in listed:
        alike.setdefault((tuple(_NUMBER.split(name(each), _DEPTH)[::2]), kind(each)), []).append(each)
    ordered = (sorted(group, key=lambda each: _numbers(name(each))) for group in alike.values())
    return [part for group in ordered for part in folded(group, name, kind)]


def _numbers(name: str) -> list[tuple[int, str]]:
    """Return what orders names by their numbers, without making numbers of thousands of digits."""
    return [(len(digits), digits) for digits in (part.lstrip("0") for part in _NUMBER.split(name, _DEPTH)[1::2])]


def span(first: str, last: str) -> str:
    """Write two names that differ in numbers only as one.

    >>> span("layers.0.experts.0.w", "layers.11.experts.7.w")
    'layers.[0-11].experts.[0-7].w'
    """
    if first == last:
        return first
    begin, end = _NUMBER.split(first, _DEPTH), _NUMBER.split(last, _DEPTH)
    if begin[::2] != end[::2]:
        return first
    return "".join(a if a == b else f"[{a}-{b}]" for a, b in zip(begin, end, strict=True))


def told(first: str, last: str, name: str) -> list[str]:
    """Return the numbers of a name that tell it from the others between `first` and `last`.

    >>> told("layers.0.experts.0.w2", "layers.11.experts.7.w2", "layers.3.experts.5.w2")
    ['3', '5']
    """
    begin, end, own = (_NUMBER.split(each, _DEPTH)[1::2] for each in (first, last, name))
    return [number for number, a, b in zip(own, begin, end, strict=True) if a != b]


def _folded(groups: list[Group[Listed]], depth: int) -> list[Group[Listed]]:
    """Fold what repeats at the first number of the names, then what repeats within at the next."""
    ends = [head.end() if (head := _HEAD.match(name)) else 0 for name, _, _ in groups]
    if depth == _DEPTH or not any(ends):
        return groups
    heads = [name[:end] for end, (name, _, _) in zip(ends, groups, strict=True)]
    rests = [(name[end:], kind) for end, (name, kind, _) in zip(ends, groups, strict=True)]
    cuts = [0, *(nth for nth, (one, two) in enumerate(pairwise(heads), 1) if one != two), len(groups)]
    blocks = list(pairwise(cuts))
    found: list[Group[Listed]] = []
    first = 0
    for (begin, end), (_, stop) in zip(blocks, [*blocks[1:], (0, 0)], strict=True):
        if end < stop and rests[begin:end] == rests[end:stop] and _counts_up(heads[begin], heads[end]):
            continue
        found += _merged(groups[first:end], rests[begin:end], depth)
        first = end
    return found


def _merged(groups: list[Group[Listed]], rests: list[Rest], depth: int) -> list[Group[Listed]]:
    """Make one block of those that repeat it, one after another, and fold what repeats within it."""
    if len(groups) == 1:
        return groups
    step = len(rests)
    alike = [groups[place::step] for place in range(step)]
    merged = [(*rest, [w for _, _, ws in group for w in ws]) for rest, group in zip(rests, alike, strict=True)]
    return _folded(merged, depth + 1)


def _counts_up(head: str, following: str) -> bool:
    """Tell whether two heads are alike before their numbers, of which the second is the next."""
    one, two = _COUNTED.fullmatch(head), _COUNTED.fullmatch(following)
    return one is not None and two is not None and one[1] == two[1] and int(one[2]) + 1 == int(two[2])
