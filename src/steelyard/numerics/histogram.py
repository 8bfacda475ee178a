"""Fixed-bin histograms that merge exactly, whatever the partition.

Types of one or two bytes have a bin for each of their numbers, so their histograms are exact. The other types share
the bins given by the upper 16 bits of a float32:

    bit   31      30..23     22..16                15..0
          sign    exponent   7 bits of mantissa    dropped

These are 128 bins for each power of two, so that the middle of a bin is within 1/256 of any number in it; below 2**-126, where
bins are 2**-133 wide, within 2**-134; the bin of zero stands for zero, so it is within 2**-133. Numbers too large for a float32
are counted as the largest one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard import sizes
from steelyard.core.casting import standard
from steelyard.dtypes import numpy_dtype

if TYPE_CHECKING:
    from steelyard.core.weight import Array

ERROR = 2.0**-8
"""The maximum relative error of the middle of a shared bin."""
UPPER = "float32"
"""The key of the shared bins, which are the upper halves of float32."""


class Histogram:
    """Counts by bin, for each type that has bins of its own. Two histograms merge by adding their counts.

    Examples:
        >>> counted = Histogram()
        >>> counted.add(np.array([1.0, 1.0, 3.0], "f2"))
        >>> [part.tolist() for part in counted.points()]
        [[1.0, 3.0], [2, 1]]
    """

    __slots__ = ("_dense", "_sparse")

    def __init__(self) -> None:
        self._dense: dict[str, Array] = {}
        self._sparse: dict[str, list[tuple[Array, Array]]] = {}

    def add(self, values: Array) -> None:
        """Count finite real numbers: types of one or two bytes by their bits, others by the upper half of their float32."""
        kind, codes = (
            (values.dtype.name, _own(np.ascontiguousarray(values))) if is_counted(values.dtype) else (UPPER, upper(values))
        )
        if codes.size < sizes.SORT_THRESHOLD:
            self._sparse.setdefault(kind, []).append(np.unique(codes, return_counts=True))
            return
        counts = _counts(codes)
        if kind in self._dense:
            self._dense[kind] += counts
        else:
            self._dense[kind] = counts

    def begin(self, codes: Array, counts: Array) -> None:
        """Take the counts of some shared bins, in ascending order of their codes; nothing was added before."""
        self._sparse[UPPER] = [(codes, counts)]

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram."""
        for kind, held in other.bins().items():
            self._sparse.setdefault(kind, []).append(held)

    def bins(self) -> dict[str, tuple[Array, Array]]:
        """Return the non-empty bins of each type and their counts; all bins would take half a megabyte."""
        for kind, dense in self._dense.items():
            used = np.flatnonzero(dense)
            self._sparse.setdefault(kind, []).append((used.astype(np.uint16), dense[used]))
        self._dense = {}
        for kind, parts in self._sparse.items():
            if len(parts) > 1:
                self._sparse[kind] = [_added(*(np.concatenate(each) for each in zip(*parts, strict=True)))]
        return {kind: parts[0] for kind, parts in self._sparse.items()}

    def points(self) -> tuple[Array, Array]:
        """Return the middles of the bins as float64 in ascending order, and their counts."""
        pieces = [(_middles(kind, codes), counts) for kind, (codes, counts) in self.bins().items()]
        if not pieces:
            return np.empty(0), np.empty(0, np.int64)
        values, counts = pieces[0] if len(pieces) == 1 else map(np.concatenate, zip(*pieces, strict=True))
        order = values.argsort(kind="stable")
        return values[order], counts[order]

    def counted(self) -> Iterator[tuple[Array, Array]]:
        """Yield, for each type that has a bin for every number, the numbers as float64 and their counts."""
        for kind, (codes, counts) in self.bins().items():
            if kind != UPPER:
                yield _middles(kind, codes), counts

    def rebinned(self, edges: Array, least: float, greatest: float) -> Array:
        """Return the counts between consecutive `edges`, which ascend; the last edge is included.

        If an edge cuts a bin, its count is split in proportion, as if its numbers were uniformly distributed over the part of
        the bin that is between `least` and `greatest`.

        >>> counted = Histogram()
        >>> counted.add(np.linspace(0, 1, 1000))
        >>> counted.rebinned(np.array([0.0, 0.25, 0.5, 1.0]), 0.0, 1.0).tolist()
        [250, 250, 500]
        """
        with np.errstate(over="ignore"):
            # the last bin includes its upper edge, as in numpy.histogram
            cuts = np.array([*edges[:-1], np.nextafter(edges[-1], np.inf)])
        below = np.zeros(len(cuts))
        for low, high, counts in self._edges():
            below += _below(cuts, np.maximum(low, least), np.minimum(high, greatest), counts)
        return np.diff(np.rint(below)).astype(np.int64)

    def _edges(self) -> Iterator[tuple[Array, Array, Array]]:
        """Yield, for each type, the least and the greatest number of each bin in ascending order, and the counts."""
        for kind, (codes, counts) in self.bins().items():
            low = high = _middles(kind, codes)
            if kind == UPPER:
                wide = codes.astype(np.uint32) << 16
                sides = [edge.view(np.float32).astype(np.float64) for edge in (wide, wide | np.uint32(0xFFFF))]
                low, high = np.minimum(*sides), np.maximum(*sides)
            order = np.argsort(low, kind="stable")
            yield low[order], high[order], counts[order]

    def __getstate__(self) -> Mapping[str, tuple[Array, Array]]:
        return self.bins()

    def __setstate__(self, state: Mapping[str, tuple[Array, Array]]) -> None:
        self._dense = {}
        self._sparse = {kind: [held] for kind, held in state.items()}


