"""Weights as a table of text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from steelyard.core.net_facts import noted
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import UNKNOWN
from steelyard.errors import SteelyardError, first_of, printable
from steelyard.storage.source import Stored
from steelyard.text.order import natural, order_note
from steelyard.text.rows import Measured, Row, counts_of, rows_of
from steelyard.text.terminal import Screen, cells, cut, cut_alike, padded, screen_of
from steelyard.text.units import counted, in_units

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.numerics.nonfinite import NonFinite
    from steelyard.numerics.summary import Summary

    Headline = Callable[[Weights, Sequence[Row]], str]
    """Returns the sentence on top of a table, from the weights and their rows; blank for none."""

MOST_ROWS = 200
"""Rows that printing in Python shows; the commands print all."""
NAME_LIMIT = 1000
"""Maximum characters of a name where no screen limits them."""
NAME_LEAST = 28
"""Width below which a name is not cut while a column can be dropped instead: two fifths of a narrow screen, in cells."""
REDUNDANT = ("layer", "tied to")
FIGURES = ("near_zeros", "l1", "q05", "q95", "rms", "l2", "zeros", "inf", "nan", "median", "count", "std")
APART = ("mean abs", "cosine", "changed")
OF_FILES = ("held", "format")
OF_SPECTRA = ("matrix", "KS", "edge", "effective rank", "stable rank")
EXPENDABLE = (
    *(*REDUNDANT, "dtype", "role", "size", "times", *FIGURES, *APART, *OF_SPECTRA, *OF_FILES),
    *("first", "mean", "max", "min", "most in", "signed max", "histogram", "shape"),
    *("frozen", "buffers", "bar", "bytes", "share", "weights", "output", "from", "parameters"),
)
"""The columns that a narrow screen drops, in this order; the redundant ones before a name is cut."""
SIGNED = ("min", "q05", "median", "mean", "q95", "max", "signed max", "cosine")
"""The columns whose numbers are coloured by their sign."""
TIMES = "\u00d7"
FINDINGS = 5
"""Maximum weights, not finite or unreadable, that are named individually."""


AXIS_ROLES = ("kernel", "recurrent kernel", "bias")
"""The roles that set the axis of the histograms: scales of one, counters and embeddings would squeeze kernels into one bar."""


class Column:
    """A column: its head, and a text for each row; `head` replaces `key` as the text of the head."""

    __slots__ = ("head", "key", "right", "texts", "width")

    def __init__(self, key: str, texts: list[str], *, right: bool = False, head: str | None = None) -> None:
        self.key = key
        self.head = key if head is None else head
        self.texts = texts
        self.right = right
        self.width = max(map(cells, set(texts)), default=0)
        if self.width:
            self.width = max(self.width, cells(self.head))


def columns_from(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[Column]:
    """Turn rows of texts into columns; those whose indices are in `right` are right-aligned."""
    return [Column(key, [row[nth] for row in rows], right=nth in right) for nth, key in enumerate(head)]


def table(weights: Weights, headline: Headline | None = None) -> str:
    """Return the table that printing `weights` in Python shows: repeated blocks folded, no colours.

    A live model is searched for NaN and Inf, and a line names each weight that has some.
    """
    lines = listing(weights, Screen(screen_of(sys.stdout).width), grouped=True, headline=headline, most=MOST_ROWS)
    return "\n".join([*lines, *live_findings(weights)])


def listing(
    weights: Weights,
    screen: Screen,
    *,
    unfolded: bool = False,
    stats: Sequence[Measured] | None = None,
    grouped: bool = False,
    headline: Headline | None = None,
    most: int | None = None,
) -> Iterator[str]:
    """Yield the lines of the table and the totals, below the sentence of `headline`; with `stats` also those of each row.

    With `grouped` a layer is written once for all its weights; without it, on every line, as a pipe needs it. `most` is the
    number of rows that the table has at most.
    """
    if not weights:
        yield "no weights"
        return
    places = natural(list(weights))
    rows = rows_of(weights, unfolded=unfolded, places=places) if stats is None else [each.row for each in stats]
    if headline is not None and (sentence := headline(weights, rows)):
        yield screen.paint(screen.broken(sentence), "bold")
        yield ""
    columns = fact_columns(rows[:most], grouped=grouped) + (number_columns(stats, axis_end(stats)) if stats is not None else [])
    yield from drawn([column for column in columns if column.width], screen, len(rows))
    yield ""
    yield screen.broken(totals(weights, rows))
    if stats is None and (reasons := weights.unreadable):
        from steelyard.core.selection import unreadable_line

        yield screen.paint(screen.broken(unreadable_line(reasons, len(weights))), "red")
    if "metadata" in weights.meta:
        from steelyard.text.metadata import metadata_line

        yield from map(screen.broken, metadata_line(weights.meta))
    yield from map(screen.broken, notes(weights))
    yield from (screen.paint(screen.broken(line), "dim") for line in reordered(weights, places))
    for line in remarks(stats or (), len(weights.distinct())):
        yield screen.paint(screen.broken(line), "red")


def remarks(stats: Sequence[Measured], total: int) -> Iterator[str]:
    """Yield the weights that cannot be read, and those of the `total` that contain NaN or Inf."""
    yield from unreadable(stats)
    yield from findings([weight for each in stats if not each.summary.finite for weight in each.row.counted], total)


def unreadable(stats: Sequence[Measured]) -> Iterator[str]:
    """Yield the errors of the first five weights that cannot be read, and a count of the rest."""
    refused = [f"{name_text(each.row.name)} cannot be read: {each.error}" for each in stats if each.error is not None]
    yield from refused[:FINDINGS]
    if len(refused) > FINDINGS:
        yield f"... and {len(refused) - FINDINGS:,} more weights that cannot be read"


def totals(weights: Weights, rows: Sequence[Row] | None = None) -> str:
    """Count the weights, parameters, numbers in buffers, and bytes; tied weights count once. Rows of the weights save time."""
    counts = weights.counts if rows is None else counts_of(weights, rows)
    return f"{count_text(weights)}, {counts}, {in_units(weights.nbytes)}"


def notes(weights: Weights) -> list[str]:
    """Return the notes of the file's reader, for example that it also contains training data, or rounded numbers."""
    return [printable(note, NAME_LIMIT) for note in noted(weights.meta)]


