"""Statistics as a table of text."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.errors import printable
from steelyard.views.table import TIMES, Column, drawn, name_text, number_text
from steelyard.views.terminal import Screen, screen_of

if TYPE_CHECKING:
    from steelyard.measures.stats import Figures, Stats

NUMBERS = ("min", "q05", "median", "q95", "max", "mean", "std", "l1", "l2", "rms")
COUNTS = ("zeros", "near_zeros", "nan", "inf")
LEFT_OUT = 5


def stats_table(stats: Stats) -> str:
    """Return the table that printing statistics in Python shows."""
    return "\n".join(stats_lines(stats, Screen(screen_of(sys.stdout).width)))


def stats_lines(stats: Stats, screen: Screen) -> Iterator[str]:
    """Yield the lines of the table, the place of what is not finite, and which weights are left out."""
    if not stats.rows:
        yield "no weights"
        return
    yield from drawn(stats_columns(stats), screen)
    for line in stats_remarks(stats):
        yield screen.paint(screen.broken(line), "red")


def stats_columns(stats: Stats) -> list[Column]:
    """Return the columns of the table that have anything to tell."""
    records = [row.to_dict() for row in stats.rows]
    return [column for column in (*_facts(stats, records), *_figures(stats, records)) if column.width]


def stats_remarks(stats: Stats) -> Iterator[str]:
    """Yield the place of what is not finite, and which weights are left out."""
    yield from _nonfinite(stats.rows)
    yield from _left_out(stats.left_out)


def _facts(stats: Stats, records: Sequence[dict[str, Any]]) -> Iterator[Column]:
    names = [name_text(record["name"]) if record["name"] or stats.by == "weight" else "(no layer)" for record in records]
    yield Column("name", names, head=stats.by if stats.by in ("layer", "role") else "name")
    yield Column("channel", [record.get("unit", "") for record in records])
    shapes = [TIMES.join(map(str, record["shape"])) or "scalar" if "shape" in record else "" for record in records]
    yield Column("shape", shapes if stats.by == "weight" else [])
    yield Column("count", [f"{record['count']:,}" for record in records], right=True)


def _figures(stats: Stats, records: Sequence[dict[str, Any]]) -> Iterator[Column]:
    histograms = _histograms(stats)
    if histograms is not None:
        yield histograms
    for key in NUMBERS:
        yield Column(key, [number_text(record.get(key)) for record in records], right=True)
    for key in COUNTS:
        texts = [f"{record[key]:,}" if record[key] else "" for record in records]
        yield Column(key, texts if any(texts) else [], right=True, head=key.replace("_", " "))


def _histograms(stats: Stats) -> Column | None:
    """Return the histograms of all rows on one axis, as `ls --stats` shows them."""
    from steelyard.views.sparkline import axis_of, bars, header

    found = [row._summary for row in stats.rows]
    summaries = [summary for summary in found if summary is not None and summary.wide]
    if len(summaries) < len(found):
        return None
    end = axis_of(summaries)
    return Column("histogram", [bars(summary, end) for summary in summaries], head=header(end))


def _nonfinite(rows: Sequence[Figures]) -> Iterator[str]:
    bad = [row for row in rows if row.nan or row.inf]
    for row in bad[:LEFT_OUT]:
        counts = [f"{count:,} {word}" for count, word in ((row.nan, "NaN"), (row.inf, "Inf")) if count]
        first = row.first_nonfinite
        where = "" if first is None else f", first at {printable(first[0])}{list(first[1])}"
        yield f"{name_text(row.facts['name'])} is not finite: {' and '.join(counts)}{where}"
    if len(bad) > LEFT_OUT:
        yield f"... and {len(bad) - LEFT_OUT:,} more that are not finite"


def _left_out(names: Sequence[str]) -> Iterator[str]:
    if names:
        shown = ", ".join(name_text(name) for name in names[:LEFT_OUT])
        more = f" and {len(names) - LEFT_OUT:,} more" if len(names) > LEFT_OUT else ""
        yield f"left out, since they have no such axis or do not say: {shown}{more}"
