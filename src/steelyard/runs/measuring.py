"""From a copy of all weights to the bytes of a record: statistics, histograms, and the change of the sketch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard.dtypes import is_floating
from steelyard.numerics.summary import Summary, summaries
from steelyard.numerics.weight_stats import FIGURES, QUANTILES, Subject, WeightStats
from steelyard.runs import sketch
from steelyard.runs.layout import BINS, COLUMNS, Layout, histogram_dtype, sketch_dtype

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.runs.copying import Copy

    Add = Callable[[int, Array], None]
    """Takes the number of a block of a weight, and its numbers."""

_EXACT = (1e-30, 1e30)
"""The squared distances that are computed in float32; others might be too small or too large for it."""

_LARGEST = 1.5e38
"""The largest entry of a sketch; the difference of two of them is in the range of bfloat16."""


class Record(NamedTuple):
    """The bytes of one record; `histograms` is None where it has none, `base` is the first sketch of a run."""

    stats: bytes
    histograms: bytes | None
    base: bytes | None
    sketch: bytes


class Measurer:
    """Measures one copy after another; it holds the last, to which distances are measured.

    `sketch` is the one that the records so far sum up to, None for a run without records.
    """

    __slots__ = ("_layout", "_previous", "_signs", "_sketch", "_true")

    def __init__(self, layout: Layout, last: Array | None) -> None:
        self._layout = layout
        self._signs = signs_of(layout)
        self._previous: Copy | None = None
        self._true = sketch.empty()
        self._sketch = last

    def measure(self, copy: Copy, number: int) -> Record:
        """Return the record with this number. The copy is kept until `keep`."""
        wide = number % self._layout.histogram == 0
        found = list(summaries(copy.weights, wide=wide, threads=False))
        table = np.full((len(found), len(COLUMNS)), np.nan)
        for row, summary in zip(table, found, strict=True):
            row[: len(FIGURES) + 1] = figures(summary)
        total = self._true.copy() if self._previous else sketch.empty()
        for rank, (weight, summary) in enumerate(zip(copy.weights, found, strict=True)):
            distance = self._change(copy, rank, total if is_sketched(weight.dtype) else None, finite=summary.finite)
            if self._previous:
                table[rank, COLUMNS.index("update")] = distance
        histograms = histograms_of(found).tobytes() if wide else None
        return Record(table.astype("<f8").tobytes(), histograms, *self._sketched(total))

    def keep(self, copy: Copy) -> Copy | None:
        """Keep the copy that was recorded, and return the one before, which is free again."""
        before, self._previous = self._previous, copy
        return before

    def _sketched(self, total: Array) -> tuple[bytes | None, bytes]:
        """Return the first sketch, if this is it, and the change from the last one, which is rounded."""
        self._true = total
        total = total.clip(-_LARGEST, _LARGEST)
        base = None
        if self._sketch is None:
            self._sketch = total.astype(np.float32)
            base = self._sketch.astype("<f4").tobytes()
        # what rounding leaves is a part of the next change, so errors do not add up
        change = (total - self._sketch).astype(np.float32).astype(sketch_dtype())
        self._sketch = self._sketch + change.astype(np.float32)
        return base, change.tobytes()

    def _change(self, copy: Copy, rank: int, total: Array | None, *, finite: bool) -> float:
        """Add the change of a weight since the last copy to a sketch, and return its norm; at first that of the weight itself."""
        before = self._previous.arrays[rank] if self._previous else None
        signs = None if total is None else partial(self._signs.add, total, rank)
        return sqrt(moved(copy.arrays[rank], before, signs, finite=finite))


def signs_of(layout: Layout) -> sketch.Signs:
    """Return the signs of the sketches of a run; a complex number is a pair."""
    counts = [prod(fact.shape) * (2 if fact.dtype.startswith("complex") else 1) for fact in layout.recorded]
    return sketch.Signs(counts, layout.seed)


def is_sketched(dtype: str) -> bool:
    """Whether numbers of this type are in the sketch: all but integers."""
    return is_floating(dtype) or dtype.startswith("complex")


def moved(now: Array, before: Array | None, add: Add | None, *, finite: bool, first: int = 0) -> float:
    """Return the squared distance of numbers to those `before`, or to zero, after they were given to `add` in blocks.

    `add` takes the number of a block, of which `first` is that of the beginning, and the differences. Numbers that are not finite
    count as 0.
    """
    now, before = real(now), None if before is None else real(before)
    squares = 0.0
    for block, start in enumerate(range(0, len(now), sketch.BLOCK), first):
        part = slice(start, start + sketch.BLOCK)
        # the last copy is cleaned too, since it may be what was not finite
        numbers = _numbers(now[part]) if finite and before is None else _clean(_numbers(now[part]))
        if before is not None:
            numbers = numbers - _clean(_numbers(before[part]))
        squares += _squares(numbers)
        if add is not None:
            add(block, numbers)
    return squares


def figures(summary: Summary) -> list[float]:
    """Return the columns of a record but the last, the update."""
    row = WeightStats(Subject(), summary=summary)
    values = [np.nan if (value := getattr(row, figure)) is None else float(value) for figure in FIGURES]
    return [*values, np.nan if summary.first is None else float(summary.first[1])]


def histograms_of(found: list[Summary]) -> Array:
    """Return a record of histograms."""
    made = np.zeros(len(found), histogram_dtype())
    for row, summary in zip(made, found, strict=True):
        values = summary.quantiles(QUANTILES)
        moments = summary.moments
        low, high = moments.minimum, moments.maximum
        row["low"], row["high"] = (np.nan, np.nan) if low is None or high is None else (low, high)
        row["quantiles"] = [np.nan if value is None else value for value in values]
        counts, _ = WeightStats(Subject(), summary=summary).histogram(BINS)
        row["counts"] = np.minimum(counts, np.iinfo(np.uint32).max)
    return made


def real(array: Array) -> Array:
    """Return complex numbers as pairs."""
    return array.view(f"f{array.dtype.itemsize // 2}") if array.dtype.kind == "c" else array


def _numbers(block: Array) -> Array:
    """Return numbers as float32 if they were, or were shorter floats, else as float64."""
    if block.dtype in (np.float32, np.float64):
        return block
    return block.astype(np.float32 if block.dtype.itemsize <= 2 and block.dtype.kind not in "iub" else np.float64)


def _clean(numbers: Array) -> Array:
    """Return numbers with 0 for those that are not finite."""
    good = np.isfinite(numbers)
    return numbers if good.all() else np.where(good, numbers, numbers.dtype.type(0))


def _squares(numbers: Array) -> float:
    """Return the sum of the squares."""
    with np.errstate(over="ignore"):
        rows = len(numbers) // sketch.WIDTH
        head = numbers[: rows * sketch.WIDTH].reshape(rows, sketch.WIDTH)
        tail = numbers[rows * sketch.WIDTH :]
        found = float(np.einsum("ij,ij->i", head, head).sum(dtype=np.float64)) + float(np.einsum("i,i->", tail, tail))
    if numbers.dtype == np.float64 or _EXACT[0] < found < _EXACT[1]:
        return found
    return _squares(numbers.astype(np.float64))
