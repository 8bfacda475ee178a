"""The plan of a merge as a table: each weight, and how it is merged."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from steelyard.text.table import TIMES, columns_from, drawn, name_text
from steelyard.text.terminal import Screen, screen_of
from steelyard.text.units import counted

if TYPE_CHECKING:
    from steelyard.editing.merging.plan import Plan, Row

HEAD = ("name", "shape", "dtype", "models", "weights", "density", "t")


def merge_lines(plan: Plan) -> Iterator[str]:
    """Yield the method, a line for each weight, and what is copied; columns without a number are left out."""
    screen = Screen(screen_of(sys.stdout).width)
    rows = plan.rows()
    merged = [row for row in rows if row.options is not None]
    yield f"{plan.recipe['merge_method']} of {len(plan.models):,} files"
    takes = plan.request.method.takes
    shown = [word for word in HEAD if word not in ("weights", "density", "t") or word in takes]
    cells = [[_cells(row)[HEAD.index(word)] for word in shown] for row in rows]
    yield from drawn(columns_from(shown, cells, right=[nth for nth, word in enumerate(shown) if word == "models"]), screen)
    yield ""
    copied = f", {len(rows) - len(merged):,} copied from the first" if len(rows) > len(merged) else ""
    yield f"{counted(len(merged), 'weight')} merged{copied}; nothing was written"


def _cells(row: Row) -> tuple[str, ...]:
    shape = TIMES.join(map(str, row.shape))
    if row.options is None:
        return (name_text(row.name), shape, row.dtype, "", "copied", "", "")
    options = row.options
    numbers = (_numbers(options.weights), _numbers(options.density), f"{options.t:.4g}")
    return (name_text(row.name), shape, row.dtype, str(row.models), *numbers)


def _numbers(values: tuple[float, ...]) -> str:
    """Return numbers as text; one that all models share once."""
    distinct = values[:1] if len(set(values)) == 1 else values
    return " ".join(f"{value:.4g}" for value in distinct)


def row_record(row: Row) -> dict[str, Any]:
    """Return a row as plain Python, for JSON."""
    options = row.options
    how = None if options is None else {"weights": list(options.weights), "density": list(options.density), "t": options.t}
    return {"name": row.name, "shape": list(row.shape), "dtype": row.dtype, "models": row.models, "merged": how}
