"""Weights as rows: one for each weight, or one for the corresponding weights of repeated blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import and_, attrgetter, eq, sub
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from steelyard.core.names import Head, changes, marks, templates
from steelyard.core.names import heads as heads_of
from steelyard.core.weight import Refused, Weight
from steelyard.errors import SteelyardError
from steelyard.text.grids import LONGEST, in_grid
from steelyard.text.order import DEPTH, natural, sizes_of

Listed = TypeVar("Listed")

if TYPE_CHECKING:
    from steelyard.core.selection import Counts
    from steelyard.core.weights import Weights
    from steelyard.numerics.summary import Summary

    Rest = tuple[str, object]
    """The part of a name that is not compared yet, and the kind that its group has in common."""
    Group = tuple[str, object, list[Listed]]
    """The rest that a group has in common, and its members."""

NUMBER = re.compile(r"([0-9]+)")
_HASH = -2
"""What stands for a number that is longer than one that may count up, and so is a hash."""
_MANY = 100
"""Names that may be a grid; fewer are folded number by number at once."""
_kind = attrgetter("shape", "dtype", "role", "tied", "trainable", "encoding", "axes", "overlaps")


class Row:
    """One line of a table: its first weight represents all its weights, which differ in their names only.

    `counted` are the weights that totals count: tied ones are left out.
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
        """The number of weights in the row."""
        return len(self.weights)

    @property
    def size(self) -> int:
        """The number of elements of all counted weights."""
        return self.weight.size * len(self.counted)


class Measured(NamedTuple):
    """A row, the summary of its numbers, and the error if they cannot be read."""

    row: Row
    summary: Summary
    error: SteelyardError | None = None


def measured(rows: Iterable[Row]) -> Iterator[Measured]:
    """Read the numbers of each row. A row with an unreadable weight is split, so that the others are shown."""
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


def rows_of(weights: Weights, *, unfolded: bool = False, places: Sequence[int] | None = None) -> list[Row]:
    """Return the rows in the natural order of the weights, which `places` has if it is known; unless `unfolded`, blocks fold.

    Natural is 2 before 10, also where a file has its names in alphabetical order (`text.order`). A block repeats where a number
    in its names counts up by one and the rest of the names, the shapes, dtypes and roles are the same.

    >>> import steelyard, numpy as np
    >>> net = {f"layers.{i}.{leaf}": np.zeros(2) for i in range(12) for leaf in ("weight", "bias")}
    >>> [(row.name, row.times) for row in rows_of(steelyard.weights(net))]
    [('layers.[0-11].weight', 12), ('layers.[0-11].bias', 12)]
    """
    distinct = list(weights.distinct().values())
    members = list(weights.values())
    listed = [members[place] for place in (natural([weight.name for weight in members]) if places is None else places)]
    groups = [[weight] for weight in listed] if unfolded else folded(listed, attrgetter("name"), _kind_among(listed))
    if len(distinct) == len(weights):
        return [Row(group, group) for group in groups]
    counted = set(map(id, distinct))
    return [Row(group, [weight for weight in group if id(weight) in counted]) for group in groups]


def _kind_among(listed: Sequence[Weight]) -> Callable[[Weight], object]:
    """Return the function of what weights of one row have in common: also why they cannot be read, if any of these cannot."""
    if Refused not in {type(weight.read) for weight in listed}:
        return _kind
    return lambda weight: (_kind(weight), weight.unreadable)


def counts_of(weights: Weights, rows: Sequence[Row]) -> Counts:
    """Return the counts of the weights from their rows, whose weights are all alike, unless an order of parameters has them."""
    from steelyard.core.selection import Counts, kinds

    if "parameters" in weights.orders:
        return weights.counts
    sizes = {True: 0, False: 0, None: 0}
    for row, (_, is_parameter) in zip(rows, kinds({row.weight.name: row.weight for row in rows}, None), strict=True):
        sizes[is_parameter] += row.size
    return Counts(sizes[True], sizes[False], sizes[None])


def folded(listed: Iterable[Listed], name: Callable[[Listed], str], kind: Callable[[Listed], object]) -> list[list[Listed]]:
    """Group items that have the same position in repeated blocks and the same `kind`; the order is kept.

    >>> folded(["in", "h.0.w", "h.0.b", "h.1.w", "h.1.b"], str, len)
    [['in'], ['h.0.w', 'h.1.w'], ['h.0.b', 'h.1.b']]
    """
    items = list(listed)
    kinds = marks([*map(kind, items)])  # as numbers, which are compared often
    groups: list[Group[Listed]] = [(word, like, [each]) for word, like, each in zip(map(name, items), kinds, items, strict=True)]
    return [group for _, _, group in _folded(groups, 0)]


