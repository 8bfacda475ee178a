"""All statistics that one pass over the numbers computes: range, moments, histogram, and counts of NaN and Inf.

Numbers are read block by block. Summaries of parts merge into that of the whole, bit for bit, in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from steelyard import sizes
from steelyard.core.threads import in_turn
from steelyard.core.weight import Weight
from steelyard.numerics import fast
from steelyard.numerics.blocks import blocks_of, is_shared
from steelyard.numerics.histogram import ERROR, UPPER, Histogram, is_counted
from steelyard.numerics.moments import Block, Moments, sums_of
from steelyard.numerics.small import runs_of_small, small_summaries
from steelyard.numerics.weight_stats import NEAR

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_INFINITE = {"float16": 0x7C00, "bfloat16": 0x7F80}
"""The bits of infinity, as an unsigned integer; those of NaN are larger."""


class Summary:
    """The summary of the numbers of one weight or of several.

    `nan` and `inf` count the numbers that are not finite; all other statistics exclude them. `first` locates the first of them:
    the rank of its weight, and the element's offset. Complex numbers count by their magnitude. `wide` adds a histogram for
    types of more than two bytes, which takes as long as everything else.

    Examples:
        >>> one, two = Summary(), Summary()
        >>> one.add(np.array([1.0, np.nan])), two.add(np.array([3.0]), 2)
        (None, None)
        >>> one.merge(two)
        >>> one.moments.count, one.moments.mean, one.moments.std, one.first
        (2, 2.0, 1.0, (0, 1))
    """

    __slots__ = ("_all", "_measured", "first", "histogram", "inf", "nan", "wide")

    def __init__(self, *, wide: bool = True, near: float = NEAR) -> None:
        self.nan = self.inf = 0
        self.first: tuple[int, int] | None = None
        self.histogram = Histogram()
        self.wide = wide
        self._measured = Moments(near)
        self._all: Moments | None = None

    @property
    def finite(self) -> bool:
        """Whether all added numbers are finite."""
        return not (self.nan or self.inf)

    @property
    def moments(self) -> Moments:
        """The count, range and moments of the finite numbers; for types of one or two bytes they follow from the histogram."""
        if self._all is None:
            self._all = self._measured
            for values, counts in self.histogram.counted():
                if self._all is self._measured:
                    self._all = Moments(self._measured.near)
                    self._all.merge(self._measured)
                self._all.add_counted(values, counts)
        return self._all

    def add(self, block: Array, start: int = 0, rank: int = 0) -> None:
        """Add a block of numbers with one axis, which begins at element `start` of the weight of this `rank`."""
        self._all = None
        if is_counted(block.dtype):
            if not surely_finite_block(block):
                block = self.finite_ones(block, start, rank)
            if block.size:
                self.histogram.add(block)
        elif block.size:
            self._measure(_real(block), start, rank)

    def begin(self, block: Block, figures: tuple[float, float, int, int], codes: Array, counts: Array) -> None:
        """Take the sums and `figures` of a weight's finite numbers, and the counts of their shared bins; it is the first.

        `figures` are the least and the greatest number, and how many are zero and near zero.
        """
        self._measured.begin(block, *figures)
        self._all = self._measured
        if self.wide:
            self.histogram.begin(codes, counts)

    def _measure(self, values: Array, start: int, rank: int) -> None:
        sums = fast.sums(values)
        if sums is None:
            low, high = values.min().item(), values.max().item()
            if low - low != 0 or high - high != 0:
                values = self.finite_ones(values, start, rank)
                if not values.size:
                    return
                low, high = values.min().item(), values.max().item()
            sums = sums_of(values, low, high)
        self._measured.add(values, sums)
        if self.wide:
            self.histogram.add(values)

    def finite_ones(self, block: Array, start: int = 0, rank: int = 0) -> Array:
        """Count the numbers of a block that are not finite, note the first, and return the others."""
        with np.errstate(invalid="ignore"):  # isfinite and isnan of ml_dtypes warn of NaN
            good = np.asarray(np.isfinite(block), bool)
            if good.all():
                return block
            bad = block[~good]
            nan = int(np.isnan(bad).sum())
        self.nan, self.inf = self.nan + nan, self.inf + bad.size - nan
        place = (rank, start + int(good.argmin()))  # the block begins at element `start` of the weight
        self.first = place if self.first is None else min(self.first, place)
        finite: Array = block[good]
        return finite

    def merge(self, other: Summary) -> None:
        """Add the numbers of another summary."""
        self._all = None
        self.nan, self.inf = self.nan + other.nan, self.inf + other.inf
        if other.first is not None:
            self.first = other.first if self.first is None else min(self.first, other.first)
        self._measured.merge(other._measured)
        self.histogram.merge(other.histogram)

    def quantile(self, share: float) -> float | None:
        """Return the smallest number that is at least as large as this share of all.

        It is exact for types of one or two bytes, else the middle of a bin, within `quantile_error` of the true number. It is
        None without numbers, and without a histogram.
        """
        return self.quantiles((share,))[0]

    def quantiles(self, shares: Sequence[float]) -> list[float | None]:
        """Return several quantiles, each as `quantile` does; the bins are sorted once."""
        moments = self.moments
        if moments.minimum is None or moments.maximum is None or (not self.wide and self._measured.count):
            return [None] * len(shares)
        values, counts = self.histogram.points()
        # in float64, 0.07 * 100 is slightly more than 7, but the 7th number is meant
        ranks = [ceil(share * moments.count - 1e-9 * share) for share in shares]
        middles = values.take(counts.cumsum().searchsorted(ranks), mode="clip").tolist()
        least, greatest = float(moments.minimum), float(moments.maximum)
        within = [min(max(middle, least), greatest) for middle in middles]
        ends = (least if share <= 0 else greatest if share >= 1 else None for share in shares)
        return [each if end is None else end for each, end in zip(within, ends, strict=True)]

    def counts(self, edges: Array) -> Array:
        """Return the counts between ascending `edges`; the last edge is included."""
        moments = self.moments
        if moments.minimum is None or moments.maximum is None:
            return np.zeros(len(edges) - 1, np.int64)
        return self.histogram.rebinned(edges, float(moments.minimum), float(moments.maximum))

    @property
    def quantile_error(self) -> float:
        """The maximum relative error of a quantile."""
        return ERROR if UPPER in self.histogram.bins() else 0.0


def summarise(weights: Iterable[Weight], *, wide: bool = True, near: float = NEAR) -> Summary:
    """Read every number of `weights` once, block by block.

    >>> from steelyard.core.readers import from_array
    >>> found = summarise([from_array("w", np.array([1.0, 2.0, np.nan]))])
    >>> found.moments.minimum, found.moments.maximum, found.moments.mean, found.nan
    (1.0, 2.0, 1.5, 1)
    """
    summary = Summary(wide=wide, near=near)
    for each in summaries(weights, wide=wide, near=near):
        summary.merge(each)
    return summary


def summaries(weights: Iterable[Weight], *, wide: bool = True, near: float = NEAR, threads: bool = True) -> Iterator[Summary]:
    """Yield the summary of each weight, whose rank is its index in `weights`; two threads share the work, unless not `threads`.

    Errors of reading are raised when the weight's turn comes.
    """
    listed = list(enumerate(weights))
    at = 0
    for start, stop in runs_of_small([weight for _, weight in listed]):
        yield from _in_turn(listed[at:start], wide=wide, near=near, threads=threads)
        yield from small_summaries(listed[start:stop], lambda: Summary(wide=wide, near=near))
        at = stop
    yield from _in_turn(listed[at:], wide=wide, near=near, threads=threads)


def _in_turn(listed: Sequence[tuple[int, Weight]], *, wide: bool, near: float, threads: bool) -> Iterator[Summary]:
    """Yield the summary of each weight, given with its rank, in runs that two threads share."""
    step, shared = sizes.SUMMARY_RUN, _is_shared if threads else lambda *_: False
    jobs = ((weight, rank, start) for rank, weight in listed for start in range(0, max(weight.size, 1), step))
    done = in_turn(jobs, partial(_run, wide, near), shared)
    for _, weight in listed:
        first = next(done)
        for _ in range(step, weight.size, step):
            first.merge(next(done))
        yield first


def _is_shared(weight: Weight, rank: int, start: int) -> bool:
    """Whether this run is thread-safe to read and large enough to be worth a thread."""
    return weight.size - start >= sizes.SUMMARY_THRESHOLD and is_shared(weight)


def _run(wide: bool, near: float, weight: Weight, rank: int, start: int) -> Summary:
    """Summarise the run of a weight that begins at `start`."""
    summary = Summary(wide=wide, near=near)
    for at, block in blocks_of(weight, start, min(start + sizes.SUMMARY_RUN, weight.size), sizes.SUMMARY_BLOCK):
        summary.add(block, at, rank)
    summary.histogram.bins()
    return summary


def _real(block: Array) -> Array:
    """Return real numbers in a type in which NumPy computes fast."""
    if block.dtype.kind == "c":
        return np.abs(block)
    if block.itemsize > 8:
        with np.errstate(over="ignore"):  # numbers beyond float64 become Inf
            return np.ascontiguousarray(block, np.float64)
    return np.ascontiguousarray(block)


def surely_finite_block(block: Array) -> bool:
    """Whether all numbers are known to be finite, for types where this is cheap to check."""
    if block.dtype.kind in "biu" or not block.size:
        return True
    if block.dtype.kind == "f" and block.itemsize > 2:
        with np.errstate(all="ignore"):
            return bool(np.isfinite(block.sum()))  # NaN and Inf stay in a sum
    name = block.dtype.name  # which NumPy makes anew each time
    if name in ("int2", "int4", "uint2", "uint4"):
        return True
    infinite = _INFINITE.get(name)
    return infinite is not None and int((np.ascontiguousarray(block).view(np.uint16) & np.uint16(0x7FFF)).max()) < infinite
