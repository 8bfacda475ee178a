"""Differences, spectra and kinship as text."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from steelyard.core.names import marks
from steelyard.errors import first_of
from steelyard.text.changes import changed
from steelyard.text.order import in_natural_order
from steelyard.text.rows import distinguishing_numbers, folded_apart, span
from steelyard.text.table import AXIS_ROLES, FINDINGS, MOST_ROWS, TIMES, Column, columns_from, drawn, name_text
from steelyard.text.terminal import Screen, cut, screen_of
from steelyard.text.units import counted, in_units

if TYPE_CHECKING:
    from steelyard.measures.diff import Diff, Difference
    from steelyard.measures.patch import Patch
    from steelyard.measures.spectra import Spectra, Spectrum

SHOWN = 40
"""Maximum rows of a table; the rest is counted."""
LONG = 400
"""Maximum characters of a row's remark where no screen limits them."""
FIGURES = ("changed", "signed max", "mean abs", "relative", "cosine")
ROOM = 70
"""On a narrower screen no row has room for a histogram, so none is measured."""
OF_SEVERAL = "a row of several blocks has the statistics of the block that changed most"
FOLLOWS = "numbers of its layer"
"""The evidence of a pair that other weights of its layer decided."""
MUCH = 0.01
"""Weights whose relative change exceeds this are named below the table."""


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """Yield rows of texts, padded into columns; the columns whose indices are in `right` are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (
            cell.rjust(width) if nth in right else cell.ljust(width)
            for nth, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(padded).rstrip()


def figure(number: float | None) -> str:
    """Format a number with four significant digits; an undefined one as a dash."""
    return "-" if number is None else f"{number:.4g}"


def diff_lines(diff: Diff, shown: int | None = SHOWN, screen: Screen | None = None, *, histograms: bool = False) -> Iterator[str]:
    """Yield whether it loads, what changed, the table of differences, the greatest first, verdicts, totals and what is amiss.

    Corresponding weights of repeated blocks share a row, with the statistics of the one that changed most; with `shown` None
    each has its own row. `histograms` of after - before are measured for the rows that are shown.
    """
    screen = screen or Screen(screen_of(sys.stdout).width)
    if diff.loads is not None:
        yield from map(screen.broken, diff.loads.lines())
    if sentence := changed(diff.rows):
        yield screen.paint(screen.broken(sentence), "bold")
    rows = [row for row in diff.rows if row.kind != "equal"]
    groups = grouped(rows) if shown is not None else [[row] for row in rows]
    if groups:
        yield from drawn(diff_columns(groups[:shown], screen, histograms=histograms), screen)
    hidden = sum(map(len, groups[shown:])) if shown is not None else 0
    if hidden:
        yield f"... and {hidden:,} more weights that differ"
    if any(len(group) > 1 and group[0].kind == "changed" for group in groups[:shown]):
        yield screen.paint(screen.broken(OF_SEVERAL), "dim")
    yield from map(screen.broken, diff_remarks(diff))
    yield screen.broken(totals_line(diff))
    yield from (screen.paint(screen.broken(line), "red") for line in one_sided(diff))
    yield from map(screen.broken, look_at(diff))


def diff_remarks(diff: Diff) -> Iterator[str]:
    """Yield the verdicts on the differences, and how the weights were paired."""
    yield from _verdicts([row for row in diff.rows if row.kind != "equal"])
    yield from (f"note: {note}" for note in diff.notes)
    if diff.permutations:
        moved = sum(place != nth for order in diff.permutations.values() for nth, place in enumerate(order))
        verb = "was" if moved == 1 else "were"
        layers = counted(len(diff.permutations), "layer")
        yield f"note: {counted(moved, 'hidden unit')} of {layers} {verb} put into another order"


def one_sided(diff: Diff) -> Iterator[str]:
    """Yield a line that names the weights with numbers that are not finite on one side only, if there are any."""
    wrong = [row for row in diff.rows if row.nonfinite]
    if wrong:
        yield _counted(wrong, len(diff.rows), "not finite on one side only", lambda row: f"{row.nonfinite:,}")


def grouped(rows: Sequence[Difference]) -> list[list[Difference]]:
    """Group the rows of repeated blocks that differ in the same way; sort the groups by their greatest change."""
    labels = [row.label for row in rows]
    kinds = marks([row.look for row in rows])  # as numbers, which are compared often
    groups = folded_apart(range(len(rows)), labels.__getitem__, kinds.__getitem__)
    return [[rows[place] for place in group] for group in sorted(groups, key=min)]


def diff_columns(groups: Sequence[Sequence[Difference]], screen: Screen, *, histograms: bool = False) -> list[Column]:
    """Return the columns that are not empty: the names of each group, and the statistics of its greatest change."""
    return [column for column in _columns(groups, screen, histograms=histograms) if column.width]


def _columns(groups: Sequence[Sequence[Difference]], screen: Screen, *, histograms: bool) -> Iterator[Column]:
    most = [max(group, key=lambda row: row.greatness) for group in groups]
    yield Column("name", [_spanned(group) for group in groups], head="weight")
    yield Column("most in", [_which(group, row) for group, row in zip(groups, most, strict=True)])
    cells_of = [_figures(row) for row in most]
    for nth, head in enumerate(FIGURES):
        yield Column(head, [each[nth] for each in cells_of], right=True)
    if histograms and (screen.width is None or screen.width >= ROOM):
        yield _histograms(most)
    limit = (screen.width or 3 * LONG) // 3
    yield Column("what", [cut(_what_of(group), limit) for group in groups], head="")


def _change(row: Difference) -> float:
    """Return the change of the numbers that are finite on both sides."""
    return row.greatness[1]


def _spanned(group: Sequence[Difference]) -> str:
    return name_text(span(group[0].label, group[-1].label))


def _which(group: Sequence[Difference], row: Difference) -> str:
    """Return the indices of the block whose statistics represent the group."""
    if len(group) == 1 or row.kind != "changed":
        return ""
    return ", ".join(distinguishing_numbers(group[0].label, group[-1].label, row.label))


def _histograms(rows: Sequence[Difference]) -> Column:
    """Return the histograms of after - before on one common axis, which kernels and embeddings set."""
    from steelyard.text.sparkline import axis_of, bars, header

    summaries = [row.summary() if row.kind == "changed" and row.changed else None for row in rows]
    measured = [(row.role, summary) for row, summary in zip(rows, summaries, strict=True) if summary]
    end = axis_of([summary for role, summary in measured if role in AXIS_ROLES] or [summary for _, summary in measured])
    texts = [bars(summary, end) if summary else "" for summary in summaries]
    return Column("histogram", texts, head=header(end))


def difference_line(row: Difference) -> str:
    """Format one difference as one line."""
    return "  ".join(filter(None, (name_text(row.label), *_figures(row), _what_of([row]))))


def _figures(row: Difference) -> tuple[str, ...]:
    """Return the statistics of a row, blank where there is nothing to compare."""
    if row.kind not in ("changed", "equal"):
        return ("",) * len(FIGURES)
    share = "all" if row.changed == row.count else f"{row.changed:,} ({row.changed / max(row.count, 1):.2g})"
    cosine = "-" if row.cosine is None else _cosine(row.cosine)
    return share, figure(row.signed_max), figure(row.mean_abs), figure(row.relative), cosine


def _cosine(cosine: float) -> str:
    """Format a cosine; near one, as 1 minus the distance to it."""
    return f"1-{1 - cosine:.2g}" if 0 < 1 - cosine < 1e-3 else f"{cosine:.4g}"


def _what_of(group: Sequence[Difference]) -> str:
    """Describe the rows of a group, and count their verdicts."""
    row = group[0]
    one, other = ("scalar" if shape == () else TIMES.join(map(str, shape or ())) for shape in row.shapes)
    words = {"added": f"added, {other}", "removed": f"removed, {one}", "shape": f"shape {one} became {other}"}
    words["renamed"] = "renamed with its layer" if row.paired_by == FOLLOWS else "renamed, the same numbers"
    phrases = [words.get(row.kind, "")]
    phrases += ["paired by its layer's numbers"] if row.paired_by == FOLLOWS and row.kind != "renamed" else []
    if row.dtypes[0] != row.dtypes[1] and None not in row.dtypes:
        phrases.append(f"{row.dtypes[0]} became {row.dtypes[1]}")
    wrong = sum(each.nonfinite for each in group)
    phrases += [f"{wrong:,} not finite"] if wrong else []
    phrases += [row.layout] if row.layout else []
    counts = Counter(each.verdict.kind for each in group if each.verdict)
    phrases += [kind if count == len(group) else f"{count:,} {kind}" for kind, count in counts.items()]
    return ", ".join(filter(None, phrases))


def _verdicts(rows: Sequence[Difference]) -> Iterator[str]:
    """Yield each verdict's evidence: the first of a kind in full, and how many more there are."""
    counts = Counter(row.verdict.kind for row in rows if row.verdict)
    for kind, count in counts.items():
        first = next(row for row in rows if row.verdict and row.verdict.kind == kind)
        more = f" (and {count - 1:,} more weights: {kind})" if count > 1 else ""
        yield f"{kind}: {name_text(first.name)}: {first.verdict}{more}"