def reordered(weights: Weights, places: list[int] | None = None) -> Iterator[str]:
    """Yield a line if the rows are in another order than the weights; `places` is the natural order, if it is known."""
    if line := order_note(weights, places):
        yield line


def count_text(weights: Weights) -> str:
    """Count the weights, and those of them that are tied."""
    tied = len(weights) - len(weights.distinct())
    count = counted(len(weights), "weight")
    return f"{count} ({tied:,} tied, counted once)" if tied else count


def findings(weights: Sequence[Weight], total: int = 1) -> Iterator[str]:
    """Yield a line that names the weights, out of `total`, that contain NaN or Inf, if any do."""
    if not weights:
        return
    from steelyard.numerics.nonfinite import nonfinite  # not needed to list a file, and slow to import

    bad = list(nonfinite(weights))
    if bad:
        yield str(bad[0]) if total == 1 else nonfinite_line(bad, total)


def nonfinite_line(bad: Sequence[NonFinite], total: int, what: str = "weight") -> str:
    """Count the weights that are not finite, and name the first five with the index of the first such number.

    >>> from steelyard.numerics.nonfinite import NonFinite
    >>> nonfinite_line([NonFinite("encoder.bias", 1, 0, (17,)), NonFinite("step", 0, 1, ())], 148)
    '2 of 148 weights are not finite: encoder.bias[17] (1 NaN), step (1 Inf)'
    """
    named = first_of(bad, FINDINGS, lambda each: f"{name_text(each.name)}{list(each.first) or ''} ({each.counts})")
    return f"{len(bad):,} of {total:,} {what}s {'are' if len(bad) > 1 else 'is'} not finite: {named}"


def live_findings(weights: Weights) -> Iterator[str]:
    """Yield the findings of weights in memory; printing never fails because numbers cannot be read."""
    if weights.live:
        try:
            listed = list(weights.distinct().values())
            yield from findings(listed, len(listed))
        except SteelyardError as error:
            yield f"the numbers cannot be read: {error}"


def shape_text(weight: Weight) -> str:
    """Format a shape with a multiplication sign between its axes; one without axes is a scalar, or unknown."""
    unknown = weight.dtype == UNKNOWN and not weight.shape
    return TIMES.join(map(str, weight.shape)) or ("?" if unknown else "scalar")


def dtype_text(weight: Weight) -> str:
    """Format the dtype, and the scheme or the file's encoding if the numbers are stored in another form."""
    if isinstance(weight.read, Refused):
        word = weight.dtype if weight.dtype != UNKNOWN else weight.encoding or "?"
        return f"{printable(word, 40)} (unreadable)"
    if weight.derivation is not None:
        return f"{weight.dtype} ({printable(weight.derivation.scheme, 40)})"
    other = weight.encoding not in ("", weight.dtype) and not isinstance(weight.read, Stored)
    return f"{weight.dtype} ({printable(weight.encoding, 40)})" if other else weight.dtype


def name_text(name: str) -> str:
    """Format a name on one line, with control characters escaped; a bare tensor has no name."""
    return printable(name, NAME_LIMIT) or "(unnamed)"


