"""Differences, spectra and kinship as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from steelyard.views.table import TIMES, name_text
from steelyard.views.terminal import in_units

if TYPE_CHECKING:
    from steelyard.measures.diff import Diff, Difference
    from steelyard.measures.patch import Patch
    from steelyard.measures.spectra import Spectra, Spectrum

SHOWN = 40
"""Rows of weights that a table shows; the rest is counted."""


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """Yield rows of texts in columns; those whose numbers are in `right` end together."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (
            cell.rjust(width) if nth in right else cell.ljust(width)
            for nth, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(padded).rstrip()


def figure(number: float | None) -> str:
    """Write a number with four digits; what is not defined as a stroke."""
    return "-" if number is None else f"{number:.4g}"


HEAD = ("weight", "changed", "max abs", "mean abs", "relative", "cosine", "")


def diff_lines(diff: Diff, shown: int | None = SHOWN) -> Iterator[str]:
    """Yield the table of what differs, the greatest change first, then the verdicts and the totals."""
    rows = [row for row in diff.rows if row.kind != "equal"]
    if rows:
        yield from columns([HEAD, *map(diff_cells, rows[:shown])], right=range(1, 6))
    if shown is not None and len(rows) > shown:
        yield f"... and {len(rows) - shown:,} more weights that differ"
    yield from diff_remarks(diff)
    yield totals_line(diff)


def diff_remarks(diff: Diff) -> Iterator[str]:
    """Yield the verdicts on what differs, and how the weights were paired."""
    yield from _verdicts([row for row in diff.rows if row.kind != "equal"])
    yield from (f"note: {note}" for note in diff.notes)
    if diff.permutations:
        moved = sum(place != nth for order in diff.permutations.values() for nth, place in enumerate(order))
        yield f"note: {moved:,} hidden units of {len(diff.permutations):,} layers were put into another order"


def difference_line(row: Difference) -> str:
    """Write one difference on one line."""
    return "  ".join(filter(None, map(str.strip, diff_cells(row))))


def diff_cells(row: Difference) -> tuple[str, ...]:
    """Return the texts of one row of the table of differences."""
    name = name_text(row.name or row.source)
    if row.name and row.source and row.source != row.name:
        name = f"{name_text(row.source)} -> {name}"
    if row.kind not in ("changed", "equal"):
        return name, "", "", "", "", "", _what(row)
    share = "all" if row.changed == row.count else f"{row.changed:,} ({row.changed / max(row.count, 1):.2g})"
    cosine = "-" if row.cosine is None else _cosine(row.cosine)
    return name, share, figure(row.max_abs), figure(row.mean_abs), figure(row.relative), cosine, _what(row)


def _cosine(cosine: float) -> str:
    """Write a cosine; near one, how far it is from it."""
    return f"1-{1 - cosine:.2g}" if 0 < 1 - cosine < 1e-3 else f"{cosine:.4g}"


def _what(row: Difference) -> str:
    one, other = ("scalar" if shape == () else TIMES.join(map(str, shape or ())) for shape in row.shapes)
    words = {"added": f"added, {other}", "removed": f"removed, {one}", "renamed": "renamed, the same numbers"}
    found = [words.get(row.kind, "")] if row.kind != "shape" else [f"shape {one} became {other}"]
    if row.dtypes[0] != row.dtypes[1] and None not in row.dtypes:
        found.append(f"{row.dtypes[0]} became {row.dtypes[1]}")
    found += [f"{row.nonfinite:,} not finite on one side"] if row.nonfinite else []
    found += [row.turn] if row.turn else []
    found += [row.verdict.kind] if row.verdict else []
    return ", ".join(filter(None, found))


def _verdicts(rows: Sequence[Difference]) -> Iterator[str]:
    """Yield each verdict's evidence: the first of a kind in full, and how many more there are."""
    counts = Counter(row.verdict.kind for row in rows if row.verdict)
    for kind, count in counts.items():
        first = next(row for row in rows if row.verdict and row.verdict.kind == kind)
        more = f" (and {count - 1:,} more weights: {kind})" if count > 1 else ""
        yield f"{kind}: {name_text(first.name)}: {first.verdict}{more}"


def totals_line(diff: Diff) -> str:
    """Say how many weights are equal, changed and so on."""
    counts = Counter(row.kind for row in diff.rows)
    parts = [f"{count:,} {kind}" for kind, count in counts.items()]
    beyond = sum(map(diff.differs, diff.rows))
    limit = f"atol {diff.tolerance.absolute:g}, rtol {diff.tolerance.relative:g}"
    told = f"; {beyond:,} beyond {limit}" if any(diff.tolerance) else ""
    return f"{len(diff.rows):,} weights: {', '.join(parts) or 'none'}{told}"


def patch_line(patch: Patch) -> str:
    """Say how many weights a patch keeps in which way, and how large it is."""
    counts = Counter(patch.how.values())
    told = ", ".join(f"{count:,} {how}" for how, count in counts.items()) or "none"
    return f"{len(patch.how):,} weights: {told}; {in_units(patch.nbytes)}"


SPECTRUM = ("weight", "matrix", "norm", "stable rank", "effective rank", "alpha", "KS", "edge", "beyond")


def spectra_lines(found: Spectra) -> Iterator[str]:
    """Yield the table of spectra, each figure with that of random weights in brackets, then verdicts and notes."""
    if found.rows:
        yield from columns([SPECTRUM, *map(spectrum_cells, found.rows)], right=range(1, 9))
    yield from spectra_remarks(found)


def spectra_remarks(found: Spectra) -> Iterator[str]:
    """Yield the verdicts, how the values were found, and the notes."""
    yield from (f"{name_text(row.name)}: {row.verdict}" for row in found.rows if row.verdict)
    yield from (f"{name_text(row.name)}: {row.method}, within {row.error:.2g}" for row in found.rows if row.rank is None)
    yield from (f"note: {note}" for note in found.notes)
    if any(row.null for row in found.rows):
        yield "in brackets: the same of the weight's own entries in random order"
    if not found.rows:
        yield "no weight with two axes or more"


def spectrum_line(row: Spectrum) -> str:
    """Write one spectrum on one line."""
    told = (f"{head} {cell}" for head, cell in zip(SPECTRUM[1:], spectrum_cells(row)[1:], strict=True))
    return f"{name_text(row.name)}: {', '.join(told)}"


def spectrum_cells(row: Spectrum) -> tuple[str, ...]:
    """Return the texts of one row of the table of spectra."""
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