def verdict_figures(diff: Diff) -> Iterator[str]:
    """Yield the evidence, in words, of the first verdict of each kind."""
    firsts = {row.verdict.kind: row for row in reversed(diff.rows) if row.verdict and row.verdict.figures}
    for row in reversed(firsts.values()):
        yield f"evidence: {name_text(row.name)}: {row.verdict and row.verdict.figures}"


def totals_line(diff: Diff) -> str:
    """Count the weights that are equal, changed and so on."""
    counts = Counter(row.kind for row in diff.rows)
    parts = [f"{count:,} {kind}" for kind, count in counts.items()]
    return f"{counted(len(diff.rows), 'weight')}: {', '.join(parts) or 'none'}"


def look_at(diff: Diff) -> Iterator[str]:
    """Yield a line on the weights beyond the tolerance, or changed much; nothing if all are equal."""
    if any(diff.tolerance):
        limit = f"beyond atol {diff.tolerance.absolute:g}, rtol {diff.tolerance.relative:g}"
        beyond = [row for row in diff.rows if row.over_tolerance]
        yield _counted(beyond, len(diff.rows), limit, _largest) if beyond else f"no weight is {limit}"
        return
    changed = [row for row in diff.rows if row.moved]
    if changed and changed[0].nonfinite:  # else they are in the order of their changes already
        changed.sort(key=_change, reverse=True)
    much = changed[: bisect_left(changed, -MUCH, key=lambda row: -_change(row))]
    if much:
        yield _counted(much, len(diff.rows), f"changed by more than {MUCH:.0%}", _percent)
    elif changed:
        yield f"no weight changed by more than {MUCH:.0%}: at most {name_text(changed[0].name)} ({_percent(changed[0])})"


