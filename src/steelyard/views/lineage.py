"""How nets are related, as text: a table of pairs and a tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from steelyard.views.differences import columns, figure
from steelyard.views.table import name_text

if TYPE_CHECKING:
    from steelyard.measures.lineage import Kinship, Lineage

SHOWN = 60
"""Pairs that a table shows, the nearest first."""
HEAD = ("", "", "distance", "shared", "likeness", "p", "")


def lineage_lines(found: Lineage) -> Iterator[str]:
    """Yield the pairs, the nearest first, then duplicates, the tree, and how to read it."""
    if len(found.names) < 2:
        yield "nothing to compare"
    pairs = sorted(found.pairs, key=lambda pair: 2.0 if pair.distance is None else pair.distance)
    if pairs:
        yield from columns([HEAD, *map(_cells, pairs[:SHOWN])], right=range(2, 6))
    if len(pairs) > SHOWN:
        yield f"... and {len(pairs) - SHOWN:,} more pairs, farther apart"
    yield from (f"the same weights: {', '.join(map(name_text, group))}" for group in found.duplicates)
    if found.tree is not None:
        yield from ("", *_tree(found.tree))
    if any(pair.p is not None for pair in pairs):
        yield ""
        yield "p: how often hidden units in random order, as those of independently trained nets are, would be as alike"


def kinship_line(pair: Kinship) -> str:
    """Write what two nets have in common on one line."""
    distance, shared, likeness, p, verdict = _cells(pair)[2:]
    told = f"distance {distance}, {shared} weights shared, likeness {likeness}, p {p}"
    return f"{name_text(pair.a)} and {name_text(pair.b)}: {told}{': ' if verdict else ''}{verdict}"


def _cells(pair: Kinship) -> tuple[str, ...]:
    return (
        name_text(pair.a),
        name_text(pair.b),
        figure(pair.distance),
        f"{pair.shared:,} of {pair.common:,}",
        figure(pair.likeness),
        figure(pair.p),
        pair.verdict,
    )


def _tree(root: Any) -> Iterator[str]:
    """Yield the tree as text: what was joined at which distance, and below it both parts."""
    pending = [(root, "", "", "")]
    while pending:
        node, before, mark, below = pending.pop()
        if isinstance(node, str):
            yield f"{before}{mark}{name_text(node)}"
            continue
        one, other, distance = node
        yield f"{before}{mark}{figure(distance)}"
        inner = before + below
        pending += [(other, inner, "\u2514\u2500 ", "   "), (one, inner, "\u251c\u2500 ", "\u2502  ")]
