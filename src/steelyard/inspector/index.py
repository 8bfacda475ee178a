"""The index of a page: the opened sources, their weights as rows, and the facts of each row that need no numbers."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import steelyard
from steelyard.core.gc_pause import uncollected
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import printable
from steelyard.io import opened, weights
from steelyard.measures.check import audited
from steelyard.measures.diff.pairing import Couple, couple
from steelyard.measures.headline import sentence
from steelyard.numerics.picture import matrix_of
from steelyard.storage.opening import public
from steelyard.text.order import in_natural_order, order_note
from steelyard.text.rows import counts_of
from steelyard.text.rows import rows_of as folded_rows
from steelyard.text.table import notes

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array
    from steelyard.measures.check.findings import Finding
    from steelyard.measures.diff import Difference
    from steelyard.text.rows import Row as Folded

    Key = tuple[str, str]
    """A key that weights with the same numbers share."""
    Keys = Sequence[Key | None]
    """The key of each row on one side."""

AFTER, BEFORE = 0, 1
"""The sides of a page: the source that it is about, and the older one, if any."""
FACTS = ("name", "layer", "shape", "dtype", "role", "axes", "trainable", "tied", "encoding")
STATISTICS = ("min", "max", "mean", "std", "l2", "zeros", "nan", "inf")
"""The statistics in a row of the index."""
DIFFERENCES = ("kind", "changed", "max_abs", "relative", "cosine", "nonfinite")


class OpenedSource(NamedTuple):
    """A model, a file or arrays with their weights: `source` is the caller's own object, `files` the real paths opened for it."""

    name: str
    weights: Weights
    source: object
    files: Collection[str] = ()


class Row(NamedTuple):
    """A line of the page: a weight of either side or of both, in the order of the sides, and the couple they form."""

    weights: tuple[Weight | None, ...]
    couple: Couple | None = None

    @property
    def weight(self) -> Weight:
        """The weight whose facts the row shows."""
        first = self.weights[0]
        return first if first is not None else next(weight for weight in self.weights if weight is not None)

    def key(self, side: int) -> Key | None:
        """Return a key that all rows with the same numbers share; None where the side has no such weight.

        A weight in the layout of its partner has numbers of its own.
        """
        weight = self.weights[side]
        if weight is None:
            return None
        if side == BEFORE and self.couple is not None and self.couple.other is not None and self.couple.why == "layer":
            return "as", self.couple.other.name
        return "of", weight.tied or weight.name


def places_of(source: OpenedSource, rows: Sequence[Row]) -> list[int]:
    """Return the natural order of the newer source's weights, as `natural` does; the rows have it."""
    places = {name: nth for nth, name in enumerate(source.weights)}
    return [places[weight.name] for weight in (row.weights[AFTER] for row in rows) if weight is not None]


@uncollected()
def keys_of(rows: Sequence[Row], side: int) -> list[Key | None]:
    """Return the key of each row on one side, as `Row.key` does."""
    if side == AFTER:
        return [None if (weight := row.weights[AFTER]) is None else ("of", weight.tied or weight.name) for row in rows]
    return [row.key(side) for row in rows]


def open_source(source: object, scope: Scope = "model") -> OpenedSource:
    """Open anything that `weights` takes: the model's weights, or every tensor of a file. Raises as `weights` does."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        listed, files = opened(path, scope)
        return OpenedSource(file_label(path), listed, source, files)
    return OpenedSource(source_label(source), weights(source), source)


def source_label(source: object) -> str:
    """Return the name under which a page shows a source: of weights read from a file, the file's."""
    if isinstance(source, (str, os.PathLike)):
        return file_label(os.fspath(source))
    if isinstance(source, Weights):
        audit = source._net.audit
        return file_label(audit.file) if audit and audit.file else "weights"
    return type(source).__name__


def file_label(path: str) -> str:
    """Return the last part of a path."""
    path = public(path)
    return os.path.basename(path.rstrip("/")) or path


@uncollected()
def rows_of(sources: Sequence[OpenedSource]) -> tuple[list[Row], list[str]]:
    """Return a row for each weight, and notes on how the weights of two sources were paired.

    Rows follow the natural order of the first source; weights that only the second has come last. Two sources are paired as
    `diff` pairs them: weights of another framework take the layout of the first source.
    """
    after = sources[AFTER].weights
    listed = in_natural_order(after.values(), attrgetter("name"))
    if len(sources) < 2:
        return [Row((weight,)) for weight in listed], []
    before = sources[BEFORE].weights
    coupling = couple(before, after)
    by_name = {each.other.name: each for each in coupling.couples if each.other is not None}
    rows = []
    for weight in listed:
        own = by_name.get(weight.name) or by_name.get(weight.tied or weight.name)
        rows.append(Row((weight, own.one if own else before.get(weight.name)), own))
    gone = in_natural_order(
        (each for each in coupling.couples if each.other is None), lambda each: each.one.name if each.one else ""
    )
    rows += [Row((None, each.one), each) for each in gone]
    return rows, coupling.notes


