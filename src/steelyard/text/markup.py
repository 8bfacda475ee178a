"""HTML that every notebook accepts: tables, foldable sections and paragraphs. All text is escaped here and nowhere else.

There are no scripts and no drawings, since untrusted notebooks lose both, and no styles but those that their
sanitizers keep. No text has a colour of its own, so that it is readable on a light and on a dark page.

A table has one line a row, unless a cell is a sentence. Columns that do not fit are in a section below it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from html import escape

from steelyard.errors import printable
from steelyard.text.sparkline import ABOVE, BELOW, WIDTH
from steelyard.text.sparkline import BARS as SHAPES
from steelyard.text.table import FIGURES, SIGNED, Column
from steelyard.text.terminal import cut_alike
from steelyard.text.tints import alarm, bars_html, scale_of, tint
from steelyard.text.units import counted

LIMIT = 200
"""Maximum rows shown: a notebook stores every cell's output in its file."""
LARGEST = 180_000
"""Maximum bytes of one display; hostile names could make each row thousands of bytes long."""
READ = 1 << 27
"""Maximum bytes read for a display, which takes a fraction of a second; more is read only on request."""
EACH = 1 << 15
"""Bytes added to each weight's size for the overhead of reading it: many small weights take as long as a large one."""
CELL, LINE = 300, 600
"""Maximum characters of a cell and of a sentence; longer ones are cut in the middle."""
SENTENCES = 20
"""Maximum sentences below a table; the rest is counted."""
BARS = "font-family:monospace;white-space:pre;"
"""The style of a histogram: equal widths, and preserved spaces, which keep the bars on the axis."""
ROOM = 860
"""Pixels that a table may take: the width of an output in a window of 1300 pixels, with a side bar."""
_LETTER, _DIGIT, _PADDING = 6.4, 7.9, 13
"""Pixels of a letter, of a digit, and of the space around a cell, in a wide font."""
_NAME = 52
"""Characters of a name that are shown before any column is moved; a longer one is cut in the middle, if there is no room."""
_SENTENCE = 60
"""A text of more characters is a sentence, which may take several lines."""
_LEFT, _RIGHT = "text-align:left;", "text-align:right;"
_LINE, _INDENTED = "white-space:nowrap;", "white-space:pre;"
_UNBROKEN = re.compile(r"-?[\w.,]*")
"""A text that no browser breaks: the file of the notebook is smaller if its style does not say so."""
_HISTOGRAM = re.compile(f"[{BELOW} ][{SHAPES}]{{{WIDTH}}}[{ABOVE} ]")


def shown(text: object, limit: int = LINE) -> str:
    r"""Escape a text for HTML; characters that change the text direction or break lines become escape sequences.

    >>> print(shown("<b>\u202e"))
    &lt;b&gt;\u202e
    """
    return escape(printable(text, limit))


def page(parts: Iterable[str]) -> str:
    """Wrap parts in one element."""
    return f"<div>{''.join(parts)}</div>"


def beside(parts: Iterable[str]) -> str:
    """Put parts next to each other where there is room, else below each other."""
    style = "display:inline-block;vertical-align:top;margin:0 2em 0.5em 0;"
    return "".join(f'<div style="{style}">{part}</div>' for part in parts if part)


def within(rows: int, made: Callable[[int], str]) -> str:
    """Return the page `made` of at most `LIMIT` rows, or of fewer if it would be too large."""
    most = min(rows, LIMIT)
    while len((page := made(most)).encode()) > LARGEST and most:
        most = most * 3 // 4
    return page


def lines(texts: Iterable[str], *, strong: bool = False) -> str:
    """Return a paragraph for each sentence."""
    begin, end = ("<strong>", "</strong>") if strong else ("", "")
    return "".join(f"<p>{begin}{shown(text)}{end}</p>" for text in _first(texts, SENTENCES))


