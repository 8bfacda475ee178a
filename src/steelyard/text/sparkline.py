"""Histograms as one line of text, all on one axis, so that consecutive lines can be compared."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, inf, log10
from typing import TYPE_CHECKING

import numpy as np

from steelyard.numerics.summary import Summary

if TYPE_CHECKING:
    from steelyard.core.weight import Array

BARS = "▁▂▃▄▅▆▇█"
BELOW, ABOVE = "\u25c2", "\u25b8"
"""Filled arrows, which are seen next to a bar of full height."""
WIDTH = 17
"""Number of bars; odd, so that zero is in the middle of one."""
LARGEST = float(np.finfo(np.float32).max)
NEARLY = 1 + 2.0**-23
"""A float32 that exceeds the end of the axis by this factor is that number itself, rounded."""
PARTS = 128
"""Maximum runs of bins in an outline."""


class Axis:
    """An axis from minus to plus `end`, which covers 99.9% of all numbers that were added.

    A few large numbers must not flatten all the others; an arrow marks numbers beyond the axis.
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = np.zeros(1 << 15)

    def add(self, summary: Summary) -> None:
        """Add the magnitudes of numbers, binned by the upper half of a float32, which is precise to 1/256."""
        values, counts = summary.histogram.points()
        halves = np.abs(values).astype(np.float32).view(np.uint32) >> np.uint32(16)
        self._counts += np.bincount(halves, counts, len(self._counts))

    @property
    def filled(self) -> bool:
        """Whether any number was added."""
        return bool(self._counts.any())

    @property
    def end(self) -> float:
        """The end of the axis, a round number; 1 if all numbers are zero."""
        if not self._counts[1:].any():
            return 1.0
        reached = np.cumsum(self._counts)
        place = np.uint32(np.searchsorted(reached, 0.999 * reached[-1]))
        return round_up(float(((place << np.uint32(16)) | np.uint32(0x8000 if place else 0)).view(np.float32)))


def axis_of(summaries: Iterable[Summary]) -> float:
    """Return the end of the axis that covers the numbers of all summaries.

    >>> from steelyard.core.readers import from_array
    >>> from steelyard.numerics.summary import summarise
    >>> axis_of([summarise([from_array("w", np.linspace(-0.42, 0.42, 1000))])])
    0.5
    """
    axis = Axis()
    for summary in summaries:
        axis.add(summary)
    return axis.end


class Outline:
    """A reduced histogram for a small picture: at most `PARTS` runs of bins, each with its ends and count."""

    __slots__ = ("_counts", "_ends")

    def __init__(self, summary: Summary) -> None:
        values, counts = summary.histogram.points()
        if summary.moments.minimum is not None:  # the middle of a bin may be beyond its numbers
            values = np.clip(values, *np.clip([summary.moments.minimum, summary.moments.maximum], -LARGEST, LARGEST))
        starts = np.arange(0, len(values), -(-len(values) // PARTS) or 1)
        lasts = np.append(starts[1:], len(values))[: len(starts)] - 1
        self._ends = values[starts].astype(np.float32), values[lasts].astype(np.float32)
        self._counts = np.add.reduceat(counts, starts).astype(np.float32) if len(starts) else np.zeros(0, np.float32)

    @property
    def runs(self) -> tuple[Array, Array, Array]:
        """The lowest and the highest number of each run in ascending order, and its count, as float32."""
        return *self._ends, self._counts

    def heights(self, end: float, bins: int) -> Array:
        """Return the heights of bins from `-end` to `end`, 255 for the fullest and at least 1 for each that is not empty."""
        low, high = (each.astype(np.float64) for each in self._ends)
        if not len(low):
            return np.zeros(bins, np.uint8)
        places = np.stack([low, np.nextafter(np.maximum(high, low), np.inf)], axis=1).reshape(-1)
        below = np.cumsum(self._counts, dtype=np.float64)
        reached = np.stack([below - self._counts, below], axis=1).reshape(-1)
        cuts = np.linspace(-end, end, bins + 1)
        cuts[[0, -1]] *= NEARLY
        return relative(np.diff(np.interp(cuts, places, reached, left=0.0)))


def relative(counts: Array) -> Array:
    """Scale counts to integers of at most 255; a count that is not zero stays at least 1.

    >>> relative(np.array([0, 1, 5000])).tolist()
    [0, 1, 255]
    """
    heights: Array = np.ceil(counts / max(counts.max(initial=0), 1e-300) * 255).astype(np.uint8)
    return heights


def header(end: float) -> str:
    """Format the axis as a column header.

    >>> header(0.5)
    ' -0.5    0     0.5'
    """
    low, high = f"{-end:g}", f"{end:g}"
    half = WIDTH // 2
    return f" {low:<{half}}0{high:>{half}}" if max(len(low), len(high)) < half else f" {end:g} either way"


def bars(summary: Summary, end: float) -> str:
    """Return the histogram from `-end` to `end`; an arrow marks a side on which numbers are beyond the axis.

    The heights are the counts of bins of equal width, so that areas are counts. Only an empty bin has the lowest bar.
    """
    if not summary.moments.count:
        return ""
    low, high = float(summary.moments.minimum or 0), float(summary.moments.maximum or 0)
    bins = summary.counts(np.linspace(-end, end, WIDTH + 1))
    heights = np.ceil(bins / max(bins.max(), 1) * (len(BARS) - 1)).astype(int)
    below, above = low < -end * NEARLY, high > end * NEARLY
    return (BELOW if below else " ") + "".join(BARS[height] for height in heights) + (ABOVE if above else " ")


def round_up(number: float) -> float:
    """Round up to 1, 2, 3 or 5 times a power of ten.

    >>> round_up(0.042), round_up(7.1)
    (0.05, 10.0)
    """
    if number <= 0:
        return 1.0
    power = 10.0 ** floor(log10(number))
    rounded = float(f"{next(step * power for step in (1, 2, 3, 5, 10) if step * power >= number * 0.99):.1g}") if power else 0.0
    return rounded if 0 < rounded < inf else number  # near the ends of float64 there are no rounder numbers
