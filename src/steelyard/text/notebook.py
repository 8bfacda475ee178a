"""Weights in a notebook: a tree of layers; for one weight its facts, a heat map and the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from steelyard.errors import SteelyardError
from steelyard.text.heatmap_html import heat_map, room_for
from steelyard.text.layer import kernel_of
from steelyard.text.markup import EACH, READ, beside, block, facts_html, foldable, lines, more, page, within
from steelyard.text.rows import Measured, measured, rows_of
from steelyard.text.table import (
    axis_end,
    dtype_text,
    findings,
    live_findings,
    name_text,
    notes,
    number_text,
    remarks,
    reordered,
    totals,
)
from steelyard.text.terminal import Screen
from steelyard.text.tree import tree
from steelyard.text.units import in_units

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.numerics.summary import Summary
    from steelyard.text.table import Headline

NUMBERS = 80
"""Maximum characters of a line of numbers."""
UNREAD = "the numbers, {}, were not read for this display; steelyard.stats(...) reads them"


def weights_html(weights: Weights, headline: Headline | None = None) -> str:
    """Return the table of weights below the sentence of `headline`, folded by layer if there are many.

    It has statistics if the model or file is small. Repeated blocks are folded, and at most 200 rows are shown. Large and remote
    weights are not read, but a live model is always searched for NaN and Inf.
    """
    if not weights:
        return lines(["no weights"])
    looked_at, end = _looked_at(weights)
    caption, without = _said_once(weights, looked_at)
    remarked = [*notes(weights), *reordered(weights)]
    if end is None:
        remarked.append(UNREAD.format(in_units(weights.nbytes)))
    sentence = "" if headline is None else headline(weights, [each.row for each in looked_at])
    above = lines([sentence] if sentence else [], strong=True)
    below = lines(remarked) + lines(
        live_findings(weights) if end is None else remarks(looked_at, len(weights.distinct())), strong=True
    )

    def made(most: int) -> str:
        rest = more(len(looked_at), most, "more rows; select(...) shows some of them")
        return page([above, *tree(looked_at[:most], end, caption, without), rest, below, drawn])

    drawn = "" if end is None else _kernel_html(weights)
    return within(len(looked_at), made)


def _kernel_html(weights: Weights) -> str:
    """Return the heat map of a layer's kernel, blank unless all weights are those of one layer."""
    from steelyard.numerics.picture import picture

    kernel = kernel_of(list(weights.values())) if len({weight.layer for weight in weights.values()}) == 1 else None
    try:
        return "" if kernel is None else heat_map(picture(kernel, *room_for(kernel)), name_text(kernel.name))
    except SteelyardError:  # a line above says that it cannot be read
        return ""


def _said_once(weights: Weights, stats: Sequence[Measured]) -> tuple[str, list[str]]:
    """Return the caption, with the dtype if all rows have the same, and the columns that repeat what is there already."""
    dtypes = {dtype_text(each.row.weight) for each in stats}
    if len(dtypes) > 1:
        return totals(weights), ["layer"]
    return f"{totals(weights)}, {dtypes.pop()}", ["layer", "dtype"]


def _looked_at(weights: Weights) -> tuple[list[Measured], float | None]:
    """Return the rows and the end of their histograms' axis, which is None if no number was read."""
    from steelyard.numerics.summary import Summary

    rows = rows_of(weights)
    if weights.remote or weights.nbytes + EACH * len(weights) > READ:
        return [Measured(row, Summary()) for row in rows], None
    stats = list(measured(rows))
    return stats, axis_end(stats)


def weight_html(weight: Weight) -> str:
    """Return the facts of one weight; unless it is large, also its statistics, a heat map and the numbers."""
    from steelyard.numerics.summary import Summary
    from steelyard.text.tensor import facts

    name = name_text(weight.name)
    if weight.nbytes > READ:
        return page([facts_html(facts(weight, Summary(), Screen()), name), lines([UNREAD.format(in_units(weight.nbytes))])])
    try:
        return page(_read(weight, name))
    except SteelyardError as error:
        return page(
            [facts_html(facts(weight, Summary(), Screen()), name), lines([f"the numbers cannot be read: {error}"], strong=True)]
        )


def _read(weight: Weight, name: str) -> Iterator[str]:
    from steelyard.numerics.picture import picture
    from steelyard.numerics.summary import summarise
    from steelyard.text.tensor import facts, values_text

    summary = summarise([weight])
    table = facts_html([*facts(weight, summary, Screen()), ("spread", _spread(summary))], name)
    yield lines(() if summary.finite else findings([weight]), strong=True)
    yield beside([table, heat_map(picture(weight, *room_for(weight)), name)])
    yield foldable("numbers", block(values_text(weight, NUMBERS).split("\n")))


def _spread(summary: Summary) -> str:
    """Format the statistics that the terminal has no room for."""
    moments = summary.moments
    shares = {"q05": 0.05, "median": 0.5, "q95": 0.95}
    known = {"std": moments.std, **{word: summary.quantile(share) for word, share in shares.items()}, "l2": moments.l2}
    figures = [f"{word} {number_text(number)}" for word, number in known.items()]
    return "  ".join([*figures, f"zeros {moments.zeros:,}"]) if moments.count else ""
