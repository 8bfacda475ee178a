"""A catalogue and its answers as text and as HTML."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from steelyard.errors import first_of, printable
from steelyard.text.table import MOST_ROWS, Column, drawn, name_text, number_text
from steelyard.text.terminal import Screen, screen_of
from steelyard.text.units import counted, in_units

if TYPE_CHECKING:
    from steelyard.catalogs.answers import CatalogTable
    from steelyard.catalogs.catalog import Catalog

DIGITS = 12
"""Digits of a digest in a table: 48 bits tell those of a million tensors apart."""
SHOWN = 3
"""Items of a list in a cell."""


def catalog_line(found: Catalog) -> str:
    """Return the line that printing a catalogue shows: what writing it did."""
    if found.update is None:
        return printable(found.path)
    read, kept, dropped, refused, links = found.update
    parts = [f"{counted(read, 'file')} read", f"{kept:,} unchanged"]
    parts += [f"{dropped:,} dropped, not there any more"] if dropped else []
    parts += [f"{refused:,} cannot be read"] if refused else []
    parts += [f"{counted(links, 'link')} out of the folder left out"] if links else []
    return f"{printable(found.path)}: {', '.join(parts)}"


def answer_text(found: CatalogTable) -> str:
    """Return the text that printing an answer shows."""
    return "\n".join(answer_lines(found, Screen(screen_of(sys.stdout).width), MOST_ROWS))


def answer_lines(found: CatalogTable, screen: Screen, most: int | None = None) -> Iterator[str]:
    """Yield the table of an answer, at most so many rows of it, and how to read it."""
    if len(found) and found.names:
        yield from drawn(answer_columns(found, most, whole=screen.width is None), screen, len(found))
    else:
        yield f"{found.title}: none"
    if found.note:
        yield screen.paint(screen.broken(found.note), "dim")


def answer_columns(found: CatalogTable, most: int | None = None, *, whole: bool = False) -> list[Column]:
    """Return the columns of the first rows; that of the file, or else the first, has the key "name", and is cut last.

    With `whole`, as for a pipe, digests and lists are not shortened.
    """
    key = "file" if "file" in found.names else found.names[0]
    columns = []
    for nth, name in enumerate(found.names):
        values = [row[nth] for row in found.rows[:most]]
        right = any(isinstance(value, (int, float)) for value in values)
        texts = [_cell(name, value, whole=whole) for value in values]
        columns.append(Column("name" if name == key else name, texts, right=right, head=printable(name)))
    return columns


def _cell(name: str, value: Any, *, whole: bool) -> str:
    if name == "bytes" and isinstance(value, int):
        return in_units(value)
    if name == "digest" and isinstance(value, str):
        return printable(value if whole else value[:DIGITS])
    if name == "shape" and isinstance(value, list):
        return "x".join(map(str, value)) or "scalar"
    if isinstance(value, float):
        return number_text(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _text(value, whole=whole)


def _text(value: Any, *, whole: bool) -> str:
    if isinstance(value, list):
        return first_of(value, len(value) if whole else SHOWN, lambda each: _text(each, whole=whole))
    if isinstance(value, dict):
        value = value.get("what", value)
    return "" if value is None else name_text(str(value)) if value != "" else ""


def answer_html(found: CatalogTable) -> str:
    """Return an answer as a table in HTML."""
    from steelyard.text.markup import lines, more, page, within
    from steelyard.text.markup import rows_html as table

    if not len(found) or not found.names:
        return page([lines([f"{found.title}: none", *([found.note] if found.note else [])])])

    def made(most: int) -> str:
        columns = answer_columns(found, most)
        return page([table(columns, printable(found.title)), more(len(found), most), lines([found.note])])

    return within(len(found), made)
