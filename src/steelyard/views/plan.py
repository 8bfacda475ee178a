"""The plan of a transfer as a table: from, to, turn, note."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.transfers.plan import Plan

HEAD = ("from", "to", "turn", "note")


def table(plan: Plan) -> str:
    """Return a line for each weight of the target, then what keeps its numbers, what is left, and what differs."""
    rows = [HEAD, *((" + ".join(map(printable, row.sources)), printable(row.target), row.turn, row.note) for row in plan.rows)]
    widths = [max(len(row[nth]) for row in rows) for nth in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]).rstrip() for row in rows
    ]
    for title, names in (("untouched", plan.untouched), ("left out", plan.left)):
        if names:
            shown = ", ".join(map(printable, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            lines.append(f"{title}: {shown}")
    return "\n".join([*lines, *(f"differs: {note}" for note in plan.notes)])
