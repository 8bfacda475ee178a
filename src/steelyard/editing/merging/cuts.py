"""The greatest magnitudes of a weight, exactly, in bounded memory: the `Cut` up to which they are counted.

Magnitudes are compared as float32, by their bits, which have the order of the numbers; NaN is above all. Of equal ones, those
that are first in the weight are counted first. A sample of the weight brackets a cut, so that one pass collects the
few magnitudes near it. Where that fails, as for very many equal ones, two histograms find it: of the upper 16 bits, then of the
lower 15 bits of the magnitudes that agree with the cut in the upper ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard import sizes

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.editing.merging.inputs import Inputs

_LOW = 15  # bits of the second histogram
_BINS = 1 << 16
_MOST = 0xFFFFFFFF
_RUNS = 64
_DEVIATIONS = 6
"""The bracket of a sample, in standard deviations of the share of magnitudes above a number."""


class Cut(NamedTuple):
    """The last of the greatest magnitudes: its bits, and its position in the weight."""

    bits: int
    place: int

    def above(self, magnitudes: Array, start: int) -> Array:
        """Return which elements from position `start` on are among the greatest, given the bits of their magnitudes."""
        if self.place >= start + len(magnitudes) - 1:
            return magnitudes >= self.bits
        kept: Array = magnitudes > self.bits
        if self.place >= start:
            equal = self.place + 1 - start
            kept[:equal] |= magnitudes[:equal] == self.bits
        return kept


NONE, ALL = Cut(_MOST, -1), Cut(0, 1 << 62)


class Wanted(NamedTuple):
    """The question for a cut: how many of the greatest magnitudes of the array at `place`."""

    place: int
    number: int


def magnitudes(values: Array) -> Array:
    """Return the bits of |values| as float32.

    >>> magnitudes(np.array([-1.0, 2.0, 0.0])).tolist() == np.array([1, 2, 0], "float32").view("uint32").tolist()
    True
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values, np.float32).view(np.uint32) & np.uint32(0x7FFFFFFF)


def cuts(inputs: Inputs, wanted: Sequence[Wanted]) -> list[Cut]:
    """Return the cuts of the deltas of several models, which are read together."""
    open_ones = [each for each in wanted if 0 < each.number < inputs.size]
    found = dict(zip(open_ones, _bracketed(inputs, open_ones), strict=True))
    missed = [each for each, cut in found.items() if cut is None]
    found |= dict(zip(missed, _placed(inputs, missed), strict=True))
    return [found.get(each) or (NONE if each.number <= 0 else ALL) for each in wanted]


def common_cuts(merged: Sequence[Inputs], density: Sequence[float]) -> list[Cut]:
    """Return the cuts of the greatest deltas of each model over all weights, whose shares are `density`.

    All weights are read twice. Of equal magnitudes all are counted, as in the code of TIES.
    """
    size = sum(inputs.size for inputs in merged)
    counts = {at: max(1, int(share * size)) for at, share in enumerate(density) if 0 < share < 1}
    uppers = {at: np.zeros(_BINS, np.int64) for at in counts}
    for _, found in _blocks_of_all(merged):
        for at in counts:
            uppers[at] += np.bincount(found[at] >> _LOW, minlength=_BINS)
    highs = {at: _bin_of(upper, counts[at]) for at, upper in uppers.items()}
    lowers = {at: np.zeros(1 << _LOW, np.int64) for at in counts}
    for _, found in _blocks_of_all(merged) if counts else ():
        for at in counts:
            lowers[at] += _lower(found[at], highs[at][0])
    made = {at: Cut(high << _LOW | _bin_of(lowers[at], counts[at] - above)[0], ALL.place) for at, (high, above) in highs.items()}
    return [made.get(at) or (ALL if share > 0 else NONE) for at, share in enumerate(density)]


def _blocks_of_all(merged: Sequence[Inputs]) -> Iterator[tuple[int, list[Array]]]:
    for inputs in merged:
        yield from _blocks(inputs)


