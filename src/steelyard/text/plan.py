"""The plan of a transfer as a table: from, to, turn, note."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.transfers.plan import Plan

HEAD = ("from", "to", "turn", "note")


def table(plan: Plan) -> str:
    """Return a line for each weight of the target, then what keeps its numbers, what is left, and what differs."""
    rows = [HEAD, *plan_cells(plan)]
    widths = [max(len(row[nth]) for row in rows) for nth in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]).rstrip() for row in rows
    ]
    return "\n".join([*lines, *plan_remarks(plan)])


def plan_cells(plan: Plan) -> Iterator[tuple[str, str, str, str]]:
    """Yield the texts of each row."""
    for row in plan.rows:
        yield " + ".join(map(printable, row.sources)), printable(row.target), row.turn, row.note


def plan_remarks(plan: Plan) -> Iterator[str]:
    """Yield what keeps its numbers, what is left, and what differs."""
    for title, names in (("untouched", plan.untouched), ("left out", plan.left)):
        if names:
            shown = ", ".join(map(printable, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            yield f"{title}: {shown}"
    yield from (f"differs: {note}" for note in plan.notes)
