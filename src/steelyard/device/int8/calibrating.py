"""Scales and zero points of activations, from the numbers that a program has on data.

| how | range of a value |
|---|---|
| minmax | from the least number to the greatest |
| percentile | without the 0.01 % of the numbers that are least and the 0.01 % that are greatest |
| mse | each end times the factor with the least squared error |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.device.int8.requantizing import Quantization
from steelyard.errors import ShapeError, quoted
from steelyard.numerics import grids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from steelyard.core.weight import Array
    from steelyard.device.program.program import Program

    Ends = tuple[float, float]

CALIBRATIONS = ("minmax", "percentile", "mse")
PERCENTILE = 99.99
"""Percent of the numbers that are below the upper end of a range, and above the lower one."""
_BATCH = 64
"""examples that are computed at a time"""
_BINS = 2048
_EMPTY = 2.0**-7
"""The scale of a value that is always zero."""


def calibrated(program: Program, inputs: Sequence[Array], how: str, *, symmetric: bool = False) -> list[Quantization]:
    """Return the quantisation of each value of a program that runs on inputs. Raises `ShapeError` for NaN and Inf.

    With `symmetric` all zero points are 0. A value that holds whole numbers for tables has one too, which is of no use.
    """
    if not len(inputs[0]):
        raise ShapeError("there are no examples to calibrate with")
    found = _extremes(program, inputs)
    if how != "minmax":
        counts = _counts(program, inputs, found)
        found = [_narrowed(each, count, how, symmetric=symmetric) for each, count in zip(found, counts, strict=True)]
    return [quantization_of(each, symmetric=symmetric) for each in found]


def quantization_of(ends: Ends, *, symmetric: bool = False) -> Quantization:
    """Return the quantisation of a range, which is widened to include zero.

    >>> quantization_of((-1.0, 4.1)).zero_point, round(quantization_of((-1.0, 4.1)).scale, 6)
    (-78, 0.02)
    """
    import numpy as np

    low, high = (np.array([each], np.float32) for each in ends)
    scale, zero = grids.scales(low, high, grids.range_of(8, full=False, affine=not symmetric), _EMPTY)
    return Quantization(float(scale[0]), 0 if zero is None else int(zero[0]))


def _runs(program: Program, inputs: Sequence[Array]) -> Iterator[list[Array]]:
    import numpy as np

    for start in range(0, len(inputs[0]), _BATCH):
        with np.errstate(all="ignore"):
            values = program.values(*(each[start : start + _BATCH] for each in inputs))
        yield values


def _extremes(program: Program, inputs: Sequence[Array]) -> list[Ends]:
    import numpy as np

    names = [*program.input_names, *(step.name for step in program.steps)]
    found: list[Ends] = [(0.0, 0.0)] * len(names)
    for values in _runs(program, inputs):
        for place, value in enumerate(values):
            low, high = float(value.min()), float(value.max())
            if not np.isfinite([low, high]).all():
                raise ShapeError(f"{quoted(names[place])} has NaN or Inf on the data, which have no codes")
            found[place] = min(found[place][0], low), max(found[place][1], high)
    return found


def _counts(program: Program, inputs: Sequence[Array], ends: Sequence[Ends]) -> list[Array]:
    """Return how many numbers of each value are in each of `_BINS` bins between its ends."""
    import numpy as np

    counts: list[Array] = [np.zeros(_BINS, np.int64) for _ in ends]
    for values in _runs(program, inputs):
        for place, value in enumerate(values):
            low, high = ends[place]
            width = (high - low) / _BINS or 1.0
            bins = np.minimum((value.astype(np.float64).ravel() - low) / width, _BINS - 1).astype(np.int64)
            counts[place] += np.bincount(bins, minlength=_BINS)
    return counts


def _narrowed(ends: Ends, counts: Array, how: str, *, symmetric: bool) -> Ends:
    import numpy as np

    low, high = ends
    if low == high:
        return ends
    edges = np.linspace(low, high, _BINS + 1)
    if how == "percentile":
        shares = np.cumsum(counts) / counts.sum()
        first, last = (int(np.searchsorted(shares, share)) for share in (1 - PERCENTILE / 100, PERCENTILE / 100))
        return min(float(edges[first]), 0.0), max(float(edges[min(last + 1, _BINS)]), 0.0)
    numbers = ((edges[1:] + edges[:-1]) / 2).astype(np.float32)

    def error(ends: Ends) -> float:
        known = quantization_of(ends, symmetric=symmetric)
        apart = known.numbers(known.codes(numbers)).astype(np.float64) - numbers
        return float((counts * apart**2).sum())

    low, high = min(((low, high * shrink) for shrink in grids.SHRINKS), key=error)
    return min(((low * shrink, high) for shrink in grids.SHRINKS), key=error)
