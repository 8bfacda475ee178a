"""A grid in a notebook: a table of coloured cells, which are legible on a light and on a dark page.

A cell's opacity is its place on the scale, so nothing has the page's own colour; every cell has a tooltip with the names and the
number. The parts of a column's name are above each other, and neighbours share a word if they agree up to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from steelyard.text.grid_cells import Labels, cell_text, labels_of, remarks, spans, title, wrong
from steelyard.text.markup import CELL, LARGEST, LIMIT, lines, more, page, shown, within
from steelyard.text.table import name_text, number_text
from steelyard.text.terminal import cut
from steelyard.text.tints import STRONGEST, alarm, colour

if TYPE_CHECKING:
    from steelyard.measures.grid import Grid
    from steelyard.measures.grid.values import Cell

COLUMNS = 120
"""Maximum columns of a table."""
OUTSIDE = 40
"""Maximum weights outside of the blocks that are shown."""
LETTERS = 24
"""Characters of a word of a column's name."""
_TABLE = '<table style="border-collapse:collapse;margin:0 0 1em 0;">'


def grid_html(grid: Grid) -> str:
    """Return the table of cells, the one of weights outside of the blocks, and what needs attention."""
    if not grid.rows:
        return lines(["no weights"])
    labels = labels_of(grid)
    rows = list(_rows(grid, labels))
    below = _outside(grid) + lines([*_hidden(grid), _scale(grid), *remarks(grid)]) + lines(wrong(grid), strong=True)

    def made(most: int) -> str:
        table = f"{_head(grid, labels)}<tbody>{''.join(rows[:most])}</tbody></table>" if most else ""
        return page([table, more(len(grid.rows), most), below])

    return within(len(rows), made)


def _rows(grid: Grid, labels: Labels) -> Iterator[str]:
    """Yield the first rows, as many as a display may have."""
    size = 0
    for label, row in zip(labels.rows[:LIMIT], grid.cells, strict=False):
        yield (
            text
            := f'<tr style="background-color:#0000;">{_label(label)}{"".join(_cell(cell, grid) for cell in row[:COLUMNS])}</tr>'
        )
        size += len(text)
        if size > LARGEST:
            return


def _label(label: str) -> str:
    style = "text-align:left;font-weight:normal;white-space:nowrap;"
    return f'<th scope="row" style="{style}">{shown(cut(name_text(label), 3 * LETTERS), CELL)}</th>'


def _head(grid: Grid, labels: Labels) -> str:
    """Return the begin of the table: its title, and a row of words for each part of the columns' names."""
    caption = f'<caption style="caption-side:top;text-align:left;">{shown(title(grid, labels))}</caption>'
    return f"{_TABLE}{caption}<thead>{''.join(_words(labels.words[:COLUMNS]))}</thead>"


def _words(columns: Sequence[list[str]]) -> Iterator[str]:
    last = len(columns[0]) - 1
    for level in range(last + 1):
        cells = "<td></td>"
        for word, count in spans(columns, level):
            style = f"text-align:{'right' if level == last else 'left'};font-weight:normal;"
            text = shown(cut(word, LETTERS))
            cells += f'<th scope="col" colspan="{count}" style="{style}">{text}</th>' if text else f'<td colspan="{count}"></td>'
        yield f'<tr style="background-color:#0000;">{cells}</tr>'


def _cell(cell: Cell | None, grid: Grid) -> str:
    if cell is None:
        return "<td></td>"
    text = shown(cell_text(cell, grid.value))
    share = grid.scale.share(cell.value)
    ground = alarm("error") if cell.nonfinite else f"background-color:{colour(share, 1.0, STRONGEST)};" if share else ""
    return f'<td title="{_tooltip(cell)}" style="text-align:right;white-space:nowrap;{ground}">{text}</td>'


def _tooltip(cell: Cell) -> str:
    names = name_text(cell.names[0]) + (f" and {len(cell.names) - 1:,} more" if len(cell.names) > 1 else "")
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