class _Bracket:
    """The magnitudes from `low` to `high`, with their positions, and the number of those above."""

    __slots__ = ("above", "bits", "count", "held", "high", "limit", "low", "places")

    def __init__(self, sample: Array, size: int, count: int, limit: int) -> None:
        ordered = np.sort(sample)[::-1]
        share = count / size
        middle, width = share * len(sample), _DEVIATIONS * (1 + sqrt(len(sample) * share * (1 - share)))
        first, last = int(middle - width), int(middle + width)
        whole = len(sample) == size
        self.high = _MOST if first < 0 or whole else int(ordered[first])
        self.low = 0 if last >= len(sample) or whole else int(ordered[last])
        self.count = count
        self.limit = limit
        self.above = self.held = 0
        self.bits: list[Array] = []
        self.places: list[Array] = []

    def add(self, start: int, found: Array) -> None:
        """Collect the magnitudes of a block within the bracket, unless there are too many."""
        if self.held > self.limit:
            return
        self.above += int(np.count_nonzero(found > self.high))
        places = np.flatnonzero((found >= self.low) & (found <= self.high))
        self.held += len(places)
        self.bits.append(found[places])
        self.places.append(places + start)

    def cut(self) -> Cut | None:
        """Return the cut; None if it is outside the bracket, or there are too many magnitudes within."""
        left = self.count - self.above
        if self.held > self.limit or not 0 < left <= self.held:
            return None
        bits = np.concatenate(self.bits)
        last = int(np.partition(bits, len(bits) - left)[len(bits) - left])
        equal = left - int(np.count_nonzero(bits > last))
        return Cut(last, int(np.concatenate(self.places)[bits == last][equal - 1]))


def _bracketed(inputs: Inputs, wanted: Sequence[Wanted]) -> list[Cut | None]:
    """Return the cuts that brackets find in one pass."""
    if not wanted:
        return []
    limit = sizes.CUT_HELD // len(wanted)
    sample = [np.concatenate(runs) for runs in zip(*_sample(inputs), strict=True)]
    brackets = [_Bracket(sample[each.place], inputs.size, each.number, limit) for each in wanted]
    for start, found in _blocks(inputs):
        for each, bracket in zip(wanted, brackets, strict=True):
            bracket.add(start, found[each.place])
    return [bracket.cut() for bracket in brackets]


def _sample(inputs: Inputs) -> Iterator[list[Array]]:
    """Yield runs that are spread over the arrays; of small ones, all."""
    size, length = inputs.size, max(sizes.CUT_SAMPLE // _RUNS, 1)
    starts = [0] if size <= sizes.CUT_SAMPLE else np.linspace(0, size - length, _RUNS).astype(int).tolist()
    for start in starts:
        yield [magnitudes(each) for each in inputs.read(start, size if len(starts) == 1 else start + length)]


def _blocks(inputs: Inputs) -> Iterator[tuple[int, list[Array]]]:
    return ((start, [magnitudes(each) for each in found]) for start, found in inputs.blocks())


def _placed(inputs: Inputs, wanted: Sequence[Wanted]) -> list[Cut]:
    """Return the cuts by two histograms, and a third pass that ends at the last of the equal magnitudes which is counted."""
    if not wanted:
        return []
    uppers = [np.zeros(_BINS, np.int64) for _ in wanted]
    for _, found in _blocks(inputs):
        for nth, each in enumerate(wanted):
            uppers[nth] += np.bincount(found[each.place] >> _LOW, minlength=_BINS)
    highs = [_bin_of(upper, each.number) for each, upper in zip(wanted, uppers, strict=True)]
    lowers = [np.zeros(1 << _LOW, np.int64) for _ in wanted]
    for _, found in _blocks(inputs):
        for nth, each in enumerate(wanted):
            lowers[nth] += _lower(found[each.place], highs[nth][0])
    made = []
    for each, lower, (high, above) in zip(wanted, lowers, highs, strict=True):
        low, over = _bin_of(lower, each.number - above)
        equal = each.number - above - over
        is_last = equal == lower[low] or not high | low  # which zeros are counted changes nothing
        made.append(Cut(high << _LOW | low, ALL.place if is_last else _place(inputs, each.place, high << _LOW | low, equal)))
    return made


def _place(inputs: Inputs, at: int, bits: int, count: int) -> int:
    """Return the position of the element that is the `count`th with these bits."""
    for start, found in _blocks(inputs):
        places = np.flatnonzero(found[at] == bits)
        if len(places) >= count:
            return start + int(places[count - 1])
        count -= len(places)
    return inputs.size


def _lower(found: Array, high: int) -> Array:
    """Return the histogram of the lower bits of the magnitudes whose upper bits are `high`."""
    inside = found[found >> _LOW == high] & np.uint32((1 << _LOW) - 1)
    return np.bincount(inside, minlength=1 << _LOW)


def _bin_of(histogram: Array, count: int) -> tuple[int, int]:
    """Return the bin of the `count`th greatest, and the number of those in the bins above."""
    downwards = np.cumsum(histogram[::-1])
    at = int(np.searchsorted(downwards, count))
    return len(histogram) - 1 - at, int(downwards[at - 1]) if at else 0
