"""The rules by which elements become zero: the lowest of all, of every few along an axis, or whole rows and columns."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from steelyard import sizes
from steelyard.core.readers import by_rows, from_array
from steelyard.core.together import likeness, read_rows
from steelyard.dtypes import itemsize
from steelyard.errors import ShapeError, printable, quoted
from steelyard.numerics.ranking import smallest
from steelyard.numerics.small import groups_of_small

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader, Weight


class Lowest:
    """Zeroes the elements with the lowest keys: those below the threshold, and `equal` of those at it, None for all of them.

    `share` is that of zeros in all weights with this threshold, None if it is not known, since more were zero already.
    """

    __slots__ = ("_before", "bits", "equal", "key", "share")

    def __init__(self, key: int, equal: int | None, bits: int, share: float | None) -> None:
        self.key, self.equal, self.bits, self.share = key, equal, bits, share
        self._before: list[int] | None = None

    def reader(self, weight: Weight, score: Weight | None) -> Reader:
        """Return a reader of a weight with these zeros."""
        return _LowestReader(self, weight, score)

    def zeroed(self, weight: Weight, score: Weight | None, start: int, stop: int) -> Array:
        """Return the elements [start, stop) with these zeros."""
        block = np.array(weight.read(start, stop))
        keys = _keys(block, _of(score, start, stop), self.bits)
        gone = keys < self.key if self.equal is not None else keys <= self.key
        if self.equal and (ties := keys == self.key).any():
            gone |= ties & (np.cumsum(ties) + self._ties_before(weight, score, start) <= self.equal)
        block[gone] = 0
        return block

    def _ties_before(self, weight: Weight, score: Weight | None, start: int) -> int:
        """Return how many elements before `start` are at the threshold; those of all tiles are counted once."""
        tile = sizes.EDIT_BLOCK
        if self._before is None:
            self._before = [0, *np.cumsum([*_ties(weight, score, self.key, self.bits)]).tolist()]
        first = start - start % tile
        inside = _keys(weight.read(first, start), _of(score, first, start), self.bits) == self.key
        return self._before[start // tile] + int(np.count_nonzero(inside))


class _LowestReader:
    """A reader of a weight whose lowest elements are zero."""

    __slots__ = ("rule", "score", "weight")

    def __init__(self, rule: Lowest, weight: Weight, score: Weight | None) -> None:
        self.rule, self.weight, self.score = rule, weight, score

    def __call__(self, start: int, stop: int) -> Array:
        return self.rule.zeroed(self.weight, self.score, start, stop)

    def likeness(self) -> Hashable:
        """Return the threshold of weights that are pruned together; None where ties of one are counted, or scores given."""
        key = likeness(self.weight.read)
        is_plain = self.score is None and not self.rule.equal and key is not None
        return (self.rule.key, self.rule.equal, self.rule.bits, key) if is_plain else None

    def rows(self, readers: Sequence[_LowestReader], width: int) -> Array | None:
        """Return the numbers of several weights with one threshold as rows."""
        read = read_rows([reader.weight for reader in readers])
        if read is None:
            return None
        return self.rule.zeroed(from_array("", read.reshape(-1)), None, 0, read.size).reshape(-1, width)


def _ties(weight: Weight, score: Weight | None, key: int, bits: int) -> Iterator[int]:
    """Yield how many elements of each tile are at the threshold."""
    for keys in _key_blocks(weight, score, bits):
        yield int(np.count_nonzero(keys == key))


class Pattern:
    """Zeroes all but the `kept` largest of every `group` along the input axis; only the rows of a block are read."""

    __slots__ = ("axis", "group", "kept")

    def __init__(self, kept: int, group: int, axis: int) -> None:
        self.kept, self.group, self.axis = kept, group, axis

    def reader(self, weight: Weight, score: Weight | None) -> Reader:
        """Return a reader of a weight with these zeros."""
        width = prod(weight.shape[1:])
        bits = 64 if itemsize((score or weight).dtype) > 4 else 32

        def rows(first: int, last: int) -> Array:
            # along the first axis, the rows of a group belong together
            low, high = (
                (first // self.group * self.group, -(-last // self.group) * self.group) if self.axis == 0 else (first, last)
            )
            start, stop = low * width, high * width
            block = np.array(weight.read(start, stop))
            keys = _keys(block, _of(score, start, stop), bits).reshape(-1, *weight.shape[1:])
            block = block.reshape(keys.shape)
            block[self._gone(keys)] = 0
            return block[first - low : last - low]

        return by_rows(weight.shape, rows)

    def _gone(self, keys: Array) -> Array:
        turned = np.moveaxis(keys, self.axis, -1)
        groups = turned.reshape(*turned.shape[:-1], -1, self.group)
        rank = np.zeros(groups.shape, np.uint8)  # by comparing all pairs, which is faster than a sort of so few
        for one, other in combinations(range(self.group), 2):
            below = groups[..., one] <= groups[..., other]
            rank[..., other] += below
            rank[..., one] += ~below
        gone = rank < self.group - self.kept
        return np.moveaxis(gone.reshape(turned.shape), -1, self.axis)


class Units:
    """Zeroes whole rows or columns: the indices `gone` of an axis."""

    __slots__ = ("axis", "gone")

    def __init__(self, axis: int, gone: Array) -> None:
        self.axis, self.gone = axis, gone

    def reader(self, weight: Weight, score: Weight | None) -> Reader:  # noqa: ARG002 - the units are known
        """Return a reader of a weight with these zeros."""
        mask = np.isin(np.arange(weight.shape[self.axis]), self.gone)
        inner = prod(weight.shape[self.axis + 1 :])

        def read(start: int, stop: int) -> Array:
            block = np.array(weight.read(start, stop))
            block[mask[np.arange(start, stop) // inner % len(mask)]] = 0
            return block

        return read


Rule = Lowest | Pattern | Units
"""What becomes zero in one weight."""
AXES = ("out", "in")
NORMS = ("l1", "l2", "linf")


def _of(score: Weight | None, start: int, stop: int) -> Array | None:
    return None if score is None else score.read(start, stop)


def _keys(block: Array, score: Array | None, bits: int) -> Array:
    """Return a key for each element, 0 for zeros, so that these go first; above the bits of the score's size."""
    wide, whole = (np.float32, np.uint32) if bits == 32 else (np.float64, np.uint64)
    size = np.abs((block if score is None else score).astype(wide))
    keys: Array = size.view(whole) + whole(1)
    keys[block == 0] = 0
    return keys


