"""HTML that every notebook accepts: tables, foldable sections and paragraphs. All text is escaped here and nowhere else.

There are no scripts and no drawings, since untrusted notebooks lose both, and no styles but those that their
sanitizers keep. No text has a colour of its own, so that it is readable on a light and on a dark page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape

from steelyard.errors import printable
from steelyard.text.table import Column

LIMIT = 200
"""Maximum rows shown: a notebook stores every cell's output in its file."""
LARGEST = 180_000
"""Maximum bytes of one display; hostile names could make each row thousands of bytes long."""
CELL, LINE = 300, 600
"""Maximum characters of a cell and of a sentence; longer ones are cut in the middle."""
SENTENCES = 20
"""Maximum sentences below a table; the rest is counted."""
BARS = "font-family:monospace;white-space:pre;"
"""The style of a histogram: equal widths, and preserved spaces, which keep the bars on the axis."""
_LEFT, _RIGHT = "text-align:left;", "text-align:right;"


def shown(text: object, limit: int = LINE) -> str:
    r"""Escape a text for HTML; characters that change the text direction or break lines become escape sequences.

    >>> print(shown("<b>\u202e"))
    &lt;b&gt;\u202e
    """
    return escape(printable(text, limit))


def page(parts: Iterable[str]) -> str:
    """Wrap parts in one element."""
    return f"<div>{''.join(parts)}</div>"


def within(rows: int, made: Callable[[int], str]) -> str:
    """Return the page `made` of at most `LIMIT` rows, or of fewer if it would be too large."""
    most = min(rows, LIMIT)
    while len((page := made(most)).encode()) > LARGEST and most:
        most //= 2
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


def counted(count: int, what: str) -> str:
    """Format a count with its noun.

    >>> counted(1, "weight"), counted(1200, "weight")
    ('1 weight', '1,200 weights')
    """
    return f"{count:,} {what}{'s' * (count != 1)}"


def more(rows: int, most: int, what: str = "more rows") -> str:
    """Count the rows that are not shown, if any."""
    return lines([f"... and {rows - most:,} {what}"] if rows > most else [])


def foldable(title: str, body: str, *, bars: str = "") -> str:
    """Return a section that a click or a key opens; `bars` is a histogram after its title."""
    drawn = f' <span style="{BARS}">{shown(bars)}</span>' if bars else ""
    begin = f'<details><summary style="cursor:pointer;">{shown(title)}{drawn}</summary>'
    return f'{begin}<div style="margin-left:1.5em;">{body}</div></details>'


def rows_html(columns: Sequence[Column], caption: str = "") -> str:
    """Return a table of columns: the first has the row headers, and empty ones are left out."""
    columns = [column for column in columns if any(column.texts)]
    if not columns:
        return lines([caption]) if caption else ""
    head = "".join(f'<th scope="col" style="{_style(column)}">{shown(column.head, CELL)}</th>' for column in columns)
    texts = zip(*(column.texts for column in columns), strict=True)
    body = "".join(f"<tr>{''.join(map(_cell, columns, row, range(len(columns))))}</tr>" for row in texts)
    return f"{_table(caption)}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def facts_html(facts: Iterable[tuple[str, str]], caption: str = "") -> str:
    """Return a table of facts: a word and a text on each row."""
    rows = (
        f'<tr><th scope="row" style="{_LEFT}">{shown(word, CELL)}</th>'
        f'<td style="{_LEFT}{BARS if word == "histogram" else "white-space:pre-wrap;"}">{shown(text, CELL)}</td></tr>'
        for word, text in facts
        if text
    )
    return f"{_table(caption)}<tbody>{''.join(rows)}</tbody></table>"


def _table(caption: str) -> str:
    # notebooks would centre the table
    head = f'<caption style="caption-side:top;{_LEFT}">{shown(caption)}</caption>' if caption else ""
    return f'<table style="border-collapse:collapse;margin:0 0 1em 0;">{head}'


def _style(column: Column) -> str:
    side = _RIGHT if column.right else _LEFT
    return side + BARS if column.key == "histogram" else side


def _cell(column: Column, text: str, place: int) -> str:
    if not place:
        return f'<th scope="row" style="{_style(column)}font-weight:normal;">{shown(text, CELL)}</th>'
    return f'<td style="{_style(column)}">{shown(text, CELL)}</td>'
