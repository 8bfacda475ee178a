"""The lineage of nets as text: a table of pairs and a tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from steelyard.text.differences import columns, figure
from steelyard.text.table import name_text
from steelyard.text.terminal import Screen

if TYPE_CHECKING:
    from steelyard.measures.lineage import Kinship, Lineage

SHOWN = 60
"""Maximum pairs of a table, the nearest first."""
HEAD = ("", "", "distance", "shared", "likeness", "p", "")
CHANCE = "p: the probability that hidden units in random order, as in independently trained nets, would be as alike"


def lineage_lines(lineage: Lineage, screen: Screen | None = None) -> Iterator[str]:
    """Yield the pairs, the nearest first, then duplicates, the tree, and an explanation of p."""
    screen = screen or Screen()
    if len(lineage.names) < 2:
        yield "nothing to compare"
    pairs = nearest_first(lineage)
    if pairs:
        yield from columns([HEAD, *map(kinship_cells, pairs[:SHOWN])], right=range(2, 6))
    if len(pairs) > SHOWN:
        yield f"... and {len(pairs) - SHOWN:,} more pairs, farther apart"
    for notes in (name_notes, duplicates, apart):
        yield from map(screen.broken, notes(lineage))
    if lineage.tree is not None:
        yield from ("", *tree_lines(lineage.tree))
    if any(pair.p is not None for pair in pairs):
        yield ""
        yield screen.broken(CHANCE)


def nearest_first(lineage: Lineage) -> list[Kinship]:
    """Return the pairs, sorted by distance; pairs of unknown distance come last."""
    return sorted(lineage.pairs, key=lambda pair: 2.0 if pair.distance is None else pair.distance)


def name_notes(lineage: Lineage) -> Iterator[str]:
    """Yield a line on each pair whose names were paired without the words of wrappers, or could not be."""
    noted = [pair for pair in lineage.pairs if pair.note]
    yield from (f"{name_text(pair.a)} and {name_text(pair.b)}: {pair.note}" for pair in noted[:SHOWN])
    if len(noted) > SHOWN:
        yield f"... and {len(noted) - SHOWN:,} more pairs with such names"


def duplicates(lineage: Lineage) -> Iterator[str]:
    """Yield a line for each group of nets with identical weights."""
    yield from (f"the same weights: {', '.join(map(name_text, group))}" for group in lineage.duplicates)


def apart(lineage: Lineage) -> Iterator[str]:
    """Yield a line on the nets that have no corresponding weights with any other; they are not in the tree."""
    if len(lineage.names) > 1 and lineage.tree is None:
        yield "no two of them have corresponding weights, so there is no tree"
    elif lineage.apart:
        yield f"not in the tree, without corresponding weights in any other: {', '.join(map(name_text, lineage.apart))}"


def kinship_line(pair: Kinship) -> str:
    """Format one pair of nets as one line."""
    distance, shared, likeness, p, verdict = kinship_cells(pair)[2:]
    figures = f"distance {distance}, {shared} weights shared, likeness {likeness}, p {p}"
    return f"{name_text(pair.a)} and {name_text(pair.b)}: {figures}{': ' if verdict else ''}{verdict}"


def kinship_cells(pair: Kinship) -> tuple[str, ...]:
    """Return the cells of one row of the table of pairs."""
    return (
        name_text(pair.a),
        name_text(pair.b),
        figure(pair.distance),
        f"{pair.shared:,} of {pair.common:,}",
        figure(pair.likeness),
        figure(pair.p),
        pair.verdict,
    )


def tree_lines(root: Any) -> Iterator[str]:
    """Yield the tree as text: the distance of each merge, and its two branches below; an unknown distance parts two trees."""
    pending = [(root, "", "", "")]
    while pending:
        node, before, mark, below = pending.pop()
        if isinstance(node, str):
            yield f"{before}{mark}{name_text(node)}"
            continue
        one, other, distance = node
        if distance is None:
            pending += [(other, before, mark, below), (one, before, mark, below)]
            continue
        yield f"{before}{mark}{figure(distance)}"
        inner = before + below
        pending += [(other, inner, "\u2514\u2500 ", "   "), (one, inner, "\u251c\u2500 ", "\u2502  ")]