def by_amount(chosen: Mapping[str, Weight], scored: Mapping[str, Weight], amount: float | None, by: str) -> dict[str, Rule]:
    """Return the rule of each weight by which a share of all becomes zero.

    Raises `ShapeError` for an amount that is not a share.
    """
    amount = _share(amount)
    groups = [[*chosen.values()]] if by == "global" else [[weight] for weight in chosen.values()]
    made: dict[str, Rule] = {}
    for group in groups:
        made |= _lowest_of(group, scored, amount)
    return made


def _share(amount: float | None) -> float:
    if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount <= 1:
        raise ShapeError(f"amount is {amount!r}; it must be a share from 0 to 1, such as 0.8, or pass a pattern")
    return float(amount)


def _lowest_of(group: list[Weight], scored: Mapping[str, Weight], amount: float) -> dict[str, Rule]:
    """Return the rule of each weight of a group that has one threshold."""
    of = {weight.name: scored.get(weight.name) for weight in group}
    wide = any(itemsize(each.dtype) > 4 for weight in group for each in (of[weight.name] or weight,))
    bits = 64 if wide else 32
    whole = sum(weight.size for weight in group)
    count = round(amount * whole)
    threshold = smallest(lambda: _keys_of(group, of, bits), count, bits)
    key, left, ties = threshold
    share = count / whole if key else None
    if left == ties:  # as is usual: all that are at the threshold go
        return {weight.name: Lowest(key, None if ties else 0, bits, share) for weight in group}
    made: dict[str, Rule] = {}
    for weight in group:
        made[weight.name] = Lowest(key, left, bits, share)
        if left and weight is not group[-1]:
            left = max(left - sum(_ties(weight, of[weight.name], key, bits)), 0)
    return made


