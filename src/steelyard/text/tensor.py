"""One weight as text: its facts, its statistics, a heat map, and the numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from steelyard.core.casting import standard
from steelyard.core.indexing import elements
from steelyard.core.weight import Weight
from steelyard.errors import printable
from steelyard.numerics.summary import Summary, summarise
from steelyard.text.heatmap_text import can_be_drawn, heatmap_lines
from steelyard.text.sparkline import axis_of, bars
from steelyard.text.table import dtype_text, findings, name_text, number_text, shape_text
from steelyard.text.terminal import Screen
from steelyard.text.units import in_units

if TYPE_CHECKING:
    from steelyard.core.effective import Derivation
    from steelyard.core.weight import Array

WHOLE = 1000
"""Weights of at most this many elements are written in full."""
SMALL = 64
"""Weights of at most this many elements are also written in full below a heat map."""
PAPER = 100
"""Width of the numbers where the screen has none, in characters."""
NUMBER = re.compile(r"-?[0-9]+\.?[0-9]*(?:e[-+]?[0-9]+)?(?![0-9.]*j)")
"""A real number in an array's text; the parts of a complex number, joined by a sign, do not match."""


def described(weight: Weight, screen: Screen, *, values: bool = True, heatmap: bool | None = None) -> Iterator[str]:
    """Yield the lines of one weight; the last one reports numbers that are not finite.

    `heatmap` requests a heat map; None draws a matrix if the screen has colours. With `values` the numbers follow: in full if
    the weight is small, else, if it was not drawn, without the middle of each axis.
    """
    summary = summarise([weight])
    yield screen.paint(name_text(weight.name), "bold")
    for key, text in facts(weight, summary, screen):
        if text:
            yield f"{screen.paint(f'  {key:<11}', 'dim')}{text}"
    drawn = heatmap if heatmap is not None else values and screen.colour and can_be_drawn(weight)
    if drawn:
        yield ""
        yield from heatmap_lines(weight, screen)
    if values and (not drawn or weight.size <= SMALL):
        yield ""
        yield NUMBER.sub(lambda match: screen.signed(match[0]), values_text(weight, screen.width or PAPER))
    if not summary.finite:
        yield ""
        for line in findings([weight]):
            yield screen.paint(screen.broken(line), "red")


def values_text(weight: Weight, width: int) -> str:
    """Format the numbers as NumPy does; of a large weight, only the elements shown are read."""
    whole = weight.size <= WHOLE
    ends = {1: 4, 2: 3, 3: 2, 4: 2}.get(len(weight.shape), 1)
    array = weight.numpy() if whole else _edges(weight, ends)
    return np.array2string(
        array.astype(standard(array.dtype), copy=False),
        max_line_width=width,
        threshold=WHOLE if whole else 0,
        edgeitems=ends,
        precision=5,
        separator=" ",
    )


def facts(weight: Weight, summary: Summary, screen: Screen) -> Iterator[tuple[str, str]]:
    """Yield the facts of a weight, each with its word; an empty summary adds none."""
    yield "layer", printable(weight.layer)
    yield "shape", f"{shape_text(weight)}  {printable(weight.axes)}".rstrip()
    yield "dtype", dtype_text(weight)
    yield "role", str(weight.role)
    yield "trainable", {True: "yes", False: "no", None: "not known"}[weight.trainable]
    yield "tied to", "" if weight.tied is None else name_text(weight.tied)
    yield "size", f"{weight.size:,} ({in_units(weight.nbytes)})"
    if weight.derivation is not None:
        yield from _derivation(weight.derivation)
    moments = summary.moments
    if moments.count:
        end = axis_of([summary])
        figures = {"min": moments.minimum, "mean": moments.mean, "max": moments.maximum}
        yield "numbers", "  ".join(f"{head} {screen.signed(number_text(number))}" for head, number in figures.items())
        yield "histogram", f"{-end:g} {bars(summary, end)} {end:g}"


def _derivation(made: Derivation) -> Iterator[tuple[str, str]]:
    """Yield how an effective weight is made of stored ones."""
    yield "made of", ", ".join(map(name_text, made.parts))
    yield "settings", ", ".join(f"{printable(key)} {printable(value)}" for key, value in made.settings.items())
    yield "assumed", "; ".join(printable(sentence, 1000) for sentence in made.assumed)
    yield "left out", ", ".join(map(name_text, made.activations))


def _edges(weight: Weight, ends: int) -> Array:
    """Return an array whose axes have only their first and last `ends` entries, and one between for the dots."""
    places = [(*range(ends), ends, *range(n - ends, n)) if n > 2 * ends else range(n) for n in weight.shape]
    steps = [prod(weight.shape[nth + 1 :]) for nth in range(len(weight.shape))]
    wanted = [sum(place * step for place, step in zip(index, steps, strict=True)) for index in product(*places)]
    return elements(weight, np.array(wanted)).reshape([len(place) for place in places])
