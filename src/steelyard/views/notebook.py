"""Weights as HTML for a notebook: tables and foldable parts, which every notebook lets through.

There is no script and no drawing, since notebooks that are not trusted lose both, and no colour of its own,
so that it reads on a light and on a dark page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from steelyard.views.rows import Row, rows_of
from steelyard.views.table import TIMES, dtype_text, live_findings, name_text, shape_text, totals

if TYPE_CHECKING:
    from steelyard.core.weights import Weights

LIMIT = 200
"""Rows that are shown: a notebook keeps every cell's output in its file."""
OPEN = 40
"""Rows up to which nothing is folded away."""

_HEADS = ("name", "shape", "dtype", "role", "", "parameters")
_RIGHT = {"", "parameters"}


def html(weights: Weights) -> str:
    """Return the table as HTML; everything that comes from a model or a file is escaped.

    Repeated blocks are folded, many rows are put away by layer, and no more than 200 are shown.
    Weights of a live model are looked through for NaN and Inf.
    """
    if not weights:
        return "<p>no weights</p>"
    rows = rows_of(weights)
    parts = [_table(rows)] if len(rows) <= OPEN else list(_by_layer(rows[:LIMIT]))
    if len(rows) > LIMIT:
        parts.append(f"<p>... and {len(rows) - LIMIT:,} more rows; <code>select(...)</code> shows a part of them</p>")
    parts.append(f"<p>{escape(totals(weights))}</p>")
    parts += [f"<p><strong>{escape(line)}</strong></p>" for line in live_findings(weights)]
    return f"<div>{''.join(parts)}</div>"


def _by_layer(rows: Sequence[Row]) -> Iterator[str]:
    """Put away the rows of each layer, by the first part of its name in which the layers differ."""
    words = {id(row): re.split(r"[./]", row.name, maxsplit=16) for row in rows}
    first = words[id(rows[0])]
    depth = next((nth for nth in range(len(first)) if any(words[id(row)][: nth + 1] != first[: nth + 1] for row in rows)), 0)
    for key, members in groupby(rows, lambda row: tuple(words[id(row)][: depth + 1])):
        group = list(members)
        size = sum(row.size for row in group)
        count = sum(row.times for row in group)
        title = f"{escape(name_text('.'.join(key)))} &middot; {count:,} weight{'s' * (count != 1)}, {size:,} parameters"
        yield f"<details><summary>{title}</summary>{_table(group)}</details>"


def _table(rows: Sequence[Row]) -> str:
    head = "".join(_cell("th", text, text) for text in _HEADS)
    lines = ("".join(_cell("td", text, head) for head, text in zip(_HEADS, _texts(row), strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _texts(row: Row) -> tuple[str, ...]:
    weight = row.weight
    tied = "" if row.counted or weight.tied is None else f"tied to {name_text(weight.tied)}"
    return (
        name_text(row.name),
        shape_text(weight),
        dtype_text(weight),
        str(weight.role),
        f"{row.times:,} {TIMES}" if row.times > 1 else "",
        tied or f"{row.size:,}",
    )


def _cell(tag: str, text: str, head: str) -> str:
    return f'<{tag} style="text-align:{"right" if head in _RIGHT else "left"}">{escape(text)}</{tag}>'
