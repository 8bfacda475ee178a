"""What can be said of many numbers in one pass: range, mean, how many are not finite, and how they spread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.weight import Weight

if TYPE_CHECKING:
    from steelyard.core.weight import Array


BLOCK = 1 << 17
"""Elements that are looked at together: what is made of them stays in the cache."""
FEW = 1 << 14
"""Elements up to which sorting them is faster than going through all bins."""


class Summary:
    """The numbers of one weight or of several together; what is not finite is counted, and left out of the rest.

    `minimum`, `maximum` and `mean` are None while no finite number was seen. Complex numbers go by their
    magnitude. The histogram has one bin for each upper half of a float32, which is exact for bfloat16 and
    0.8% wide for others: `middles` are the bins that hold numbers, in no order of size, `counts` how many.
    """

    __slots__ = ("_bins", "_dense", "_total", "count", "inf", "maximum", "minimum", "nan")

    def __init__(self) -> None:
        self.count = self.nan = self.inf = 0
        self.minimum: float | None = None
        self.maximum: float | None = None
        self._total = 0.0
        self._dense: Array | None = None
        self._bins: list[tuple[Array, Array]] = []

    @property
    def mean(self) -> float | None:
        """The mean of the finite numbers, accumulated in float64."""
        return self._total / self.count if self.count else None

    @property
    def finite(self) -> bool:
        """Whether every number seen is finite."""
        return not (self.nan or self.inf)

    def add(self, block: Array) -> None:
        """Take a block of numbers with one axis in."""
        values = _comparable(block)
        good = np.isfinite(values)
        if not good.all():
            nan = int(np.isnan(values).sum())
            self.nan, self.inf = self.nan + nan, self.inf + int(values.size - good.sum()) - nan
            values = values[good]
        if not values.size:
            return
        low, high = values.min().item(), values.max().item()
        self.minimum = low if self.minimum is None else min(low, self.minimum)
        self.maximum = high if self.maximum is None else max(high, self.maximum)
        self.count += values.size
        self._total += float(values.sum(dtype=np.float64))
        codes = _codes(values)
        if codes.size < FEW:
            self._bins.append(np.unique(codes, return_counts=True))
            return
        if self._dense is None:
            self._dense = np.zeros(1 << 16, np.int64)
        self._dense += np.bincount(codes, minlength=1 << 16)

    def settle(self) -> None:
        """Keep only the bins that hold numbers: all 65,536 would take half a megabyte for each weight."""
        if self._dense is not None:
            found = np.flatnonzero(self._dense)
            self._bins.append((found.astype(np.uint16), self._dense[found]))
            self._dense = None
        if len(self._bins) != 1:
            codes = np.concatenate([np.empty(0, np.uint16), *(codes for codes, _ in self._bins)])
            counts = np.concatenate([np.empty(0, np.int64), *(counts for _, counts in self._bins)])
            distinct, places = np.unique(codes, return_inverse=True)
            self._bins = [(distinct, np.bincount(places, counts, len(distinct)).astype(np.int64))]

    @property
    def middles(self) -> Array:
        """The middle of each bin, as float64."""
        self.settle()
        codes = self._bins[0][0].astype(np.uint32)
        halves = np.where(codes & 0x7FFF, np.uint32(0x8000), np.uint32(0))  # zero is a bin of its own
        return ((codes << 16) | halves).view(np.float32).astype(np.float64)

    @property
    def counts(self) -> Array:
        """How many numbers each bin holds."""
        self.settle()
        return self._bins[0][1]


def summarise(weights: Iterable[Weight]) -> Summary:
    """Read every number of `weights` once, block by block.

    >>> from steelyard.core.readers import from_array
    >>> found = summarise([from_array("w", np.array([1.0, 2.0, np.nan]))])
    >>> found.minimum, found.maximum, found.mean, found.nan
    (1.0, 2.0, 1.5, 1)
    """
    summary = Summary()
    for weight in weights:
        for block in weight.blocks(BLOCK):
            summary.add(block)
    summary.settle()
    return summary


def _comparable(block: Array) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the numbers in a type that NumPy computes with: real, and no shorter than float32."""
    if block.dtype.kind == "c":
        return np.abs(block)
    if block.dtype.kind in "iu" or (block.dtype.kind == "f" and block.dtype.itemsize >= 4):
        return block
    return block.astype(np.uint8 if block.dtype.kind == "b" else np.float32)


def _codes(values: Array) -> Array:
    """Return the upper 16 bits of each number as float32; what is too large for one counts as its largest."""
    if values.dtype != np.float32:
        largest = np.finfo(np.float32).max
        values = np.clip(values.astype(np.float64, copy=False), -largest, largest).astype(np.float32)
    return (np.ascontiguousarray(values).view(np.uint32) >> 16).astype(np.uint16 if values.size < FEW else np.intp)
