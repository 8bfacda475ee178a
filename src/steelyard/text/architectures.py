"""The architecture of a net as text: a table with a row for each layer, and where its order comes from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING

from steelyard.errors import first_of, printable
from steelyard.text.sizes import percent
from steelyard.text.table import MOST_ROWS, TIMES, Column, drawn, name_text
from steelyard.text.terminal import Screen, cut, screen_of
from steelyard.text.units import counted

if TYPE_CHECKING:
    from steelyard.core.graph import Shape
    from steelyard.measures.architecture import Architecture, LayerRow

_NAMED = 5
_SOURCES, _SOURCE = 2, 20
"""Layers that feed another which are named, and the characters of each name."""
_ORDERS = {
    "execution": "the layers are in the order in which they run",
    "definition": "the layers are in the order of definition, which need not be that in which they run",
}


def architecture_text(found: Architecture) -> str:
    """Return the text that printing an architecture in Python shows."""
    lines = list(architecture_lines(found, Screen(screen_of(sys.stdout).width), MOST_ROWS))
    return "\n".join(lines)


def architecture_lines(found: Architecture, screen: Screen, most: int | None = None) -> Iterator[str]:
    """Yield the table, at most so many rows of it, and what is known of the order."""
    if not found.rows:
        yield "no weights"
        return
    rows = found.rows[:most]
    yield from drawn([column for column in layer_columns(rows) if column.width], screen, len(found.rows))
    yield ""
    yield from map(screen.broken, remarks(found))


def layer_columns(rows: Sequence[LayerRow]) -> list[Column]:
    """Return the columns, a row for each layer or block; what is in a block is indented."""
    return [
        Column("name", [f"{'  ' * row.depth}{name_text(row.label)}" for row in rows], head="layer"),
        Column("repeats", [f"{row.times:,} {TIMES}" if row.times > 1 else "" for row in rows], right=True, head=""),
        Column("what", [printable(row.what, 60) for row in rows], head="kind"),
        Column("weights", [weights_text(row) for row in rows]),
        Column("output", [shape_text(row.output_shape) for row in rows]),
        Column("from", [from_text(row) for row in rows]),
        Column("parameters", [f"{row.parameters:,}" if row.parameters else "" for row in rows], right=True),
        Column("share", [percent(row.share) if row.parameters else "" for row in rows], right=True, head="%"),
    ]


def weights_text(row: LayerRow) -> str:
    """Format the shape of the largest weight; that of a bias or a scale is its length."""
    largest = max(row.shapes.values(), key=prod, default=())
    return TIMES.join(map(str, largest))


def shape_text(shape: Shape | None) -> str:
    """Format the shape of an output without its batch; an axis of variable length is "?"."""
    return "" if shape is None else TIMES.join("?" if length is None else f"{length}" for length in shape) or "scalar"


def from_text(row: LayerRow) -> str:
    """Name where the inputs of a layer come from, unless it is the row above; each once, with the times that it is used."""
    if row.sources in ((), ("above",)):
        return ""
    counts = {name: row.sources.count(name) for name in dict.fromkeys(row.sources)}
    named = [f"{cut(name_text(name), _SOURCE)}{f' ({TIMES}{count})' if count > 1 else ''}" for name, count in counts.items()]
    return first_of(named, _SOURCES, str)


def remarks(found: Architecture) -> Iterator[str]:
    """Yield sentences on the net's inputs, the number of parameters, the order, and weights outside of all layers."""
    inputs = [f"{printable(name)} {shape_text(shape)}".strip() for name, shape in found.inputs.items()]
    counts = counted(found.parameters, "parameter")
    yield f"{counts}; inputs: {', '.join(inputs[:_NAMED])}" if inputs else counts
    if found.order == "names":
        why = f": {printable(found.why, 300)}" if found.why else ", the weights alone do not show it"
        yield f"no graph is known{why}; these are the layers by their names, in the order of the names and not of the computation"
    else:
        yield f"{_ORDERS[found.order]}{f'; {found.why}' if found.why else ''}"
    if found.outside:
        yield f"in no layer of the graph: {first_of(found.outside, _NAMED, name_text)}"
