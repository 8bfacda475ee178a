"""A grid in a notebook: a table of coloured cells, which are legible on a light and on a dark page.

A cell's opacity is its place on the scale, so nothing has the page's own colour; every cell has a tooltip with the names and the
number. The parts of a column's name are above each other, and neighbours share a word if they agree up to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from steelyard.errors import first_of
from steelyard.text.grid_cells import Labels, cell_text, labels_of, remarks, spans, title, wrong
from steelyard.text.markup import CELL, LARGEST, LIMIT, ROOM, lines, more, page, shown, within
from steelyard.text.table import name_text, number_text
from steelyard.text.terminal import cut
from steelyard.text.tints import STRONGEST, alarm, colour

if TYPE_CHECKING:
    from steelyard.measures.grid import Grid
    from steelyard.measures.grid.values import Cell

COLUMNS = 120
"""Maximum columns that are shown."""
OUTSIDE = 40
"""Maximum weights outside of the blocks that are shown."""
DIGIT, PADDING = 7.2, 13
"""Pixels of a digit, and of the space around a cell."""
LETTERS = 24
"""Characters of a word of a column's name."""
_TABLE = '<table style="border-collapse:collapse;margin:0 0 1em 0;">'


def grid_html(grid: Grid) -> str:
    """Return tables of cells, each as wide as an output, the one of weights outside of the blocks, and what needs attention."""
    if not grid.rows:
        return lines(["no weights"])
    labels = labels_of(grid)
    tables = [(own, _rows(grid, labels, own)) for own in _pages(grid, labels)]
    below = _outside(grid) + lines([*_hidden(grid), _scale(grid), *remarks(grid)]) + lines(wrong(grid), strong=True)

    def made(most: int) -> str:
        shown_rows = [(own, [row for nth, row in rows if nth < most]) for own, rows in tables]
        bodies = [
            f"{_TABLE}<thead>{_head(labels, own)}</thead><tbody>{''.join(rows)}</tbody></table>"
            for own, rows in shown_rows
            if rows
        ]
        return page([lines([title(grid, labels)]), *bodies, more(len(grid.rows), most), below])

    return within(len(grid.rows), made)


def _pages(grid: Grid, labels: Labels) -> list[list[int]]:
    """Return the columns of each table, as many as fit into the width of an output."""
    pages: list[list[int]] = []
    left = 0.0
    for nth, words in enumerate(labels.words[:COLUMNS]):
        texts = [cell_text(row[nth], grid.value) for row in grid.cells[:LIMIT]]
        width = DIGIT * max(*map(len, texts), min(len(words[-1]), LETTERS)) + PADDING
        if width > left or not pages:
            pages.append([])
            left = ROOM - DIGIT * min(max(map(len, labels.rows[:LIMIT])), 3 * LETTERS) - PADDING
        pages[-1].append(nth)
        left -= width
    return pages


def _rows(grid: Grid, labels: Labels, own: Sequence[int]) -> list[tuple[int, str]]:
    """Return the first rows that have a cell in some columns, with their indices, as many as a display may have."""
    found, size = [], 0
    for nth, (label, row) in enumerate(zip(labels.rows[:LIMIT], grid.cells, strict=False)):
        if size <= LARGEST and any(row[column] is not None for column in own):
            text = "".join(_cell(row[column], grid) for column in own)
            found.append((nth, f'<tr style="background-color:#0000;">{_label(label)}{text}</tr>'))
            size += len(text)
    return found


def _label(label: str) -> str:
    style = "text-align:left;font-weight:normal;white-space:nowrap;"
    return f'<th scope="row" style="{style}">{shown(cut(name_text(label), 3 * LETTERS), CELL)}</th>'


def _head(labels: Labels, own: Sequence[int]) -> str:
    """Return a row of words for each part of the columns' names."""
    columns = [labels.words[nth] for nth in own]
    last = len(columns[0]) - 1
    rows = ""
    for level in range(last + 1):
        cells = "<td></td>"
        for word, count in spans(columns, level):
            style = f"text-align:{'right' if level == last else 'left'};font-weight:normal;"
            text = shown(cut(word, LETTERS if level == last else min(LETTERS, 8 * count + 2)))
            cells += f'<th scope="col" colspan="{count}" style="{style}">{text}</th>' if text else f'<td colspan="{count}"></td>'
        rows += f'<tr style="background-color:#0000;">{cells}</tr>'
    return rows


def _cell(cell: Cell | None, grid: Grid) -> str:
    if cell is None:
        return "<td></td>"
    text = shown(cell_text(cell, grid.value))
    share = grid.scale.share(cell.value)
    ground = alarm("error") if cell.nonfinite else f"background-color:{colour(share, 1.0, STRONGEST)};" if share else ""
    return f'<td title="{_tooltip(cell)}" style="text-align:right;white-space:nowrap;{ground}">{text}</td>'


def _tooltip(cell: Cell) -> str:
    names = first_of(cell.names, 1, name_text)
    return shown(": ".join(filter(None, (names, number_text(cell.value), cell.note))), CELL)


def _outside(grid: Grid) -> str:
    """Return a table of the weights outside of the blocks; blank if there are none."""
    if not grid.outside:
        return ""
    caption = '<caption style="caption-side:top;text-align:left;">outside of the blocks</caption>'
    rows = "".join(
        f'<tr style="background-color:#0000;">{_label(cell.names[0])}{_cell(cell, grid)}</tr>' for cell in grid.outside[:OUTSIDE]
    )
    return f"{_TABLE}{caption}<tbody>{rows}</tbody></table>"


def _hidden(grid: Grid) -> Iterator[str]:
    """Yield what the tables leave out for their size."""
    for count, what in ((len(grid.columns) - COLUMNS, "columns"), (len(grid.outside) - OUTSIDE, "weights outside of the blocks")):
        if count > 0:
            yield f"... and {count:,} more {what}; to_frame() has all"


def _scale(grid: Grid) -> str:
    kind, low, high = grid.scale
    if not high:
        return "no cell has a colour, since every value is zero or not known"
    return f"colours reach from {low:.2g} to {high:.2g}{', logarithmically' if kind == 'logarithmic' else ''}"