def _counted(rows: Sequence[Difference], total: int, what: str, measure_of: Callable[[Difference], str]) -> str:
    named = first_of(rows, FINDINGS, lambda row: f"{name_text(row.name)} ({measure_of(row)})")
    verb = "" if what.startswith("changed") else "are " if len(rows) > 1 else "is "
    return f"{len(rows):,} of {counted(total, 'weight')} {verb}{what}: {named}"


def _percent(row: Difference) -> str:
    if row.relative is None:
        return "from zero"
    return f"{row.relative:.3g} times" if row.relative >= 10 else f"{100 * row.relative:.3g}%"


def _largest(row: Difference) -> str:
    return f"{row.signed_max:.4g}" + (f" at {list(row.place)}" if row.place else "")


def patch_line(patch: Patch) -> str:
    """Count a patch's weights by the way it stores them, and add its size."""
    counts = Counter(patch.how.values())
    kinds = ", ".join(f"{count:,} {how}" for how, count in counts.items()) or "none"
    note = f"; {patch.wrapped.note}" if patch.wrapped.note else ""
    return f"{counted(len(patch.how), 'weight')}: {kinds}; {in_units(patch.nbytes)}{note}"


SPECTRUM = ("weight", "matrix", "norm", "stable rank", "effective rank", "alpha", "KS", "edge", "beyond")


def spectra_text(spectra: Spectra) -> str:
    """Return the text that printing spectra in Python shows."""
    return "\n".join(spectra_lines(spectra, Screen(screen_of(sys.stdout).width), MOST_ROWS))


def spectra_lines(spectra: Spectra, screen: Screen, most: int | None = None) -> Iterator[str]:
    """Yield the table of spectra, each statistic with that of random weights in brackets, then verdicts and notes."""
    if spectra.rows:
        rows = [*map(spectrum_cells, in_natural_order(spectra.rows, attrgetter("name"))[:most])]
        names, figures = Column("name", [name for name, *_ in rows], head=SPECTRUM[0]), [cells for _, *cells in rows]
        yield from drawn([names, *columns_from(SPECTRUM[1:], figures, right=range(1, 8))], screen, len(spectra.rows))
    yield from map(screen.broken, spectra_remarks(spectra))


def spectra_remarks(spectra: Spectra) -> Iterator[str]:
    """Yield the verdicts, how the values were computed, and the notes."""
    yield from (f"{name_text(row.name)}: {row.verdict}" for row in spectra.rows if row.verdict)
    yield from (f"{name_text(row.name)}: {row.method}, within {row.error:.2g}" for row in spectra.rows if row.rank is None)
    yield from (f"note: {note}" for note in spectra.notes)
    if any(row.null for row in spectra.rows):
        yield "in brackets: the same statistic of the weight's own numbers in random order"
    if not spectra.rows:
        yield "no weight with two axes or more"


def spectrum_line(row: Spectrum) -> str:
    """Format one spectrum as one line."""
    cells = (f"{head} {cell}" for head, cell in zip(SPECTRUM[1:], spectrum_cells(row)[1:], strict=True))
    return f"{name_text(row.name)}: {', '.join(cells)}"


def spectrum_cells(row: Spectrum) -> tuple[str, ...]:
    """Return the cells of one row of the table of spectra."""
    null, law = row.null, row.law
    return (
        name_text(row.name),
        TIMES.join(map(str, row.shape)),
        _beside(row.spectral_norm, null.spectral_norm if null else None),
        _beside(row.stable_rank, null.stable_rank if null else None),
        _beside(row.effective_rank, null.effective_rank if null else None),
        _beside(law and law.alpha, null.alpha if null else None),
        _beside(law and law.distance, null.distance if null else None),
        figure(row.edge),
        f"{row.beyond:,}",
    )


def _beside(number: float | None, null: float | None) -> str:
    return figure(number) if null is None else f"{figure(number)} ({null:.3g})"