def fact_columns(rows: Sequence[Row], *, grouped: bool) -> list[Column]:
    """Return the columns of facts."""
    layers = [printable(row.layer, NAME_LIMIT) for row in rows]
    if grouped:
        layers = ["" if nth and layer == layers[nth - 1] else layer for nth, layer in enumerate(layers)]
    tied = [row.weight.tied if row.weight.tied is not None and not row.counted else None for row in rows]
    return [
        Column("layer", layers),
        Column("name", [name_text(row.name) for row in rows]),
        Column("shape", [shape_text(row.weight) for row in rows]),
        Column("dtype", [dtype_text(row.weight) for row in rows]),
        Column("role", [str(row.weight.role) for row in rows]),
        Column("times", [f"{row.times:,} {TIMES}" if row.times > 1 else "" for row in rows], right=True, head=""),
        Column("size", [f"{row.size:,}" if row.counted else "tied" for row in rows], right=True),
        Column("tied to", [_shared(row, owner) for row, owner in zip(rows, tied, strict=True)]),
    ]


def _shared(row: Row, owner: str | None) -> str:
    """Name the weight whose memory this one shares, wholly or in part."""
    if row.weight.overlaps is not None:
        return f"overlaps {name_text(row.weight.overlaps)}"
    return "" if owner is None else name_text(owner)


def axis_end(stats: Sequence[Measured]) -> float:
    """Return the end of the histograms' common axis, which kernels and recurrent kernels set."""
    from steelyard.text.sparkline import axis_of

    return axis_of([f.summary for f in stats if f.row.weight.role in AXIS_ROLES] or [f.summary for f in stats])


def number_columns(stats: Sequence[Measured], end: float) -> list[Column]:
    """Return the columns of statistics; histograms reach from minus to plus `end`."""
    from steelyard.text.sparkline import bars, header

    summaries = [each.summary for each in stats]
    drawn = ["cannot be read" if each.error is not None else bars(each.summary, end) for each in stats]
    columns = [Column("histogram", drawn, head=header(end))]
    values: dict[str, Callable[[Summary], float | None]] = {
        "min": lambda s: s.moments.minimum,
        "mean": lambda s: s.moments.mean,
        "max": lambda s: s.moments.maximum,
    }
    for head, value in values.items():
        columns.append(Column(head, [number_text(value(summary)) for summary in summaries], right=True))
    return columns


def number_text(number: float | None) -> str:
    """Format a number with four significant digits; None is blank."""
    return "" if number is None else f"{number:.4g}"


def drawn(columns: list[Column], screen: Screen, total: int = 0) -> Iterator[str]:
    """Yield the head and the lines of columns; a narrow screen drops some, but not the one with the key "name".

    Where there are more rows in `total` than the columns have, a last line counts the rest.
    """
    columns = _fitting(columns, screen.width)
    yield "  ".join(screen.paint(padded(cut(c.head, c.width), c.width, right=c.right), "dim") for c in columns).rstrip()
    for cells_of_row in zip(*(_painted(column, screen) for column in columns), strict=True):
        yield "  ".join(cells_of_row).rstrip()
    if (hidden := total - len(columns[0].texts)) > 0:
        yield f"... and {counted(hidden, 'more row')}"


def _fitting(columns: list[Column], width: int | None) -> list[Column]:
    """Drop columns until a line fits; only then cut names. A pipe gets everything."""
    if width is None:
        return columns
    name = next(column for column in columns if column.key == "name")

    def room() -> int:
        return width - sum(column.width + 2 for column in columns if column is not name)

    for key in EXPENDABLE:
        least = name.width if key in REDUNDANT else min(name.width, NAME_LEAST, width * 2 // 5)
        if room() >= least:
            break
        columns = [column for column in columns if column.key != key]
    name.width = max(min(name.width, room()), 1)
    return columns


def _painted(column: Column, screen: Screen) -> list[str]:
    """Return the coloured cells of a column: the layer's part of a name is dim, roles have their colours."""
    whole = set(column.texts)
    named = column.key in ("name", "layer")
    shown = cut_alike(whole, column.width) if named else {text: cut(text, column.width) for text in whole}
    texts = [padded(shown[text], column.width, right=column.right) for text in column.texts]
    if not screen.colour:
        return texts
    if column.key == "name":
        leaves = [max(text.rfind("."), text.rfind("/")) + 1 for text in texts]
        return [screen.paint(text[:leaf], "dim") + text[leaf:] for text, leaf in zip(texts, leaves, strict=True)]
    if column.key == "role":
        return [screen.paint(text, text.strip()) for text in texts]
    if column.key == "finding":
        return [screen.paint(text, "red") for text in texts]
    if column.key in SIGNED:
        return [screen.signed(text) for text in texts]
    return [screen.paint(text, "dim") for text in texts] if column.key in ("layer", "times", "tied to") else texts
