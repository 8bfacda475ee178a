"""Exports for devices as text: a line for each array, the total, the files and the notes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.errors import printable
from steelyard.text.table import NAME_LIMIT, TIMES, columns_from, drawn, name_text
from steelyard.text.terminal import Screen, screen_of
from steelyard.text.units import counted, in_units

if TYPE_CHECKING:
    from steelyard.device.exported import Export

HEAD = ("symbol", "name", "type", "shape", "bytes")


def export_text(export: Export) -> str:
    """Return the table of an export as wide as the terminal."""
    return "\n".join(export_lines(export, Screen(screen_of(sys.stdout).width)))


def export_lines(export: Export, screen: Screen, *, written: bool = True) -> Iterator[str]:
    """Yield the lines of the table, and what was written, or would be."""
    rows = [
        (
            table.symbol,
            name_text(table.weight.name) + (f" ({table.part})" if table.part else ""),
            table.plain.dtype,
            TIMES.join(map(str, table.plain.shape)) or "1",
            f"{table.nbytes:,}",
        )
        for table in export.tables
    ]
    ties = export.ties.items()
    rows += [(key, name_text(export.true_names[key]), f"tied to {table.symbol}", "", "") for key, table in ties]
    if rows:
        yield from drawn([column for column in columns_from(HEAD, rows, right=(4,)) if column.width], screen)
        yield ""
    count = counted(len(export.tables), "array")
    numbers = counted(export.size, "number")
    files = ", ".join(printable(file, NAME_LIMIT) for file in export.files)
    yield screen.broken(f"{files}: {count}, {numbers}, {in_units(export.nbytes)}{'' if written else '; nothing was written'}")
    yield from (screen.broken(printable(note, NAME_LIMIT)) for note in export.notes)
    yield from (screen.broken(line) for line in (export.forward.report() if export.forward else ()))
