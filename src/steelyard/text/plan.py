"""The plan of a transfer as a table: from, to, layout, note."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.errors import first_of, printable

if TYPE_CHECKING:
    from steelyard.transfers.plan import TransferPlan

HEAD = ("from", "to", "layout", "note")


def table(plan: TransferPlan) -> str:
    """Return a line for each weight of the target, then the unchanged weights, the unused ones, and the differences."""
    rows = [HEAD, *plan_cells(plan)]
    widths = [max(len(row[nth]) for row in rows) for nth in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]).rstrip() for row in rows
    ]
    return "\n".join([*lines, *plan_remarks(plan)])


def plan_cells(plan: TransferPlan) -> Iterator[tuple[str, str, str, str]]:
    """Yield the cells of each row."""
    for row in plan.rows:
        yield " + ".join(map(printable, row.sources)), printable(row.target), row.layout, row.note


def plan_remarks(plan: TransferPlan) -> Iterator[str]:
    """Yield how names were paired, the unchanged weights, the unused ones, and the differences."""
    if plan.wrapped:
        yield plan.wrapped.note
    for title, names in (("unchanged", plan.unchanged), ("unused", plan.unused)):
        if names:
            shown = first_of(names, 8)
            yield f"{title}: {shown}"
    yield from (f"differs: {note}" for note in plan.notes)