@uncollected()
def index_of(
    sources: Sequence[OpenedSource],
    rows: Sequence[Row],
    pairing: Sequence[str] = (),
    *,
    live: bool,
    folded: Sequence[Folded] | None = None,
) -> dict[str, Any]:
    """Return the index without any statistics: everything that is known before a number is read.

    `pairing` are notes on how two sources were paired; `live` means that a server answers further questions. `folded` are the
    folded rows of the newer source, if they are known.
    """
    places = places_of(sources[AFTER], rows)
    folded = folded_rows(sources[AFTER].weights, places=places) if folded is None else folded
    columns = _facts([row.weight for row in rows])
    columns["start"] = _starts(sources[AFTER].weights, rows)
    columns |= {word: [None] * len(rows) for word in STATISTICS}
    if len(sources) > 1:
        columns["present"] = [[weight is not None for weight in row.weights] for row in rows]
        columns["name_before"] = [weight.name if weight else "" for weight in (row.weights[BEFORE] for row in rows)]
        columns |= difference_columns([None] * len(rows), rows)
    return {
        "version": steelyard.__version__,
        "live": live,
        "headline": sentence(sources[AFTER].weights, folded),
        "changed": "",
        "notes": [*(printable(note, 1000) for note in pairing), *_reordered(sources[AFTER].weights, places)],
        "sources": [_source_record(each, None if side else folded) for side, each in enumerate(sources)],
        "columns": columns,
        "spark": None,
        "findings": [finding_record(each) for each in audited(sources[AFTER].weights)],
    }


def _facts(shown: Sequence[Weight]) -> dict[str, Any]:
    """Return the facts of weights as columns."""
    columns: dict[str, Any] = {word: list(map(attrgetter(word), shown)) for word in FACTS}
    columns["role"] = list(map(attrgetter("role._value_"), shown))  # `value` is a function of Python, which takes longer
    columns["encoding"] = [weight.derivation.scheme if weight.derivation else weight.encoding for weight in shown]
    kinds = list(zip(columns["shape"], columns["dtype"], strict=True))
    of_kind = {
        kind: (list(weight.shape), list(matrix_of(weight.shape)), weight.size, weight.nbytes)
        for kind, weight in dict(zip(kinds, shown, strict=True)).items()
    }
    known = list(map(of_kind.__getitem__, kinds))
    columns |= {word: list(map(itemgetter(place), known)) for place, word in enumerate(("shape", "matrix", "size", "bytes"))}
    return columns | {word: np.array(columns[word], np.float64) for word in ("size", "bytes")}


def _reordered(after: Weights, places: list[int]) -> list[str]:
    """Return a note if the rows, which have the weights at these places, are in another order than the newer source."""
    note = order_note(after, places)
    return [note] if note else []


def _starts(after: Weights, rows: Sequence[Row]) -> Array:
    """Return the entry of the newer source's vector at which each row starts; -1 for a row without entries of its own.

    The vector has the order of the source, which may be another than that of the rows.
    """
    layout = after._in_vector()
    names_of = map(attrgetter("name"), layout.weights)
    starts: dict[str | None, int] = dict(zip(names_of, [0, *layout.ends], strict=False))
    names = (None if weight is None else weight.name for weight in (row.weights[AFTER] for row in rows))
    return np.array([starts.get(name, -1) for name in names], np.float64)


def _source_record(opened: OpenedSource, folded: Sequence[Folded] | None) -> dict[str, Any]:
    """Return the facts of a source; `folded` are its folded rows, if they are known."""
    listed = opened.weights
    return {
        "name": opened.name,
        "weights": len(listed),
        "tied": len(listed) - len(listed.distinct()),
        "amount": str(listed.counts if folded is None else counts_of(listed, folded)),
        "bytes": listed.nbytes if folded is None else sum(row.weight.nbytes * len(row.counted) for row in folded),
        "notes": notes(listed),
    }


def difference_columns(differences: Iterable[Difference | None], rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Return the differences as columns; rows that were not compared have only what their shapes show."""
    records = [difference_record(each, row) for each, row in zip(differences, rows, strict=True)]
    return {word: [record[word] for record in records] for word in (*DIFFERENCES, "verdict", "rank")}


def difference_record(difference: Difference | None, row: Row) -> dict[str, Any]:
    """Return the difference of a row as plain Python; None stands for a row that was not compared."""
    if difference is None:
        return {**dict.fromkeys(DIFFERENCES), "verdict": "", "rank": None, "kind": _kind(row)}
    compared = difference.kind in ("equal", "changed", "renamed")
    numbers = {word: getattr(difference, word) if compared else None for word in DIFFERENCES}
    if difference.nonfinite:  # those of the finite entries would say that a weight which became NaN has hardly changed
        numbers |= {"relative": None, "cosine": None}
    verdict = difference.verdict
    rank = verdict.evidence["rank"] if verdict and verdict.kind == "low rank" else None
    return {**numbers, "kind": difference.kind, "verdict": str(verdict or ""), "rank": rank}


def _kind(row: Row) -> str | None:
    """Return the kind of difference that shows without reading a number; None where it does not show."""
    before, after = row.weights[BEFORE], row.weights[AFTER]
    if before is None or after is None:
        return "added" if before is None else "removed"
    return None if before.shape == after.shape else "shape"


def finding_record(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain Python, without its evidence."""
    record = finding.to_dict()
    return {word: record[word] for word in ("kind", "rule", "severity", "name", "what", "place")}
