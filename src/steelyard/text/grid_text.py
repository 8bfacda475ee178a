"""A grid in a terminal: cells of numbers on coloured backgrounds, below the words of their columns.

The parts of a column's name are above each other, and a part that neighbours share is written once. Columns that do not fit
continue below, for the rows that have them. Without colours the numbers stay.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.text.grid_cells import cell_text, labels_of, number, remarks, spans, title, wrong
from steelyard.text.heatmap_text import LEVELS, painted, swatch
from steelyard.text.table import name_text
from steelyard.text.terminal import Screen, cells, cut, padded, screen_of

if TYPE_CHECKING:
    from steelyard.measures.grid import Grid
    from steelyard.measures.grid.values import Cell

ROWS = 60
"""Maximum rows in Python; the command prints all."""
CAPS = (14, 10, 8, 7, 6)
"""The widths up to which a column grows for its words, as long as that takes no further lines."""
OUTSIDE = 40
"""Maximum weights outside of the blocks that are shown."""


class _Column(NamedTuple):
    """A column: its index, the words of its name, the texts of its cells by their rows, and its width in characters."""

    nth: int
    words: list[str]
    texts: dict[int, str]

    def width(self, cap: int | None) -> int:
        widest = max(map(len, self.texts.values()), default=0)
        words = max(map(cells, self.words[-1:]), default=0)
        return max(widest, words if cap is None else min(words, cap), 3)


def grid_text(grid: Grid) -> str:
    """Return the text that printing a grid in Python shows."""
    return "\n".join(grid_lines(grid, Screen(screen_of(sys.stdout).width), ROWS))


def grid_lines(grid: Grid, screen: Screen, most: int | None = None) -> Iterator[str]:
    """Yield the title, the cells, the weights outside of the blocks, the scale, and what needs attention."""
    if not grid.rows:
        yield "no weights"
        return
    labels = labels_of(grid)
    yield screen.broken(title(grid, labels))
    rows = [_cut(row, screen, 3) for row in labels.rows[:most]]
    room = max(map(cells, rows))
    for page, widths in _pages(_columns(grid, labels.words, most), None if screen.width is None else screen.width - room - 1):
        yield ""
        yield from _head(page, widths, room, screen)
        for row, label in enumerate(rows):
            if any(row in column.texts for column in page):
                yield f"{padded(label, room)} {''.join(_row(grid, page, widths, row, screen))}".rstrip()
    if most is not None and len(grid.rows) > most:
        yield f"... and {len(grid.rows) - most:,} more rows; to_records() has all"
    yield from _outside(grid, screen)
    yield ""
    yield from _scale(grid, screen)
    yield from map(screen.broken, remarks(grid))
    yield from (screen.paint(screen.broken(line), "red") for line in wrong(grid))


def _cut(name: str, screen: Screen, part: int) -> str:
    """Cut a name so that it leaves most of one of so many `part`s of the screen to its numbers."""
    return name if screen.width is None else cut(name, max(screen.width // part - 9, 8))


def _columns(grid: Grid, words: Sequence[list[str]], most: int | None) -> list[_Column]:
    """Return the columns that have a cell in the rows that are shown."""
    columns = []
    for nth, own in enumerate(words):
        texts = {row: cell_text(cells[nth], grid.value) for row, cells in enumerate(grid.cells[:most]) if cells[nth] is not None}
        if texts:
            columns.append(_Column(nth, own, texts))
    return columns


def _pages(columns: Sequence[_Column], width: int | None) -> list[tuple[list[_Column], list[int]]]:
    """Return the columns of each page with their widths: as wide as their words, if that takes no further pages."""
    if width is None:
        return [(list(columns), _for_words(columns))]
    fewest = _broken(columns, CAPS[-1], width)
    for cap in CAPS:
        if len(pages := _broken(columns, cap, width)) == len(fewest):
            return pages
    return fewest


def _for_words(columns: Sequence[_Column]) -> list[int]:
    """Return widths in which no word is cut."""
    words = [column.words for column in columns]
    widths = [column.width(None) for column in columns]
    for level in range(len(words[0])):
        end = 0
        for word, count in spans(words, level):
            end += count
            widths[end - 1] += max(cells(word) - sum(widths[end - count : end]) - 2 * (count - 1), 0)
    return widths


def _broken(columns: Sequence[_Column], cap: int, width: int) -> list[tuple[list[_Column], list[int]]]:
    pages: list[tuple[list[_Column], list[int]]] = []
    left = 0
    for column in columns:
        own = min(column.width(cap), max(width - 2, 1))
        if own + 2 > left or not pages:
            pages.append(([], []))
            left = width
        pages[-1][0].append(column)
        pages[-1][1].append(own)
        left -= own + 2
    return pages


def _head(page: Sequence[_Column], widths: Sequence[int], room: int, screen: Screen) -> Iterator[str]:
    """Yield the words of the columns' names, a line for each part; neighbours share a word if they agree up to it."""
    last = len(page[0].words) - 1
    for level in range(last + 1):
        line = " " * (room + 1)
        nth = 0
        for word, count in spans([column.words for column in page], level):
            space = sum(widths[nth : nth + count]) + 2 * count
            shown, nth = cut(word, space - 2), nth + count
            line += padded(f"{shown} ", space, right=True) if level == last else padded(f" {shown}", space)
        yield screen.paint(line.rstrip(), "dim") if line.strip() else ""


