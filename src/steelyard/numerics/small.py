"""The summaries of many small weights at once, as the rows of a matrix, with the bits of those that are made one by one.

A file may have a hundred thousand weights of a few numbers each. NumPy takes as long for a call as for a thousand numbers, so a
dozen calls for each weight would take most of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from steelyard import sizes
from steelyard.core.weight import Refused, Weight
from steelyard.numerics.histogram import upper
from steelyard.numerics.moments import CANCELLING, Block, Moments, is_moderate

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.numerics.summary import Summary

    Ranked = tuple[int, Weight]

_TOGETHER = 2048  # weights


def runs_of_small(listed: Sequence[Weight]) -> Iterator[tuple[int, int]]:
    """Yield the runs [start, stop) of at least `sizes.SMALL_RUN` small weights.

    >>> from steelyard.core.readers import from_array
    >>> list(runs_of_small([from_array("w", np.ones(3))] * 40 + [from_array("v", np.ones(5000))]))
    [(0, 40)]
    """
    # longer ones are summed up in several blocks, or counted in another way
    most = min(sizes.SMALL_WEIGHT, sizes.SUMMARY_BLOCK, sizes.SORT_THRESHOLD - 1)
    start = 0
    for stop in range(len(listed) + 1):
        if stop == len(listed) or not _is_small(listed[stop], most):
            if stop - start >= sizes.SMALL_RUN:
                yield start, stop
            start = stop + 1


def _is_small(weight: Weight, most: int) -> bool:
    return weight.dtype in ("float32", "float64") and 0 < weight.size <= most and not isinstance(weight.read, Refused)


def small_summaries(ranked: Sequence[Ranked], new: Callable[[], Summary]) -> Iterator[Summary]:
    """Yield the summary of each small weight, given with its rank. Errors of reading are raised when its turn comes."""
    for start in range(0, len(ranked), _TOGETHER):
        some = ranked[start : start + _TOGETHER]
        alike: dict[tuple[str, int], list[int]] = {}
        for place, (_, weight) in enumerate(some):
            alike.setdefault((weight.dtype, weight.size), []).append(place)
        done: dict[int, Summary] = {}
        for (dtype, size), places in alike.items():
            rows = np.zeros((len(places), size), dtype)
            errors = {place: error for at, place in enumerate(places) if (error := _read(some[place][1], rows[at]))}
            for at, (place, summary) in enumerate(zip(places, _of_rows(rows, new), strict=True)):
                if place not in errors:
                    done[place] = summary or _alone(rows[at], some[place][0], new())
        for place, (_, weight) in enumerate(some):
            if place not in done:
                weight.read(0, weight.size)  # raises again
            yield done[place]


def _read(weight: Weight, row: Array) -> Exception | None:
    try:
        row[:] = weight.read(0, weight.size)
    except Exception as error:  # noqa: BLE001 - it is raised in its turn
        return error
    return None


def _alone(row: Array, rank: int, summary: Summary) -> Summary:
    summary.add(row, 0, rank)
    summary.histogram.bins()
    return summary


def _of_rows(rows: Array, new: Callable[[], Summary]) -> Iterator[Summary | None]:
    """Yield the summary of each row; None for one with NaN, Inf, or numbers whose squares are very large or small."""
    size, near = rows.shape[1], new().moments.near
    low, high = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
    both = (low < 0) & (high > 0)
    with np.errstate(all="ignore"):  # of rows that are left to the caller
        numbers = rows.astype(np.float64)
        plain = np.einsum("ij->i", numbers)
        np.absolute(numbers, out=numbers)
        magnitudes = np.where(both, np.einsum("ij->i", numbers), np.abs(plain))
        np.multiply(numbers, numbers, out=numbers)
        squares = np.einsum("ij->i", numbers)
    zeros = np.count_nonzero(rows == 0, axis=1)
    near_zeros = np.count_nonzero((rows <= near) & (rows >= -near), axis=1)
    columns = (low, high, plain, magnitudes, squares, zeros, near_zeros)
    bins = _bins(rows) if new().wide else iter([(low[:0], low[:0])] * len(rows))
    for row, (codes, counts), figures in zip(rows, bins, zip(*(each.tolist() for each in columns), strict=True), strict=True):
        least, greatest, total, magnitude, square, none, nearly = figures
        if not (is_moderate(square) and (square or least == greatest == 0)):
            yield None
            continue
        deviation = None
        if total * total >= CANCELLING * size * square:
            deviation = 0.0 if least == greatest else _deviation(row, total / size)
        moments = Moments(near)
        moments.begin(Block(size, total, magnitude, square, deviation), least, greatest, none, nearly)
        summary = new()
        summary.begin(moments, codes, counts)
        yield summary


def _deviation(row: Array, mean: float) -> float:
    numbers = row.astype(np.float64)
    np.subtract(numbers, mean, out=numbers)
    np.multiply(numbers, numbers, out=numbers)
    return float(np.einsum("i->", numbers))


def _bins(rows: Array) -> Iterator[tuple[Array, Array]]:
    """Yield the shared bins of each row, and their counts."""
    with np.errstate(all="ignore"):
        codes = np.sort(upper(rows.reshape(-1)).reshape(rows.shape), axis=1)
    first = np.ones(rows.shape, bool)
    first[:, 1:] = codes[:, 1:] != codes[:, :-1]
    places = np.flatnonzero(first)
    distinct, counts = codes.reshape(-1)[places], np.diff(np.append(places, rows.size))
    end = 0
    for start, end in zip([0, *(ends := np.cumsum(first.sum(axis=1)).tolist())], ends, strict=False):
        yield distinct[start:end], counts[start:end]
