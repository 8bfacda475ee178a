"""Histograms as one line of text, all on one axis, so that lines under one another compare."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, inf, log10

import numpy as np

from steelyard.core.summary import Summary

BARS = "▁▂▃▄▅▆▇█"
BELOW, ABOVE = "\u2039", "\u203a"
"""Arrows."""
WIDTH = 17
"""An odd number of bars, so that zero lies in the middle of one."""


def axis_of(summaries: Iterable[Summary]) -> float:
    """Return the end of an axis from minus to plus it, which holds 99.9% of all numbers.

    A few large numbers must not flatten all the others: what lies beyond is told by an arrow.

    >>> from steelyard.core.readers import from_array
    >>> from steelyard.core.summary import summarise
    >>> axis_of([summarise([from_array("w", np.linspace(-0.42, 0.42, 1000))])])
    0.5
    """
    points = [summary.histogram.points() for summary in summaries]
    sizes = np.abs(np.concatenate([np.empty(0), *(values for values, _ in points)]))
    counts = np.concatenate([np.empty(0, np.int64), *(counts for _, counts in points)])
    if not sizes.any():
        return 1.0
    order = np.argsort(sizes)
    reached = np.cumsum(counts[order])
    return round_up(float(sizes[order][np.searchsorted(reached, 0.999 * reached[-1])]))


def header(end: float) -> str:
    """Return the axis as the head of a column.

    >>> header(0.5)
    ' -0.5    0     0.5'
    """
    low, high = f"{-end:g}", f"{end:g}"
    half = WIDTH // 2
    return f" {low:<{half}}0{high:>{half}}" if max(len(low), len(high)) < half else f" {end:g} either way"


def bars(summary: Summary, end: float) -> str:
    """Return the histogram from `-end` to `end`, between arrows where more than one number in a hundred lies beyond.

    The lowest bar is an empty bin; others are never so low.
    """
    middles, counts = summary.histogram.points()
    if not counts.size:
        return ""
    within = np.abs(middles) <= end * (1 + 1 / 128)  # the middle of a bin may lie beyond its numbers
    places = np.clip((middles[within] + end) / (2 * end) * WIDTH, 0, WIDTH - 1).astype(int)
    bins = np.bincount(places, counts[within], WIDTH)
    heights = np.ceil(bins / max(bins.max(), 1) * (len(BARS) - 1)).astype(int)
    beyond = [counts[~within & side].sum() > summary.moments.count / 100 for side in (middles < 0, middles > 0)]
    return (BELOW if beyond[0] else " ") + "".join(BARS[height] for height in heights) + (ABOVE if beyond[1] else " ")


def round_up(number: float) -> float:
    """Return the next of 1, 2, 3, 5 and their tens.

    >>> round_up(0.042), round_up(7.1)
    (0.05, 10.0)
    """
    if number <= 0:
        return 1.0
    power = 10.0 ** floor(log10(number))
    found = float(f"{next(step * power for step in (1, 2, 3, 5, 10) if step * power >= number * 0.99):.1g}") if power else 0.0
    return found if 0 < found < inf else number  # near the ends of float64 there are no rounder numbers