def _row(grid: Grid, page: Sequence[_Column], widths: Sequence[int], row: int, screen: Screen) -> Iterator[str]:
    for column, width in zip(page, widths, strict=True):
        text = f" {column.texts.get(row, '').rjust(width)} "
        yield _painted(text, grid.cells[row][column.nth], grid, screen)


def _painted(text: str, cell: Cell | None, grid: Grid, screen: Screen) -> str:
    if cell is None or not screen.colour:
        return text
    if cell.nonfinite:
        return f"\x1b[48;5;160;38;5;231m{text}\x1b[0m"
    return painted(text, round(grid.scale.share(cell.value) * LEVELS), screen)


def _outside(grid: Grid, screen: Screen) -> Iterator[str]:
    """Yield the weights outside of the blocks with their values, as many in a line as fit."""
    if not grid.outside:
        return
    yield ""
    yield screen.paint(screen.broken("outside of the blocks"), "dim")
    shown = grid.outside[:OUTSIDE]
    names = [_cut(name_text(cell.names[0]), screen, 2) for cell in shown]
    room, wide = max(map(cells, names)), max(len(cell_text(cell, grid.value)) for cell in shown)
    across = 1 if screen.width is None else max(screen.width // (room + wide + 4), 1)
    for start in range(0, len(shown), across):
        texts = [
            f"{padded(name, room)} {_painted(f' {cell_text(cell, grid.value).rjust(wide)} ', cell, grid, screen)}"
            for name, cell in zip(names[start : start + across], shown[start : start + across], strict=True)
        ]
        yield " ".join(texts).rstrip()
    if len(grid.outside) > OUTSIDE:
        yield f"... and {len(grid.outside) - OUTSIDE:,} more weights outside of the blocks"


def _scale(grid: Grid, screen: Screen) -> Iterator[str]:
    """Yield the scale of the colours; without colours there is none."""
    if not screen.colour or not grid.scale.high:
        return
    low = -LEVELS if grid.scale.kind == "signed" else round(grid.scale.share(grid.scale.low) * LEVELS)
    ends = number(grid.scale.low, grid.value), number(grid.scale.high, grid.value)
    kind = ", logarithmic" if grid.scale.kind == "logarithmic" else ""
    levels = range(low, LEVELS + 1)
    if screen.width is None or sum(map(len, (*ends, kind))) + len(levels) + 2 <= screen.width:
        yield f"{ends[0]} {''.join(swatch(level, screen) for level in levels)} {ends[1]}{kind}"
    else:
        yield screen.broken(f"colours from {ends[0]} to {ends[1]}{kind}")
