"""Rows of a picture with a row for each weight: their labels, or those of groups of weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from steelyard.plot.canvas import inks, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Group = tuple[str, int, int]
    """The common prefix of the names of some rows, the index of the first row, and the index after the last."""

NAMED = 40  # rows up to which each has a label
FEW, GROUPS = 8, 40
"""The least and the greatest number of groups; if there are more than fit, the larger ones have labels."""
APART = 34  # labels that fit above each other
LETTERS = 38  # characters of a label
_PARTS = re.compile(r"[./]")


def height_of(count: int) -> float:
    """Return the height in inches of a picture with this number of rows.

    >>> height_of(1), height_of(20), height_of(700)
    (1.7, 6.45, 8.5)
    """
    return min(1.45 + 0.25 * count, 8.5 if count <= NAMED else max(5.5, min(2.0 + 0.05 * count, 8.5)))


def groups_of(names: Sequence[str], limit: int = GROUPS) -> list[Group]:
    """Group consecutive names by their first parts, using as many parts as possible with at most `limit` groups.

    If that gives only a few groups, one more part is used.

    >>> groups_of(["h.0.w", "h.0.b", "h.1.w", "out.w"], 3)
    [('h.0', 0, 2), ('h.1', 2, 3), ('out.w', 3, 4)]
    >>> groups_of(["h.0.w", "h.0.b", "h.1.w", "out.w"], 2)
    [('h', 0, 3), ('out', 3, 4)]
    """
    parts = [_PARTS.split(name) for name in names]
    best: list[Group] = []
    for depth in range(1, max(map(len, parts), default=1) + 1):
        groups: list[Group] = []
        for _, run in groupby(range(len(names)), key=lambda nth: parts[nth][:depth]):
            places = list(run)
            groups.append((_beginning(names[places[0]], depth), places[0], places[-1] + 1))
        if len(groups) > limit and len(best) >= min(FEW, limit):
            break
        best = groups
    return best


def _beginning(name: str, depth: int) -> str:
    """Return the first parts of a name, with their separators."""
    ends = [match.start() for match in _PARTS.finditer(name)]
    return name[: ends[depth - 1]] if len(ends) >= depth else name


def label_rows(ax: Axes, names: Sequence[str]) -> None:
    """Label the rows of an Axes, row 0 at the top; if there are too many, label groups of rows."""
    ink = inks(ax)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0, pad=7, labelsize="small" if len(names) <= 26 else "x-small")
    if len(names) <= NAMED:
        ax.set_yticks(range(len(names)), [shown(name, LETTERS) for name in names])
        return
    groups = groups_of(names)
    kept = _legible(groups, len(names) / APART)
    ax.set_yticks([(start + stop - 1) / 2 for _, start, stop in kept], [shown(label, LETTERS) for label, _, _ in kept])
    for _, start, _ in groups[1:] if len(kept) == len(groups) else ():
        ax.axhline(start - 0.5, color=ink.soft, linewidth=0.3, alpha=0.5)


def _legible(groups: Sequence[Group], apart: float) -> list[Group]:
    """Leave out labels that would overlap the label of a larger group."""
    kept: list[Group] = []
    for group in sorted(groups, key=lambda each: each[1] - each[2]):
        middle = (group[1] + group[2]) / 2
        if all(abs(middle - (start + stop) / 2) >= apart for _, start, stop in kept):
            kept.append(group)
    return sorted(kept, key=lambda each: each[1])
