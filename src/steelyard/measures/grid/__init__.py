"""`grid`: one picture of a net, in which rows are its blocks and columns their parts, such as `attn.q` and `mlp.up`.

The numbers are those of `stats` and `diff`: every number is read once, and once of each side where two nets are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from steelyard.errors import ShapeError, printable, quoted
from steelyard.io import weights
from steelyard.measures.grid.layout import Layout, layout_of
from steelyard.measures.grid.scale import Scale, scale_of
from steelyard.measures.grid.values import MEASURES, Cell, by_name, cell_of_differences, cell_of_summaries, read_all
from steelyard.measures.grid.words import OF_ONE, OF_TWO
from steelyard.text import tabular

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.measures.diff import Diff

__all__ = ["Cell", "Grid", "Layout", "Scale", "grid", "layout_of"]


class Grid:
    """A net as a grid: `cells[r][c]` is the cell of the block `rows[r]` and the part `columns[c]`, None where there is none.

    `value` is the word for what the cells show, and `scale` that of their colours, which the cells of the rows set. A cell has
    the `names` of its weights, mostly one; parts that a block has many of, such as experts, share a cell. `outside` are the cells
    of weights that are in no block, such as embeddings, and `left_out` names the counters. `kind` is "blocks"; "layers" for
    a net without repeated blocks, whose rows are layers and whose columns are the weights of a layer; or "weights", with one
    column, where names show neither.
    `notes` say how two nets were paired.
    """

    __slots__ = ("cells", "columns", "kind", "left_out", "notes", "outside", "rows", "scale", "value")

    def __init__(self, layout: Layout, value: str, cell_of: Callable[[Sequence[str]], Cell], notes: Sequence[str] = ()) -> None:
        self.kind, self.rows, self.columns = layout.kind, list(layout.rows), list(layout.columns)
        self.value = value
        names: dict[tuple[int, int], list[str]] = {}
        for name, place in layout.places.items():
            names.setdefault(place, []).append(name)
        cells = {place: cell_of(own) for place, own in names.items()}
        across = range(len(self.columns))
        self.cells = [[cells.get((row, column)) for column in across] for row in range(len(self.rows))]
        self.outside = [cell_of([name]) for name in layout.outside]
        self.left_out = list(layout.left_out)
        self.notes = list(notes)
        inside, outside = ([each.value for each in some if each.value] for some in (cells.values(), self.outside))
        self.scale = scale_of(MEASURES[value].scale, filter(isfinite, inside or outside))

    def __repr__(self) -> str:
        from steelyard.text.grid_text import grid_text

        return grid_text(self)

    def _repr_html_(self) -> str:
        from steelyard.text.grid_html import grid_html

        return grid_html(self)

    @property
    def what(self) -> str:
        """What the cells show, in words."""
        return MEASURES[self.value].what

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return {
            "kind": self.kind,
            "value": self.value,
            "what": self.what,
            "scale": self.scale._asdict(),
            "rows": self.rows,
            "columns": self.columns,
            "cells": [[None if cell is None else cell.to_dict() for cell in row] for row in self.cells],
            "outside": [cell.to_dict() for cell in self.outside],
            "left_out": self.left_out,
            "notes": self.notes,
        }

    def to_records(self) -> list[dict[str, Any]]:
        """Return a record of each cell, row by row; those of weights outside the blocks, which come last, have neither label."""
        inside = [
            {"row": row, "column": column, **cell.to_dict()}
            for row, cells in zip(self.rows, self.cells, strict=True)
            for column, cell in zip(self.columns, cells, strict=True)
            if cell is not None
        ]
        return [*inside, *({"row": None, "column": None, **cell.to_dict()} for cell in self.outside)]

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the records as columns, with one string or number for each cell; several names are joined by spaces."""
        from steelyard.text.frames import columns_of

        return columns_of({**record, "names": " ".join(record["names"])} for record in self.to_records())

    to_frame = tabular.to_frame
    write = tabular.write


