"""What a page is told at once: the sides that are looked at, their weights as rows, and the facts of each row."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import steelyard
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import printable
from steelyard.io import weights
from steelyard.measures.check import would_have_run
from steelyard.measures.diff.pairing import Couple, couple
from steelyard.numerics.picture import matrix_of
from steelyard.text.records import weight_record
from steelyard.text.table import notes

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.measures.diff import Difference

    Key = tuple[str, str]
    """What weights that share their numbers have in common."""

FACTS = ("name", "layer", "shape", "dtype", "role", "axes", "trainable", "tied", "encoding")
FIGURES = ("min", "max", "mean", "std", "l2", "zeros", "nan", "inf")
"""The figures that a row of the index has."""
DIFFERENCES = ("kind", "changed", "max_abs", "relative", "cosine")


class Side(NamedTuple):
    """One of the one or two nets that are looked at."""

    name: str
    weights: Weights
    source: Any


class Row(NamedTuple):
    """One line of the page: a weight of the first side, of the second, or both; and the couple that they are part of."""

    weights: tuple[Weight | None, ...]
    couple: Couple | None = None

    @property
    def weight(self) -> Weight:
        """The weight whose facts the row has."""
        return next(weight for weight in self.weights if weight is not None)

    def key(self, side: int) -> Key | None:
        """Return what is the same for all rows with the same numbers; None where the side has no such weight.

        A weight that is laid out as its partner is has numbers of its own.
        """
        weight = self.weights[side]
        if weight is None:
            return None
        if side == 1 and self.couple is not None and self.couple.other is not None and self.couple.why == "layer":
            return "as", self.couple.other.name
        return "of", weight.tied or weight.name


def side_of(source: Any, scope: Scope = "model") -> Side:
    """Open what is looked at, the model's weights or every tensor of a file. Raises what `weights` raises."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        return Side(os.path.basename(path.rstrip("/")) or path, weights(path, scope=scope), source)
    return Side("weights" if isinstance(source, Weights) else type(source).__name__, weights(source), source)


def rows_of(sides: Sequence[Side]) -> tuple[list[Row], list[str]]:
    """Return a row for each weight, those of the first side in their order and then what only the second has, and notes.

    The weights of two sides are paired as `diff` pairs them; of the second side, which is the older, weights of another
    framework are laid out as those of the first.
    """
    model = sides[0].weights
    if len(sides) < 2:
        return [Row((weight,)) for weight in model.values()], []
    against = sides[1].weights
    found = couple(against, model, (_known_best(sides[1]), _known_best(sides[0])))
    by_name = {each.other.name: each for each in found.couples if each.other is not None}
    rows = []
    for weight in model.values():
        own = by_name.get(weight.name) or by_name.get(weight.tied or weight.name)
        rows.append(Row((weight, own.one if own else against.get(weight.name)), own))
    rows += [Row((None, each.one), each) for each in found.couples if each.other is None]
    return rows, found.notes


def _known_best(side: Side) -> Any:
    """Return what knows most of a net's layers: the live model, or the weights of a file."""
    return side.weights if isinstance(side.source, (str, os.PathLike)) else side.source


def index_of(sides: Sequence[Side], rows: Sequence[Row], told: Sequence[str] = (), *, live: bool) -> dict[str, Any]:
    """Return what a page is told at once, without any figure: what is known without reading a number."""
    columns: dict[str, Any] = {word: [] for word in FACTS}
    for row in rows:
        record = weight_record(row.weight)
        for word in FACTS:
            columns[word].append(record[word])
    columns["matrix"] = [list(matrix_of(row.weight.shape)) for row in rows]
    columns["size"] = np.array([row.weight.size for row in rows], np.float64)
    columns["bytes"] = np.array([row.weight.nbytes for row in rows], np.float64)
    columns |= {word: [None] * len(rows) for word in FIGURES}
    if len(sides) > 1:
        columns["sides"] = [[weight is not None for weight in row.weights] for row in rows]
        columns["source"] = [row.weights[1].name if row.weights[1] else "" for row in rows]
        columns |= difference_columns([None] * len(rows), rows)
    return {
        "version": steelyard.__version__,
        "live": live,
        "notes": [printable(note, 1000) for note in told],
        "sides": [_side_record(side) for side in sides],
        "columns": columns,
        "spark": None,
        "findings": [finding_record(each) for each in would_have_run(sides[0].weights)],
    }


def _side_record(side: Side) -> dict[str, Any]:
    found = side.weights
    return {
        "name": side.name,
        "weights": len(found),
        "tied": len(found) - len(found.distinct()),
        "parameters": found.size,
        "bytes": found.nbytes,
        "notes": notes(found),
    }


def difference_columns(found: Iterable[Difference | None], rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Return what differs in each row by columns; of those not compared only what is seen without reading."""
    records = [difference_record(each, row) for each, row in zip(found, rows, strict=True)]
    return {word: [record[word] for record in records] for word in (*DIFFERENCES, "verdict")}


def difference_record(found: Difference | None, row: Row) -> dict[str, Any]:
    """Return what differs in a row."""
    if found is None:
        return {**dict.fromkeys(DIFFERENCES), "verdict": "", "kind": _kind(row)}
    compared = found.kind in ("equal", "changed", "renamed")
    numbers = {word: getattr(found, word) if compared else None for word in DIFFERENCES}
    return {**numbers, "kind": found.kind, "verdict": str(found.verdict or "")}


def _kind(row: Row) -> str | None:
    """Return what the difference is as far as it shows without reading."""
    one, other = row.weights[1], row.weights[0]
    if one is None or other is None:
        return "added" if one is None else "removed"
    return None if one.shape == other.shape else "shape"


def finding_record(finding: Any) -> dict[str, Any]:
    """Return a finding as plain Python, without its evidence."""
    record: dict[str, Any] = finding.to_dict()
    return {word: record[word] for word in ("kind", "severity", "name", "what", "place")}
