"""The net as a whole for a page: its grid of blocks, its size, and its architecture; no number is read.

The page fills the cells of the grid with the statistics of its rows, so that a live page has them as it learns them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.gc_pause import uncollected
from steelyard.core.packing import packed, parts_of
from steelyard.core.roles import plain_layer
from steelyard.core.weight import Refused
from steelyard.errors import ShapeError, SteelyardError, printable, quoted
from steelyard.inspector.index import AFTER, places_of

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.inspector.index import OpenedSource, Row

MOST = 2_000
"""The layers of a view at most: a page draws each."""
COLUMNS = 256
"""The columns of a grid at most."""
_RANGE = re.compile(r"\[([0-9]+)-[0-9]+\]")
_CODES = "packed; --effective shows its numbers"


@uncollected()
def net_record(view: str, sources: Sequence[OpenedSource], rows: Sequence[Row]) -> dict[str, Any]:
    """Return what one of the `VIEWS` shows; `error` says why there is nothing. Raises `ShapeError` for another view."""
    if view not in VIEWS:
        raise ShapeError(f"unknown view {quoted(view, 40)}; choose one of {', '.join(VIEWS)}")
    try:
        return VIEWS[view](sources, rows)
    except SteelyardError as error:
        return {"error": str(error)}


def _grid(sources: Sequence[OpenedSource], rows: Sequence[Row]) -> dict[str, Any]:
    """Return the row and the column of each weight, both -1 for one outside of the blocks."""
    from steelyard.measures.grid import layout_of

    shown = [row.weight for row in rows]
    found = layout_of(shown, ordered=len(sources) == 1)
    names = [weight.name for weight in shown]
    nowhere = -1, -1
    spots = chain.from_iterable(found.places.get(name, nowhere) for name in names)
    places = np.fromiter(spots, np.int32, 2 * len(names)).reshape(-1, 2)
    places[places[:, 1] >= COLUMNS] = -1
    outside = {*found.outside}
    codes = parts_of(packed(sources[AFTER].weights))
    noted = [(nth, each) for nth, each in enumerate(shown) if each.name in codes or isinstance(each.read, Refused)]
    notes = {nth: weight.unreadable or _CODES for nth, weight in noted}
    return {
        "kind": found.kind,
        "rows": list(found.rows),
        "columns": list(found.columns)[:COLUMNS],
        "hidden": max(len(found.columns) - COLUMNS, 0),
        "down": places[:, 0],
        "across": places[:, 1],
        "outside": [nth for nth, name in enumerate(names) if name in outside][:MOST],
        "notes": {str(nth): printable(note, 300) for nth, note in notes.items()},
    }


def _size(sources: Sequence[OpenedSource], rows: Sequence[Row]) -> dict[str, Any]:
    from steelyard.measures.size import size_of
    from steelyard.measures.size.beside import beside

    opened = sources[AFTER]
    record = size_of(opened.weights, places=places_of(opened, rows)).to_dict()
    if isinstance(opened.source, (str, os.PathLike)):
        record["beside"] = beside(opened.source, opened.weights)._asdict()
    first = _first_rows(rows)
    kept, record["hidden"] = record["rows"][:MOST], max(len(record["rows"]) - MOST, 0)
    words = ("name", "label", "depth", "times", "parameters", "share", "buffers", "other", "nbytes", "tied", "leaf", "role")
    record["rows"] = [{**{word: row[word] for word in words}, "row": first(row["name"])} for row in kept]
    return record


def _architecture(sources: Sequence[OpenedSource], rows: Sequence[Row]) -> dict[str, Any]:
    """Return the layers in order; none where no graph is known, since the page has them by their names."""
    from steelyard.measures.architecture import architecture

    listed: Weights = sources[AFTER].weights
    if listed.graph is None or not listed.graph.layers:
        return {"order": "names", "why": listed.why_no_graph, "inputs": {}, "outside": [], "rows": [], "hidden": 0}
    record = architecture(listed).to_dict()
    first = _first_rows(rows)
    kept = [{**row, "row": first(row["name"]) if row["shapes"] else -1} for row in record["rows"][:MOST]]
    return {**record, "rows": kept, "hidden": len(record["rows"]) - len(kept)}


def _first_rows(rows: Iterable[Row]) -> Callable[[str], int]:
    """Return a function that finds the first row of a layer, or of the first of repeated ones, -1 for none."""
    shown = [row.weight for row in rows]
    known = _first([weight.name for weight in shown])
    layers = [weight.layer for weight in shown]
    first_of = _first(layers)
    for layer in dict.fromkeys(layers):
        name, nth = plain_layer(layer) if "/" in layer else layer, first_of[layer]
        for _ in range(32):
            if not name or known.get(name, nth + 1) <= nth:
                break
            known[name] = nth
            name = name[: max(name.rfind("."), name.rfind("/"), 0)] if "/" in name else name.rpartition(".")[0]

    def first(name: str) -> int:
        one = name if name in known else _RANGE.sub(r"\1", name.partition(" \u2026 ")[0])
        return known.get(one, -1)

    return first


def _first(words: Sequence[str]) -> dict[str, int]:
    """Return the first place of each word."""
    return dict(zip(reversed(words), range(len(words) - 1, -1, -1), strict=True))


VIEWS: dict[str, Callable[[Sequence[OpenedSource], Sequence[Row]], dict[str, Any]]] = {
    "grid": _grid,
    "size": _size,
    "architecture": _architecture,
}
"""What makes each view."""