def grid(source: object, *, value: str | None = None, before: object = None, effective: bool = False) -> Grid:
    """Return a net as a grid: its blocks are rows, their parts columns, and each cell has one number.

    `value` is "std" (the default), "norm", "rms", "mean", "max_abs", "sparsity" (the share of zeros) or "nonfinite" (the count of
    NaN and Inf), each as `stats` has it. With `before`, an older net, or the `Diff` of both, it is "change" (the default: |after
    - before| / |before| in l2 norms), "rank" (that of a low-rank change, as the verdicts of `diff` find it; 0 for no change) or
    "equal" (the share of entries that are equal in every bit). Blocks are found by names: numbers after which names repeat.
    Fused weights are one column, under their own name. A cell of several weights, such as experts, has the statistic of
    all their numbers together, or the change of the one that changed most.

    Tied weights are read once. With `effective` the weights are those of `Weights.effective`; without it, the codes of packed
    weights are marked, not measured, as are weights that cannot be read. Memory use is bounded. Raises the errors of `weights`,
    with `before` those of `diff`, and `ShapeError` for an unknown `value`.

    Examples:
        >>> import numpy as np
        >>> net = {f"h.{nth}.{part}.weight": np.full((2, 2), nth + 1.0) for nth in range(3) for part in ("attn", "mlp")}
        >>> found = grid({"wte.weight": np.ones((9, 2)), **net}, value="norm")
        >>> found.rows, found.columns, found.cells[2][1].value
        (['h.0', 'h.1', 'h.2'], ['attn.weight', 'mlp.weight'], 6.0)
        >>> found.outside[0].names
        ('wte.weight',)
    """
    known = OF_ONE if before is None else OF_TWO
    value = known[0] if value is None else value
    if value not in known:
        other = "only with before" if value in OF_TWO else "only without before" if value in OF_ONE else "not known"
        raise ShapeError(f"value is {quoted(value)}, which is {other}; choose one of {', '.join(known)}")
    after = weights(source)
    after = after.effective() if effective else after
    return _measured(after, value) if before is None else _compared(after, before, value, effective=effective)


def _measured(source: Weights, value: str) -> Grid:
    """Return the grid of a statistic."""
    layout = layout_of(source.values())
    reads = read_all(source, [*layout.places, *layout.outside])
    tied = {name: weight.tied for name, weight in source.items() if weight.tied is not None}
    return Grid(layout, value, lambda names: cell_of_summaries(names, reads, MEASURES[value], tied))


def _compared(after: Weights, before: object, value: str, *, effective: bool) -> Grid:
    """Return the grid of differences; weights that only the older net has are in it, too."""
    from steelyard.measures.diff import Diff, diff

    older: Mapping[str, Weight] = {}
    if not isinstance(before, Diff):
        older = weights(before).effective() if effective else weights(before)
        before = diff(_readable(older), _readable(after), verdicts=value == "rank")
    return grid_of_diff(before, after, older, value)


def _readable(listed: Any) -> Weights:
    """Return the weights that can be read, as far as the listing shows; the others have a cell that says so."""
    kept = [weight for weight in listed.values() if weight.unreadable is None]
    return listed if len(kept) == len(listed) else listed.with_weights(kept)  # type: ignore[no-any-return]


def grid_of_diff(found: Diff, after: Weights, older: Mapping[str, Weight], value: str) -> Grid:
    """Return the grid of differences that are already known; `older` has the weights that the newer net may lack."""
    rows = by_name(found)
    removed = [older[name] for name, row in rows.items() if row.kind == "removed" and name in older and name not in after]
    return Grid(
        layout_of([*after.values(), *removed]),
        value,
        lambda names: _unread(names, after) or cell_of_differences(names, rows, MEASURES[value]),
        found.notes,
    )


def _unread(names: Sequence[str], after: Weights) -> Cell | None:
    """Return the cell of weights of which one cannot be read."""
    reasons = [after[name].unreadable for name in names if name in after and after[name].unreadable is not None]
    return Cell(None, tuple(names), printable(reasons[0], 600)) if reasons else None
