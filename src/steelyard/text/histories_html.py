"""A history of weights for a notebook: the tables of `histories` as HTML that every notebook shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.errors import printable
from steelyard.text.histories import (
    LAST,
    comparison_lines,
    curve_columns,
    record_columns,
    row_columns,
    sentence,
    settings_line,
    weight_columns,
)
from steelyard.text.markup import LIMIT, block, lines, more, page, within
from steelyard.text.markup import rows_html as table

if TYPE_CHECKING:
    from steelyard.runs.comparing import RunComparison
    from steelyard.runs.curves import Curves
    from steelyard.runs.events import HistoryRows
    from steelyard.runs.history import History


def history_html(history: History) -> str:
    """Return a sentence, alarms, the last records, and a line for each weight or layer."""
    above = lines([sentence(history), *filter(None, (history.origin, settings_line(history)))])
    if not len(history):
        return page([above])
    columns, left_out = weight_columns(history)
    parts = [above, lines(history.alarms(), strong=True), table(record_columns(history, LAST), "last records")]
    return page([*parts, table(columns, "along the run"), lines([left_out] if left_out else [])])


def curves_html(curves: Curves) -> str:
    """Return a row for each curve."""

    def made(most: int) -> str:
        shown = range(min(most, len(curves)))
        columns = curve_columns(curves, shown, log=curves.figure == "ratio")
        return page([table(columns, f"{curves.figure} by {curves.by}"), more(len(curves), most)])

    return within(len(curves), made)


def rows_html(found: HistoryRows) -> str:
    """Return a table of rows on a run."""
    if not len(found):
        return page([lines([f"{found.title}: none", *([found.note] if found.note else [])])])

    def made(most: int) -> str:
        columns = row_columns(found, most)
        return page([table(columns, printable(found.title)), more(len(found), most), lines([found.note])])

    return within(len(found), made)


def comparison_html(found: RunComparison) -> str:
    """Return the sentences on two runs."""
    return page([block(list(comparison_lines(found))[:LIMIT])])
