"""What a page is told of one weight: its figures, histogram, picture, filters and spectrum, as plain Python and arrays."""

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

BINS = 64
SPARK = 32
"""Bins of the histograms that stand under one another."""
TALLEST = 4.0
"""How many times more cells a picture has in one direction than in the other, at most."""
FULL = 127
"""The number of a cell that stands for the greatest magnitude."""
BAD = -128
"""The number of a cell that is not finite."""
SHOWN = 64
"""Filters that are drawn."""
DIGITS = 9
"""Digits of a figure: all that a float32 has."""


def detail_of(look: Look, *, small: bool) -> dict[str, Any]:
    """Return what one pass over a weight found; `small` where counts of the histogram are told as heights of one byte."""
    if look.error is not None:
        return {"error": str(look.error)}
    return {
        "figures": figures_record(look.weight, look.summary),
        "histogram": histogram_record(look.summary, small=small),
        "picture": None if look.picture is None else picture_record(look.picture),
    }


def figures_record(weight: Weight, summary: Summary) -> dict[str, Any]:
    """Return the figures of a weight; `first_nonfinite` is the place in it."""
    record = weight_stats(Subject(), summary, [weight]).to_dict()
    first = record["first_nonfinite"]
    record["first_nonfinite"] = first and first["index"]
    return {word: short(value) for word, value in record.items() if word != "name"}


def short(value: Any) -> Any:
    """Return a float with no more digits than a float32 has.

    >>> short(1 / 3), short(7), short(None)
    (0.333333333, 7, None)
    """
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def histogram_record(summary: Summary, *, small: bool) -> dict[str, Any] | None:
    """Return the histogram from the least to the greatest number."""
    moments = summary.moments
    if moments.minimum is None or moments.maximum is None:
        return None
    low, high = float(moments.minimum), float(moments.maximum)
    if high - low == inf:
        return None
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    counts = summary.counts(edges)
    shown = relative(counts) if small else np.minimum(counts, 0xFFFFFFFF).astype(np.uint32)
    return {"low": low, "high": high, "counts": shown, "exact": summary.quantile_error == 0}


def grid(matrix: tuple[int, int], cells: int) -> tuple[int, int]:
    """Return the rows and columns of a picture of at most this many cells, longer where the matrix is longer.

    >>> grid((1000, 1000), 100), grid((1, 1000), 100), grid((50000, 10), 160)
    ((10, 10), (1, 100), (26, 6))
    """
    rows, columns = (max(length, 1) for length in matrix)
    aspect = min(max(rows / columns, 1 / TALLEST), TALLEST)
    height = min(max(int(sqrt(cells * aspect)), 1), rows)
    width = min(max(cells // height, 1), columns)
    return min(max(cells // width, 1), rows), width


def picture_record(drawn: Picture, *, exact: bool = False) -> dict[str, Any]:
    """Return a picture: its cells in 255 steps, or with `exact` as float32."""
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
    """Return the greatest magnitude, and each number as its part of that in steps from -127 to 127; -128 is not finite."""
    values = values.astype(np.float64, copy=False).reshape(-1)
    good = np.isfinite(values)
    scale = float(np.abs(values[good]).max(initial=0.0))
    steps = np.rint(np.where(good, values, 0.0) / (scale or 1.0) * FULL)
    return scale, np.where(good, steps, BAD).astype(np.int8)


def filters_record(weight: Weight, cells: int) -> dict[str, Any] | None:
    """Return as many of the filters of a convolution as have room in so many cells, one at least; None for another weight."""
    found = filters(weight, SHOWN)
    if found is None:
        return None
    _, height, width, colours = found.pictures.shape
    room = max(cells // (height * width * colours), 1)
    pictures = found.pictures[:room]
    scale, steps = quantised(np.abs(pictures) if pictures.dtype.kind == "c" else pictures)
    return {
        "count": found.count,
        "guessed": found.guessed,
        "units": found.units[:room],
        "height": height,
        "width": width,
        "colours": colours,
        "scale": scale,
        "cells": steps,
    }


def spectrum_record(found: Spectrum, values: int) -> dict[str, Any]:
    """Return a spectrum with at most so many of its values, evenly picked, the first and the last among them."""
    known = len(found.values)
    picked = np.unique(np.rint(np.linspace(0, known - 1, min(values, known))).astype(int))
    words = ("edge", "spectral_norm", "stable_rank", "effective_rank", "rank", "method", "error", "beyond")
    return {
        "values": np.minimum(np.array(found.values)[picked], LARGEST).astype(np.float32),
        "known": known,
        "shape": list(found.shape),
        **{word: short(getattr(found, word)) for word in words},
    }
