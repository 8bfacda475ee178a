"""The summaries of many small weights at once, as the rows of a matrix, with the bits of those that are made one by one.

A file may have a hundred thousand weights of a few numbers each. NumPy takes as long for a call as for a thousand numbers, so a
dozen calls for each weight would take most of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from steelyard import sizes
from steelyard.core.together import likeness
from steelyard.core.together import read_rows as rows_together
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import numpy_dtype
from steelyard.numerics.histogram import upper
from steelyard.numerics.moments import CANCELLING, Block, is_moderate

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.numerics.summary import Summary

    Ranked = tuple[int, Weight]

TOGETHER = 2048
"""The number of small weights that are read together, at most."""
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_WHOLE = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
_GROUPED = frozenset((*_FLOATS, *_WHOLE))


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
    for start in range(0, len(ranked), TOGETHER):
        some = ranked[start : start + TOGETHER]
        done: dict[int, Summary] = {}
        for places, rows in _groups([weight for _, weight in some], lambda weight: (weight.dtype, weight.size)):
            for at, (place, summary) in enumerate(zip(places, _of_rows(rows, new), strict=True)):
                done[place] = summary or _alone(rows[at], some[place][0], new())
        for place, (_, weight) in enumerate(some):
            if place not in done:
                weight.read(0, weight.size)  # raises again
            yield done[place]


def groups_of_small(weights: Sequence[Weight], like: Callable[[Weight], object]) -> Iterator[tuple[list[Weight], Array]]:
    """Yield groups of readable small weights of one shape, dtype and `like`, with their numbers as rows.

    Groups of fewer than `sizes.SMALL_RUN` weights are left out, as are weights that cannot be read.

    >>> from steelyard.core.readers import from_array
    >>> many = [from_array(f"w{nth}", np.full(3, nth, "f4")) for nth in range(40)]
    >>> [(len(some), rows.shape) for some, rows in groups_of_small([*many, from_array("v", np.ones(5000))], lambda _: 0)]
    [(40, (40, 3))]
    """
    small = [weight for weight in weights if is_grouped(weight)]
    for places, rows in _groups(small, lambda weight: (weight.dtype, weight.shape, like(weight)), sizes.SMALL_RUN):
        yield [small[place] for place in places], rows


def is_grouped(weight: Weight) -> bool:
    """Whether a weight is small, and of a dtype whose numbers can be the rows of a matrix."""
    return weight.dtype in _GROUPED and 0 < weight.size <= sizes.SMALL_WEIGHT and not isinstance(weight.read, Refused)


def _groups(weights: Sequence[Weight], like: Callable[[Weight], object], fewest: int = 1) -> Iterator[tuple[list[int], Array]]:
    """Yield the places of those weights that are alike and can be read, at most `TOGETHER` at a time, and their numbers as rows.

    Groups of fewer than `fewest` weights are left out.
    """
    alike: dict[object, list[int]] = {}
    for place, weight in enumerate(weights):
        alike.setdefault(like(weight), []).append(place)
    for places in alike.values():
        for start in range(0, len(places) if len(places) >= fewest else 0, TOGETHER):
            some = places[start : start + TOGETHER]
            rows, failed = read_rows([weights[place] for place in some])
            kept = [at for at in range(len(some)) if at not in failed]
            yield [some[at] for at in kept], rows[kept] if failed else rows


def read_rows(weights: Sequence[Weight]) -> tuple[Array, set[int]]:
    """Return the numbers of weights of one dtype and size as the rows of a matrix, and the indices of those not readable."""
    rows = np.zeros((len(weights), weights[0].size), numpy_dtype(weights[0].dtype))
    failed = set[int]()
    alike: dict[Hashable, list[int]] = {}
    for at, weight in enumerate(weights):
        alike.setdefault(likeness(weight.read), []).append(at)
    for key, places in alike.items():
        together = None if key is None else rows_together([weights[at] for at in places])
        if together is not None and len(alike) == 1:
            return together, failed
        if together is not None:
            rows[places] = together
        else:
            failed.update(at for at in places if not _is_read(weights[at], rows[at]))
    return rows, failed


def _is_read(weight: Weight, row: Array) -> bool:
    try:
        row[:] = weight.read(0, weight.size)
    except Exception:  # noqa: BLE001 - it is raised in its turn
        return False
    return True


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
        summary = new()
        summary.begin(Block(size, total, magnitude, square, deviation), (least, greatest, none, nearly), codes, counts)
        yield summary


def statistics_of_rows(rows: Array) -> tuple[Array, ...]:
    """Return the minimum, maximum, mean, standard deviation, norm and number of zeros of each row; NaN or Inf where any is.

    They are those of a summary up to the rounding of the last bits.

    >>> [each.tolist() for each in statistics_of_rows(np.array([[3.0, 0.0, 4.0, 1.0], [2.0, 2.0, 2.0, 2.0]]))]
    [[0.0, 2.0], [4.0, 2.0], [2.0, 2.0], [1.5811388300841898, 0.0], [5.0990195135927845, 4.0], [1, 0]]
    """
    low, high = rows.min(axis=1), rows.max(axis=1)
    if rows.itemsize <= 2:  # as in a histogram with a bin for each number
        low, high = low.astype(np.float64), high.astype(np.float64)
    with np.errstate(all="ignore"):
        numbers = rows.astype(np.float64)
        mean, deviation = numbers.mean(axis=1), numbers.std(axis=1)
        norm = np.sqrt(np.einsum("ij,ij->i", numbers, numbers))
    equal = low == high  # whose mean may be rounded
    zeros = np.count_nonzero(rows == 0, axis=1)
    return low, high, np.where(equal, low, mean) + 0.0, np.where(equal, 0.0, deviation), norm, zeros


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