def block(texts: Iterable[str]) -> str:
    """Return lines of text in a fixed-width block, which preserves their alignment."""
    body = "\n".join(shown(text, CELL // 2) for text in _first(texts, LIMIT))
    return f'<pre style="{BARS}">{body}</pre>'


def _first(texts: Iterable[str], most: int) -> list[str]:
    """Return the first texts, and a count of the rest."""
    listed = list(texts)
    return listed if len(listed) <= most else [*listed[:most], f"... and {counted(len(listed) - most, 'more line')}"]


def more(rows: int, most: int, what: str = "more rows") -> str:
    """Count the rows that are not shown, if any."""
    return lines([f"... and {rows - most:,} {what}"] if rows > most else [])


def foldable(title: str, body: str, *, bars: str = "") -> str:
    """Return a section that a click or a key opens; `bars` is a histogram after its title, below those of its neighbours."""
    drawn = f' <span style="{BARS}">{_bars(bars)}</span>' if bars else ""
    name = f'<span style="display:inline-block;min-width:24em;">{shown(title)}</span>' if bars else shown(title)
    begin = f'<details><summary style="cursor:pointer;{_LINE}">{name}{drawn}</summary>'
    return f'{begin}<div style="margin-left:1.5em;">{body}</div></details>'


def rows_html(columns: Sequence[Column], caption: str = "") -> str:
    """Return a table of columns: the first has the row headers, empty ones are left out, and figures without room are below."""
    columns = [column for column in columns if any(column.texts)]
    if not columns:
        return lines([caption]) if caption else ""
    kept, rest = _fitting(columns)
    below = foldable(", ".join(column.head for column in rest), _table_of([columns[0], *rest], "")) if rest else ""
    return _table_of(kept, caption) + below


def _table_of(columns: Sequence[Column], caption: str) -> str:
    end = scale_of(text for column in columns if _signed(column) for text in column.texts)
    room = max(int((ROOM - sum(map(_width, columns[1:])) - _PADDING) / _LETTER), _NAME)
    styles, names = [_style(column) for column in columns], cut_alike(columns[0].texts, room)
    head = "".join(
        f'<th scope="col" style="{_on_one_line(style)}">{shown(column.head, CELL)}</th>'
        for column, style in zip(columns, styles, strict=True)
    )
    cells = [
        [_name(text, style, names[text]) for text in column.texts]
        if not nth
        else [_cell(column, text, style, end) for text in column.texts]
        for nth, (column, style) in enumerate(zip(columns, styles, strict=True))
    ]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in zip(*cells, strict=True))
    return f"{_table(caption)}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _fitting(columns: Sequence[Column]) -> tuple[list[Column], list[Column]]:
    """Return the columns of a table of `ROOM` pixels, and the figures that do not fit, both in their order."""
    name = min(columns[0].width, _NAME) * _LETTER + _PADDING
    moved: list[Column] = []
    for key in FIGURES:
        if name + sum(_width(column) for column in columns[1:] if column not in moved) <= ROOM:
            break
        moved += [column for column in columns[1:] if column.key == key]
    return [column for column in columns if column not in moved], [column for column in columns if column in moved]


def _width(column: Column) -> float:
    return min(column.width, _SENTENCE) * _DIGIT + _PADDING


def facts_html(facts: Iterable[tuple[str, str]], caption: str = "") -> str:
    """Return a table of facts: a word and a text on each row."""
    rows = (
        f'<tr><th scope="row" style="{_LEFT}">{shown(word, CELL)}</th>'
        f'<td style="{_LEFT}{BARS if word == "histogram" else "white-space:pre-wrap;"}">{_bars(text)}</td></tr>'
        for word, text in facts
        if text
    )
    return f"{_table(caption)}<tbody>{''.join(rows)}</tbody></table>"


def _table(caption: str) -> str:
    # notebooks would centre the table
    head = f'<caption style="caption-side:top;{_LEFT}">{shown(caption)}</caption>' if caption else ""
    return f'<table style="border-collapse:collapse;margin:0 0 1em 0;font-size:11.5px;">{head}'


def _style(column: Column) -> str:
    side = _RIGHT if column.right else _LEFT
    return side + BARS if column.key == "histogram" else side


def _on_one_line(style: str) -> str:
    return style if BARS in style else style + _LINE


def _signed(column: Column) -> bool:
    return column.key in SIGNED and column.key != "cosine"  # nearly all cosines are 1


def _name(text: str, style: str, short: str) -> str:
    """Return the header of a row; a name that is cut is whole when one points at it."""
    whole = "" if short == text else f' title="{shown(text, CELL)}"'
    spaces = _INDENTED if text.startswith(" ") else _LINE  # the levels of a tree
    return f'<th scope="row"{whole} style="{style}font-weight:normal;{spaces}">{shown(short, CELL)}</th>'


def _cell(column: Column, text: str, style: str, end: float) -> str:
    if column.key == "histogram":
        return f'<td style="{style}">{_bars(text)}</td>'
    style += _LINE if len(text) <= _SENTENCE and not _UNBROKEN.fullmatch(text) else ""
    style += tint(text, end) if _signed(column) else alarm(text) if column.key == "severity" else ""
    return f'<td style="{style}">{shown(text, CELL)}</td>'


def _bars(text: str) -> str:
    """Escape a text, and colour the histogram in it, if there is one."""
    found = _HISTOGRAM.search(text)
    if found is None:
        return shown(text, CELL)
    middle = 1 + WIDTH // 2
    return f"{shown(text[: found.start()])}{bars_html(found[0], (middle, middle + 1))}{shown(text[found.end() :])}"