def _keys_of(group: list[Weight], of: Mapping[str, Weight | None], bits: int) -> Iterator[Array]:
    """Yield the keys of all elements of some weights; small weights without scores are read together."""
    read: set[str] = set()
    for some, rows in groups_of_small([weight for weight in group if of[weight.name] is None], lambda _: None):
        read.update(weight.name for weight in some)
        yield _keys(rows.reshape(-1), None, bits)
    for weight in group:
        if weight.name not in read:
            yield from _key_blocks(weight, of[weight.name], bits)


def _key_blocks(weight: Weight, score: Weight | None, bits: int) -> Iterator[Array]:
    for start in range(0, weight.size, sizes.EDIT_BLOCK):
        stop = min(start + sizes.EDIT_BLOCK, weight.size)
        yield _keys(weight.read(start, stop), _of(score, start, stop), bits)


def by_units(chosen: Mapping[str, Weight], amount: float | None, axis: str, norm: str) -> dict[str, Rule]:
    """Return the rule of each weight by which a share of its rows or columns becomes zero, those with the smallest norms.

    Raises `ShapeError` for an amount that is not a share, and for a weight without such an axis.
    """
    made: dict[str, Rule] = {}
    for name, weight in chosen.items():
        words = weight.axes.split()
        place = words.index(axis) if axis in words else AXES.index(axis)
        if place >= len(weight.shape) or (words and axis not in words):
            raise ShapeError(f"{printable(name)} has no axis {axis!r}; select other weights")
        norms = _norms(weight, place, norm)
        count = round(_share(amount) * len(norms))
        made[name] = Units(place, np.argsort(norms, kind="stable")[:count])
    return made


def _norms(weight: Weight, axis: int, norm: str) -> Array:
    """Return the norm of each row or column, in float64."""
    length, inner = weight.shape[axis], prod(weight.shape[axis + 1 :])
    made = np.zeros(length)
    for start in range(0, weight.size, sizes.EDIT_BLOCK):
        stop = min(start + sizes.EDIT_BLOCK, weight.size)
        size = np.abs(weight.read(start, stop).astype(np.float64))
        index = np.arange(start, stop) // inner % length
        if norm == "linf":
            np.maximum.at(made, index, size)
        else:
            made += np.bincount(index, size if norm == "l1" else np.square(size), length)
    return made


def by_pattern(chosen: Mapping[str, Weight], pattern: str, amount: float | None) -> dict[str, Rule]:
    """Return the rule of each weight by which a pattern along its inputs is left.

    Raises `ShapeError` for another pattern, and for a weight whose inputs it does not divide.
    """
    match = re.fullmatch(r"(2):(4)|(4):(8)", pattern)
    if match is None or amount is not None:
        raise ShapeError(f'pattern is {quoted(pattern)}; it must be "2:4" or "4:8", without an amount, which is a half')
    kept, group = (int(digits) for digits in match.groups() if digits)
    made: dict[str, Rule] = {}
    for name, weight in chosen.items():
        words = weight.axes.split()
        axis = words.index("in") if "in" in words else len(weight.shape) - 1
        if not weight.shape or weight.shape[axis] % group:
            length = weight.shape[axis] if weight.shape else 1
            raise ShapeError(f"{printable(name)} has {length} inputs, which are not a multiple of {group}; select other weights")
        made[name] = Pattern(kept, group, axis)
    return made
