"""The cells of a grid as short texts, and the lines about it, for every view that shows them as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import first_of, printable
from steelyard.text.rows import folded_apart, span
from steelyard.text.table import FINDINGS, NAME_LIMIT, TIMES, name_text

if TYPE_CHECKING:
    from steelyard.measures.grid import Grid
    from steelyard.measures.grid.values import Cell

SHARES = ("sparsity", "equal")
"""The values that are shares, and written in per cent."""
COUNTS = ("rank", "nonfinite")
"""The values that are whole numbers."""
SAME = "="
"""The text of weights without a change."""
WORDS = {"added": "new", "removed": "gone", "from zero": "from 0", "reordered": "order", "changed": "other"}
"""Short words for notes that stand in the place of a number."""
LOST = "NaN/Inf"
"""The text of weights in which nothing changed but that some numbers are no longer finite, or are again."""
UNKNOWN = "?"
"""The text of a cell whose numbers are not known."""
COMPARING = ("change", "rank", "equal")
"""The values that compare two nets."""


def cell_text(cell: Cell | None, value: str) -> str:
    """Return a number of at most seven characters, a word, or "?"; "!" follows if there is NaN or Inf."""
    if cell is None:
        return ""
    wrong = "!" if cell.nonfinite and value != "nonfinite" else ""
    if cell.value is None:
        word = _word(cell.note) if value in COMPARING else UNKNOWN
        return LOST if word == UNKNOWN and wrong and value in COMPARING else word + wrong
    if _is_same(cell, value):
        return SAME + wrong
    return number(cell.value, value) + wrong


def number(figure: float, value: str) -> str:
    """Format a number of the kind that `value` is: a share, a count, or any other."""
    if value in SHARES:
        return percent(figure)
    return f"{figure:.0f}" if value in COUNTS and figure < 99_999 else short(figure)


def _is_same(cell: Cell, value: str) -> bool:
    return value in COMPARING and cell.value == (1 if value == "equal" else 0)


def _word(note: str) -> str:
    first = note.partition(",")[0]
    return WORDS.get(first, "shape" if first.startswith("shape ") else first if len(first) <= 6 and first else UNKNOWN)


def short(number: float) -> str:
    """Format a number with two significant digits in at most seven characters.

    >>> [short(number) for number in (0.0, 0.01994, 1.0, 123.4, 1.23e-5, 4.5e7)]
    ['0', '0.020', '1.0', '123', '1e-5', '4e7']
    >>> short(-0.00123), short(float("inf"))
    ('-0.0012', 'inf')
    """
    size = abs(number)
    if not size or not isfinite(number):
        return f"{number:g}"
    if 0.000995 <= size < 9999.5:
        return f"{number:#.2g}".removesuffix(".") if size < 99.5 else f"{number:.0f}"
    digits, _, power = f"{number:.0e}".partition("e")
    return f"{digits}e{int(power)}"


def percent(share: float) -> str:
    """Format a share in per cent; only exactly all is 100%, and only exactly none is 0%.

    >>> percent(0.0), percent(0.123), percent(1e-7), percent(0.9999), percent(1.0)
    ('0%', '12%', '<0.1%', '>99%', '100%')
    """
    if share in (0, 1):
        return f"{100 * share:.0f}%"
    if share < 0.001:
        return "<0.1%"
    return f"{100 * share:.2g}%" if share < 0.995 else ">99%"


class Labels(NamedTuple):
    """The labels of a grid: what all rows begin with and the rest of each, and the words of columns without a last common one."""

    before: str
    rows: list[str]
    words: list[list[str]]
    after: str


def labels_of(grid: Grid) -> Labels:
    """Return the labels of rows and columns as they are shown, on one line and without what all have in common.

    The last word of a column is that of the weight, and the words before it those of its layer: all have as many, since
    blanks stand before the last.
    """
    rows = [name_text(row) for row in grid.rows]
    before = _beginning(min(rows), max(rows)) if len(rows) > 1 else ""
    words = [printable(label, NAME_LIMIT).replace("/", ".").split(".") for label in grid.columns]
    last = {own[-1] for own in words}
    after = f".{last.pop()}" if len(words) > 1 and len(last) == 1 and all(len(own) > 1 for own in words) else ""
    words = [own[:-1] for own in words] if after else words
    deepest = max(map(len, words), default=0)
    filled = [[*own[:-1], *[""] * (deepest - len(own)), own[-1]] for own in words]
    return Labels(before, [row[len(before) :] for row in rows], filled, after)


def _beginning(one: str, other: str) -> str:
    """Return what two names begin with, up to the last dot or slash."""
    common = "".join(a for a, b in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    return common[: max(common.rfind("."), common.rfind("/")) + 1]


def spans(words: Sequence[Sequence[str]], level: int) -> Iterator[tuple[str, int]]:
    """Yield each word at a level of the columns' names, and the number of columns below it.

    Neighbours share a word if they agree up to it; the last word is each column's own.

    >>> [list(spans([["attn", "q"], ["attn", "k"], ["mlp", "k"]], level)) for level in (0, 1)]
    [[('attn', 2), ('mlp', 1)], [('q', 1), ('k', 1), ('k', 1)]]
    """

    def key(place: int) -> object:
        return words[place][: level + 1], place if level == len(words[place]) - 1 else None

    for _, group in groupby(range(len(words)), key):
        places = list(group)
        yield words[places[0]][level], len(places)


def title(grid: Grid, labels: Labels) -> str:
    """Name what the cells show, and count rows and columns."""
    rows, columns = len(grid.rows), len(grid.columns)
    begin = f" ({labels.before}*)" if labels.before else ""
    end = f" (*{labels.after})" if labels.after else ""
    if grid.kind == "blocks":
        return f"{grid.what}: {rows:,} block{_s(rows)}{begin} {TIMES} {columns:,} part{_s(columns)}{end}"
    if grid.kind == "layers":
        return f"{grid.what}: no blocks repeat, so rows are the {rows:,} layer{_s(rows)}{begin}"
    return f"{grid.what}: the names show neither blocks nor layers, so each of the {rows:,} weight{_s(rows)} has a row"


def _s(count: int) -> str:
    return "s" * (count != 1)


def all_cells(grid: Grid) -> Iterator[Cell]:
    """Yield the cells of the grid, row by row, and those outside of the blocks."""
    yield from (cell for row in grid.cells for cell in row if cell is not None)
    yield from grid.outside


def remarks(grid: Grid) -> Iterator[str]:
    """Yield what changed and where, how weights were paired, and the counters that are left out."""
    if grid.value in COMPARING:
        yield changes(grid)
    if grid.value == "rank" and any(cell.value is None for cell in all_cells(grid)):
        yield "a word is another verdict on the change than a low rank, as diff explains it; other: there is none"
    yield from (f"note: {note}" for note in grid.notes)
    if any(len(cell.names) > 1 for cell in all_cells(grid)):
        what = "the statistic of all their numbers" if grid.value not in COMPARING else "that of the one that changed most"
        yield f"a cell of several weights, as of experts, has {what}"
    if grid.left_out:
        yield f"left out, since counters are no parts of a net: {first_of(grid.left_out, 1, name_text)}"


def changes(grid: Grid) -> str:
    """Return a sentence that counts the weights that differ, and names their blocks."""
    cells = list(all_cells(grid))
    moved = sum(not _is_same(cell, grid.value) and cell.note != "renamed" for cell in cells)
    if not moved:
        return "nothing changed"
    what = f"{moved:,} of {len(cells):,} {'weights' if all(len(cell.names) == 1 for cell in cells) else 'cells'} changed"
    rows = [
        label for label, row in zip(grid.rows, grid.cells, strict=True) if any(c and not _is_same(c, grid.value) for c in row)
    ]
    where = f", in {len(rows):,} of {len(grid.rows):,} rows: {spanned(rows)}" if rows else ", none of them in the rows"
    return what + where


def spanned(labels: Sequence[str], most: int = FINDINGS) -> str:
    """Name rows, those whose numbers follow each other as a range.

    >>> spanned(["h.8", "h.9", "h.10", "wte"])
    'h.[8-10], wte'
    """
    groups = folded_apart(labels, str, lambda _: None)
    return first_of(groups, most, lambda group: name_text(span(group[0], group[-1])))


def wrong(grid: Grid) -> Iterator[str]:
    """Yield a line on NaN and Inf, and one for each reason why numbers are not known."""
    cells = list(all_cells(grid))
    yield from _listed([cell for cell in cells if cell.nonfinite], "NaN or Inf in", nonfinite=True)
    reasons: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.value is None and cell_text(cell, grid.value).startswith(UNKNOWN):
            reasons.setdefault(cell.note, []).append(cell)
    for reason, some in list(reasons.items())[:FINDINGS]:
        yield from _listed(some, f"{UNKNOWN} {reason}:")
    if len(reasons) > FINDINGS:
        yield f"... and {len(reasons) - FINDINGS:,} more reasons"


def _listed(cells: Sequence[Cell], what: str, *, nonfinite: bool = False) -> Iterable[str]:
    if not cells:
        return []
    named = first_of(cells, FINDINGS, lambda cell: _names(cell) + (f" ({cell.note})" if nonfinite and cell.note else ""))
    return [f"{what} {named}"]


def _names(cell: Cell) -> str:
    return name_text(span(cell.names[0], cell.names[-1]) if len(cell.names) > 1 else cell.names[0])
