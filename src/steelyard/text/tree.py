"""Weights as a tree of layers in HTML: a few rows are a table, many are folded by layer."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from steelyard.text.markup import foldable, lines, rows_html
from steelyard.text.table import Column, fact_columns, number_columns
from steelyard.text.units import counted

if TYPE_CHECKING:
    from steelyard.text.rows import Measured

OPEN = 40
"""Up to this many rows nothing is folded."""
_DEEPEST = 16
"""Maximum words of a name that are compared."""


def tree(stats: Sequence[Measured], end: float | None, caption: str = "", without: Collection[str] = ("layer",)) -> Iterator[str]:
    """Yield a table, or a foldable section for each layer, by the first word in which the rows' names differ.

    Histograms reach from minus to plus `end`; without it there are no statistics. A row that is alone in its layer is
    not folded. `without` are the columns that are left out: each name begins with its layer.
    """
    words = [re.split(r"[./]", each.row.name, maxsplit=_DEEPEST) for each in stats]
    depth = next((nth for nth in range(_DEEPEST + 1) if any(own[: nth + 1] != words[0][: nth + 1] for own in words)), None)
    if len(stats) <= OPEN or depth is None:
        yield rows_html(_columns(stats, end, without), caption)
        return
    if caption:
        yield lines([caption if end is None else f"{caption}; histograms reach from {-end:g} to {end:g}"])
    keys = iter(words)
    groups = [list(members) for _, members in groupby(stats, lambda _: next(keys)[: depth + 1])]
    for alone, some in groupby(groups, lambda group: len(group) == 1):
        if alone:
            yield rows_html(_columns([group[0] for group in some], end, without))
        else:
            yield from (_layer(group, depth, end, without) for group in some)


def _layer(group: Sequence[Measured], depth: int, end: float | None, without: Collection[str]) -> str:
    count, size = (sum(getattr(each.row, word) for each in group) for word in ("times", "size"))
    name = "".join(re.split(r"([./])", group[0].row.name, maxsplit=_DEEPEST)[: 2 * depth + 1])
    title = f"{name or '(unnamed)'} \u00b7 {counted(count, 'weight')}, {counted(size, 'number')}"
    return foldable(title, "".join(tree(group, end, without=without)), bars="" if end is None else _bars(group, end))


def _bars(group: Sequence[Measured], end: float) -> str:
    """Return the histogram of all numbers in a layer."""
    from steelyard.numerics.summary import Summary
    from steelyard.text.sparkline import bars

    whole = Summary()
    for each in group:
        whole.merge(each.summary)
    return bars(whole, end)


def _columns(stats: Sequence[Measured], end: float | None, without: Collection[str]) -> list[Column]:
    """Return the columns of the terminal's table but for those `without`."""
    columns = [column for column in fact_columns([each.row for each in stats], grouped=False) if column.key not in without]
    return columns if end is None else columns + number_columns(stats, end)