def _below(cuts: Array, low: Array, high: Array, counts: Array) -> Array:
    """Return the count of numbers below each cut: all full bins, and a share of the bin that the cut divides."""
    begun = np.searchsorted(low, cuts)
    last = np.maximum(begun - 1, 0)
    wide = (high - low)[last]
    with np.errstate(over="ignore"):  # the last bin ends at the largest float32; float64 has larger numbers
        share = np.where(wide > 0, np.clip((cuts - low[last]) / np.where(wide > 0, wide, 1.0), 0, 1), 1.0)
    before = np.concatenate([np.zeros(1), np.cumsum(counts, dtype=np.float64)])[last]
    return np.asarray(np.where(begun > 0, before + share * counts[last], 0.0))


def is_counted(dtype: np.dtype[Any]) -> bool:
    """Whether a type has a bin for each of its numbers."""
    return dtype.itemsize <= 2


def _counts(codes: Array) -> Array:
    """Return how often each code of one or two bytes occurs; bytes are counted in pairs, since a number takes as long as two."""
    if codes.itemsize == 2:
        return np.bincount(codes, minlength=1 << 16)
    even = codes.size // 2 * 2
    pairs = np.bincount(codes[:even].view(np.uint16), minlength=1 << 16).reshape(256, 256)
    whole: Array = pairs.sum(axis=0) + pairs.sum(axis=1) + np.bincount(codes[even:], minlength=256)
    return whole


def _added(codes: Array, counts: Array) -> tuple[Array, Array]:
    """Return each code once, in ascending order, with the sum of its counts."""
    if codes.size >= sizes.SORT_THRESHOLD:
        whole = np.bincount(codes, weights=counts)  # in float64, which is exact for as many numbers as a memory has
        used = np.flatnonzero(whole)
        return used.astype(codes.dtype), whole[used].astype(np.int64)
    distinct, places = np.unique(codes, return_inverse=True)
    summed = np.zeros(len(distinct), np.int64)
    np.add.at(summed, places, counts)
    return distinct, summed


def _own(values: Array) -> Array:
    return values.view(np.uint8 if values.itemsize == 1 else np.uint16)


def upper(values: Array) -> Array:
    """Return the upper 16 bits of each number as float32."""
    if values.dtype != np.float32:
        largest = np.finfo(np.float32).max
        values = np.clip(values.astype(np.float64, copy=False), -largest, largest).astype(np.float32)
    if values.size < sizes.SORT_THRESHOLD:
        return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    # a strided view of the upper halves, without a copy
    halves: Array = values.view(np.uint16)[1 if sys.byteorder == "little" else 0 :: 2]
    return halves


def _middles(kind: str, codes: Array) -> Array:
    """Return the middles of the bins with these codes; the bin of zero is zero itself, without a sign."""
    if kind != UPPER:
        own = numpy_dtype(kind)
        values = codes.astype(np.uint8 if own.itemsize == 1 else np.uint16).view(own)
        return values.astype(standard(own)).astype(np.float64) + 0.0
    return _shared_middles().take(codes)


@cache
def _shared_middles() -> Array:
    """Return the middles of all shared bins, half a megabyte: computing those of a few bins takes as long as of all others."""
    wide = np.arange(1 << 16, dtype=np.uint32)
    # half of the lower 16 bits, away from zero: the middle of all numbers with these upper bits
    halves = np.where(wide & 0x7FFF, np.uint32(0x8000), np.uint32(0))
    with np.errstate(invalid="ignore"):  # the bits of signalling NaNs are among all bits
        middles: Array = ((wide << 16) | halves).view(np.float32).astype(np.float64) + 0.0
    return middles
