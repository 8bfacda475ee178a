"""Statistics as a table of text."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from steelyard.errors import first_of
from steelyard.numerics.weight_stats import TOGETHER, WeightStats, merged
from steelyard.text.order import in_natural_order, natural, order_note
from steelyard.text.rows import folded, span
from steelyard.text.table import AXIS_ROLES, MOST_ROWS, TIMES, Column, drawn, name_text, nonfinite_line, number_text
from steelyard.text.terminal import Screen, screen_of

if TYPE_CHECKING:
    from steelyard.measures.stats import Stats

NUMBERS = ("min", "q05", "median", "q95", "max", "mean", "std", "l1", "l2", "rms")
COUNTS = ("zeros", "near_zeros", "nan", "inf")
LEFT_OUT = 5
MOST_DRAWN = 10_000
"""Rows of a table with histograms: more take longer to draw than all numbers to read."""


def stats_table(stats: Stats) -> str:
    """Return the table that printing statistics in Python shows."""
    return "\n".join(stats_lines(stats, Screen(screen_of(sys.stdout).width), most=MOST_ROWS))


def stats_lines(stats: Stats, screen: Screen, *, unfolded: bool = False, most: int | None = None) -> Iterator[str]:
    """Yield the lines of the table, then the weights that are left out and those that are not finite.

    Repeated blocks share rows, each with the statistics of all its numbers, unless they are `unfolded`.
    """
    if not stats.rows:
        yield "no weights"
        return
    places = natural([row.name for row in stats.rows])
    rows = grouped(stats, unfolded=unfolded, places=places)
    yield from drawn(stats_columns(stats, rows[:most]), screen, len(rows))
    yield from map(screen.broken, left_out(stats.left_out))
    yield from (screen.paint(screen.broken(line), "dim") for line in reordered(stats, places))
    if len(rows[:most]) > MOST_DRAWN:
        yield screen.broken(f"histograms are not drawn, since there are more than {MOST_DRAWN:,} rows; --select chooses some")
    for line in nonfinite(stats):
        yield screen.paint(screen.broken(line), "red")


def grouped(stats: Stats, *, unfolded: bool = False, places: list[int] | None = None) -> list[list[WeightStats]]:
    """Return the rows in groups, in natural order, which `places` has if it is known; repeated blocks fold unless `unfolded`."""
    listed = in_natural_order(stats.rows, _name) if places is None else [stats.rows[place] for place in places]
    if unfolded or stats.by != "weight":
        return [[row] for row in listed]
    return folded(listed, _name, _kind)


def reordered(stats: Stats, places: list[int] | None = None) -> Iterator[str]:
    """Yield a line if the groups are in another order, which `places` has if it is known, than the rows of the statistics."""
    if line := order_note(map(_name, stats.rows), places):
        yield line


def stats_columns(stats: Stats, groups: Sequence[Sequence[WeightStats]]) -> list[Column]:
    """Return the columns that are not empty, with a row for each group."""
    rows = [_joined(group) for group in groups]
    columns = (*_facts(stats, rows, list(map(len, groups))), *_figures(rows))
    return [column for column in columns if column.width]


def _name(row: WeightStats) -> str:
    return row.name


def _kind(row: WeightStats) -> object:
    return row.shape, row.dtype, row.role


def _joined(group: Sequence[WeightStats]) -> WeightStats:
    """Return the statistics of a row: of one weight, or of the weights of all blocks merged."""
    return group[0] if len(group) == 1 else merged(group, span(_name(group[0]), _name(group[-1])))


def _facts(stats: Stats, rows: Sequence[WeightStats], times: Sequence[int]) -> Iterator[Column]:
    names = [name_text(row.name) if row.name or stats.by == "weight" else "(no layer)" for row in rows]
    yield Column("name", names, head=stats.by if stats.by in ("layer", "role") else "name")
    yield Column("channel", [row.unit or "" for row in rows])
    shapes = ["" if row.shape is None else TIMES.join(map(str, row.shape)) or "scalar" for row in rows]
    yield Column("shape", shapes if stats.by == "weight" else [])
    yield Column("times", [f"{count:,} {TIMES}" if count > 1 else "" for count in times], right=True, head="")
    yield Column("count", [f"{row.count:,}" for row in rows], right=True)


def _figures(rows: Sequence[WeightStats]) -> Iterator[Column]:
    histograms = _histograms(rows)
    if histograms is not None:
        yield histograms
    for key, texts in zip(NUMBERS, zip(*map(_numbers, rows), strict=True), strict=True):
        yield Column(key, list(texts), right=True)
    for key in COUNTS:
        counts = [f"{count:,}" if (count := getattr(row, key)) else "" for row in rows]
        yield Column(key, counts if any(counts) else [], right=True, head=key.replace("_", " "))


def _numbers(row: WeightStats) -> tuple[str, ...]:
    """Return the texts of `NUMBERS`."""
    low, median, high = (None, None, None) if row.summary is None else row.summary.quantiles((0.05, 0.5, 0.95))
    numbers = (row.min, low, median, high, row.max, row.mean, row.std, row.l1, row.l2, row.rms)
    return tuple(map(number_text, numbers))


def _histograms(rows: Sequence[WeightStats]) -> Column | None:
    """Return the histograms of all rows on one axis, as `ls --stats` does."""
    from steelyard.text.sparkline import axis_of, bars, header

    if len(rows) > MOST_DRAWN:
        return None
    drawn = [(row.summary, row.role) for row in rows]
    summaries = [summary for summary, _ in drawn if summary is not None and summary.wide]
    if len(summaries) < len(drawn):
        return None
    end = axis_of([summary for summary, (_, role) in zip(summaries, drawn, strict=True) if role in AXIS_ROLES] or summaries)
    return Column("histogram", [bars(summary, end) for summary in summaries], head=header(end))


def nonfinite(stats: Stats) -> Iterator[str]:
    """Yield a line that names the rows that are not finite, if any, with the weight and the index of the first such number."""
    from steelyard.numerics.nonfinite import NonFinite

    bad = [row for row in stats.rows if row.nan or row.inf]
    places = [row.first_nonfinite or (_name(row), ()) for row in bad]
    places_of = [NonFinite(name, row.nan, row.inf, place) for row, (name, place) in zip(bad, places, strict=True)]
    if places_of:
        what = stats.by if stats.by in TOGETHER[:-1] else "channel"
        yield str(places_of[0]) if len(stats.rows) == 1 else nonfinite_line(places_of, len(stats.rows), what)


def left_out(names: Sequence[str]) -> Iterator[str]:
    """Yield a line that names the weights without statistics by the axis, if there are any."""
    if names:
        shown = first_of(names, LEFT_OUT, name_text)
        yield f"left out, since they lack this axis or have no numbers, or their axes are not known: {shown}"
