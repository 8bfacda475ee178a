"""The details of one weight for a page: statistics, histogram, picture, filters and spectrum, as plain Python and arrays."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.measures.filters import filters
from steelyard.numerics.weight_stats import Subject, weight_stats
from steelyard.text.sparkline import LARGEST, relative

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight
    from steelyard.measures.check.survey import Look
    from steelyard.measures.spectra import Spectrum
    from steelyard.numerics.picture import Picture
    from steelyard.numerics.summary import Summary

HISTOGRAM_BINS = 64
SPARK_BINS = 32  # bins of the small histograms in the rows of the table
MAX_ASPECT = 4.0  # cells of a picture in one direction, divided by those in the other
FULL_SCALE = 127  # code of the greatest magnitude
NON_FINITE = -128  # code of NaN and Inf
MAX_FILTERS = 64
DIGITS = 9  # significant digits of a statistic: enough for a float32
_EXACT_POWER = 22  # the largest power of ten that float64 has exactly
_POWERS = np.array([10**power for power in range(_EXACT_POWER + 1)], np.float64)


def detail_of(look: Look, *, small: bool) -> dict[str, Any]:
    """Return the results of one pass over a weight; `small` stores the bins of the histogram as heights of one byte."""
    if look.error is not None:
        return {"error": str(look.error)}
    return {
        "statistics": statistics_record(look.weight, look.summary),
        "histogram": histogram_record(look.summary, small=small),
        "picture": None if look.picture is None else picture_record(look.picture),
    }


def statistics_record(weight: Weight, summary: Summary) -> dict[str, Any]:
    """Return the statistics of a weight; `first_nonfinite` is an index into it."""
    record = weight_stats(Subject(), summary, [weight]).to_dict()
    first = record["first_nonfinite"]
    record["first_nonfinite"] = first and first["index"]
    return {word: rounded(value) for word, value in record.items() if word != "name"}


def row_statistics(summary: Summary) -> tuple[Any, ...]:
    """Return the statistics in a row of the index, in the order of `STATISTICS`, not yet rounded."""
    moments = summary.moments
    numbers = (moments.minimum, moments.maximum, moments.mean, moments.std, moments.l2)
    return *numbers, moments.zeros, summary.nan, summary.inf


def rounded_column(column: list[object]) -> list[object]:
    """Return a column of which each float is `rounded`; all of them at once take a twentieth of the time.

    >>> rounded_column([1 / 3, None, 7, 2 / 3])
    [0.333333333, None, 7, 0.666666667]
    """
    kinds = set(map(type, column))
    if kinds == {float}:
        numbers: list[object] = rounded_numbers(np.array(column)).tolist()
        return numbers
    return list(map(rounded, column)) if kinds != {int} else column


def rounded_numbers(numbers: Array) -> Array:
    """Return numbers of float64, each `rounded`.

    A number is that of `DIGITS` digits over or times a power of ten; float64 has both exactly, so the result is the nearest to
    the digits, as that of a text is. Text is left for those that the product may have rounded the wrong way.

    >>> rounded_numbers(np.array([1 / 3, -2e30 / 3, 0.0, np.inf])).tolist()
    [0.333333333, -6.66666667e+29, 0.0, inf]
    """
    made = numbers.copy()
    with np.errstate(all="ignore"):
        exponents = DIGITS - 1 - np.floor(np.log10(np.abs(numbers)))
        plain = np.abs(exponents) <= _EXACT_POWER  # neither zero nor NaN nor Inf
        powers = _POWERS[np.where(plain, np.abs(exponents), 0).astype(np.intp)]
        scaled = np.where(exponents < 0, numbers / powers, numbers * powers)
        digits = np.rint(scaled)
        plain &= (np.abs(digits) < 10.0**DIGITS) & (np.abs(digits) >= 10.0 ** (DIGITS - 1)) & (np.abs(scaled - digits) < 0.499)
        np.copyto(made, np.where(exponents < 0, digits * powers, digits / powers), where=plain)
    for place in np.flatnonzero(~plain & (numbers != 0) & np.isfinite(numbers)).tolist():
        made[place] = rounded(float(numbers[place]))
    return made


def rounded(value: object) -> object:
    """Return a float rounded to the digits of a float32, and any other value unchanged.

    >>> rounded(1 / 3), rounded(7), rounded(None)
    (0.333333333, 7, None)
    """
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def histogram_record(summary: Summary, *, small: bool) -> dict[str, Any] | None:
    """Return the histogram from the least to the greatest number; None where no finite axis holds both."""
    moments = summary.moments
    if moments.minimum is None or moments.maximum is None:
        return None
    low, high = float(moments.minimum), float(moments.maximum)
    if high - low == inf:
        return None
    edges = np.linspace(low, high if high > low else low + 1.0, HISTOGRAM_BINS + 1)
    counts = summary.counts(edges)
    heights = relative(counts) if small else np.minimum(counts, 0xFFFFFFFF).astype(np.uint32)
    return {"low": low, "high": high, "counts": heights, "exact": summary.quantile_error == 0}


def picture_size(matrix: tuple[int, int], cells: int) -> tuple[int, int]:
    """Return the rows and columns of a picture of at most this many cells, in about the proportions of the matrix.

    >>> picture_size((1000, 1000), 100), picture_size((1, 1000), 100), picture_size((50000, 10), 160)
    ((10, 10), (1, 100), (26, 6))
    """
    rows, columns = (max(length, 1) for length in matrix)
    aspect = min(max(rows / columns, 1 / MAX_ASPECT), MAX_ASPECT)
    height = min(max(int(sqrt(cells * aspect)), 1), rows)
    width = min(max(cells // height, 1), columns)
    return min(max(cells // width, 1), rows), width


def picture_record(drawn: Picture, *, exact: bool = False) -> dict[str, Any]:
    """Return a picture with its cells in 255 steps, or as float32 if `exact`."""
    height, width = drawn.values.shape
    scale, cells = quantised(drawn.values)
    return {
        "rows": drawn.rows,
        "columns": drawn.columns,
        "window": list(drawn.window),
        "down": drawn.down,
        "across": drawn.across,
        "height": height,
        "width": width,
        "scale": scale,
        "cells": np.clip(drawn.values, -LARGEST, LARGEST).astype(np.float32).reshape(-1) if exact else cells,
        "caption": drawn.caption,
    }


def quantised(values: Array) -> tuple[float, Array]:
    """Return the greatest magnitude m, and each number in units of m / 127; -128 stands for NaN and Inf."""
    values = values.astype(np.float64, copy=False).reshape(-1)
    finite = np.isfinite(values)
    scale = float(np.abs(values[finite]).max(initial=0.0))
    steps = np.rint(np.where(finite, values, 0.0) / (scale or 1.0) * FULL_SCALE)
    return scale, np.where(finite, steps, NON_FINITE).astype(np.int8)


def filters_record(weight: Weight, cells: int) -> dict[str, Any] | None:
    """Return the filters of a convolution that fit into `cells`, at least one; None for any other weight."""
    cut = filters(weight, MAX_FILTERS)
    if cut is None:
        return None
    _, height, width, colours = cut.pictures.shape
    room = max(cells // (height * width * colours), 1)
    pictures = cut.pictures[:room]
    scale, steps = quantised(np.abs(pictures) if pictures.dtype.kind == "c" else pictures)
    return {
        "count": cut.count,
        "guessed": cut.guessed,
        "units": cut.units[:room],
        "height": height,
        "width": width,
        "colours": colours,
        "scale": scale,
        "cells": steps,
    }


def spectrum_record(spectrum: Spectrum, most: int) -> dict[str, Any]:
    """Return a spectrum with at most `most` of its values: evenly spaced ranks, the first and the last included."""
    known = len(spectrum.values)
    picked = np.unique(np.rint(np.linspace(0, known - 1, min(most, known))).astype(int))
    words = ("edge", "spectral_norm", "stable_rank", "effective_rank", "rank", "method", "error", "beyond")
    return {
        "values": np.minimum(np.array(spectrum.values)[picked], LARGEST).astype(np.float32),
        "known": known,
        "shape": list(spectrum.shape),
        **{word: rounded(getattr(spectrum, word)) for word in words},
    }