def folded_apart(listed: Iterable[Listed], name: Callable[[Listed], str], kind: Callable[[Listed], object]) -> list[list[Listed]]:
    """Group items whose names differ only in numbers that count up and that have the same `kind`, in any order.

    Unlike `folded` it does not require whole blocks to repeat: some of their weights may be missing.

    >>> folded_apart(["h.1.w", "h.0.b", "h.0.w"], str, len)
    [['h.0.w', 'h.1.w'], ['h.0.b']]
    """
    items = list(listed)
    words, likes = list(map(name, items)), list(map(kind, items))
    alike: dict[object, list[int]] = {}
    for place, key in enumerate(zip(_shared(words), likes, strict=True)):
        alike.setdefault(key, []).append(place)
    groups: list[list[Listed]] = []
    for places in alike.values():
        named = [words[place] for place in places]
        order = in_grid(named) if len(places) >= _MANY else None
        if order is not None:
            groups.append([items[places[nth]] for nth in order])
            continue
        members = [(NUMBER.split(words[at], DEPTH)[1::2], (words[at], likes[at], [items[at]])) for at in places]
        groups += [part for _, _, part in _folded(_in_order(members), 0)]
    return groups


def _shared(words: Sequence[str]) -> list[object]:
    """Return what each name has in common with others that differ in their first numbers only."""
    found = templates(words)
    long = {each for each in {*found} if each.count("0") > DEPTH}
    return [tuple(NUMBER.split(word, DEPTH)[::2]) if each in long else each for word, each in zip(words, found, strict=True)]


def _in_order(members: list[tuple[list[str], Group[Listed]]]) -> list[Group[Listed]]:
    """Return groups in the order of the numbers in their names, of which all have as many."""
    numbers, groups = zip(*members, strict=True)
    keys = list(zip(*map(sizes_of, zip(*numbers, strict=True)), strict=True))
    return [groups[place] for place in sorted(range(len(keys)), key=keys.__getitem__)] if keys else list(groups)


def span(first: str, last: str) -> str:
    """Combine two names that differ only in their numbers.

    >>> span("layers.0.experts.0.w", "layers.11.experts.7.w")
    'layers.[0-11].experts.[0-7].w'
    """
    if first == last:
        return first
    begin, end = NUMBER.split(first, DEPTH), NUMBER.split(last, DEPTH)
    if begin[::2] != end[::2]:
        return first
    return "".join(a if a == b else f"[{a}-{b}]" for a, b in zip(begin, end, strict=True))


def distinguishing_numbers(first: str, last: str, name: str) -> list[str]:
    """Return the numbers of a name that distinguish it from the others between `first` and `last`.

    >>> distinguishing_numbers("layers.0.experts.0.w2", "layers.11.experts.7.w2", "layers.3.experts.5.w2")
    ['3', '5']
    """
    begin, end, own = (NUMBER.split(each, DEPTH)[1::2] for each in (first, last, name))
    return [number for number, a, b in zip(own, begin, end, strict=True) if a != b]


def _folded(groups: list[Group[Listed]], depth: int) -> list[Group[Listed]]:
    """Fold the repetition at the first number of the names, then at the next within each block."""
    heads = heads_of([name for name, _, _ in groups])
    if depth == DEPTH or not any(digits for _, digits in heads):
        return groups
    rests = [(name[len(words) + len(digits) :], kind) for (words, digits), (name, kind, _) in zip(heads, groups, strict=True)]
    cuts = changes(heads)
    folded: list[Group[Listed]] = []
    first = 0
    for begin, end, is_repeated in zip(cuts, cuts[1:], _repeated(rests, [heads[cut] for cut in cuts[:-1]], cuts), strict=False):
        if not is_repeated:
            folded += _merged(groups[first:end], rests[begin:end], depth)
            first = end
    return folded


def _merged(groups: list[Group[Listed]], rests: list[Rest], depth: int) -> list[Group[Listed]]:
    """Merge consecutive repetitions into one block, and fold the repetitions within it."""
    if len(groups) == 1:
        return groups
    step = len(rests)
    alike = [groups[place::step] for place in range(step)]
    merged = [(*rest, [w for _, _, ws in group for w in ws]) for rest, group in zip(rests, alike, strict=True)]
    return _folded(merged, depth + 1)


def _repeated(rests: Sequence[Rest], heads: Sequence[Head], cuts: Sequence[int]) -> list[bool]:
    """Return for each block whether the one after it repeats it: the same words, a number plus one, and the same rests."""
    words = [words for words, _ in heads]
    numbers = [int(digits) if 0 < len(digits) <= LONGEST else _HASH for _, digits in heads]
    following = map(and_, map(eq, words, words[1:]), map((1).__eq__, map(sub, numbers[1:], numbers)))
    if len(heads) == len(rests):
        return [*map(and_, following, map(eq, rests, rests[1:])), False]
    blocks = zip(following, cuts, cuts[1:], cuts[2:], strict=False)
    return [*(follows and rests[begin:end] == rests[end:stop] for follows, begin, end, stop in blocks), False]
