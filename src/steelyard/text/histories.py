"""A history of weights as text: the last steps, sparklines along the run, and what a reader should look at."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import isfinite, log10, nan
from typing import TYPE_CHECKING, Any

from steelyard.errors import first_of, printable
from steelyard.text.sparkline import BARS
from steelyard.text.table import MOST_ROWS, Column, drawn, name_text, number_text
from steelyard.text.terminal import Screen, screen_of

if TYPE_CHECKING:
    from steelyard.runs.comparing import RunComparison
    from steelyard.runs.curves import Curves
    from steelyard.runs.events import HistoryRows
    from steelyard.runs.history import History

WIDTH = 20
"""Bars of a sparkline along a run: each is the mean of some records."""
LAST = 5
"""Records that are shown by default."""
MOST = 40
"""Weights that are shown; of more, the layers, or those that moved most."""
METRICS = 4
LOST = "\u00d7"
"""Stands where numbers are not finite."""
ALIKE = 1e-3
"""A range below this part of the numbers is a flat line: it would otherwise be drawn as large as any other."""


def sparkline(values: Sequence[float], width: int = WIDTH, *, log: bool = False) -> str:
    r"""Return numbers along a run as bars from their least to their greatest; blank where there is none, a cross for NaN between.

    >>> sparkline([1.0, 2.0, 3.0, 4.0]), sparkline([2.0, 2.0]), ascii(sparkline([float("nan"), 1.0, float("nan")])[::2])
    ('▁▃▆█', '▄▄', "' \\xd7'")
    """
    known = [isfinite(value) and (value > 0 or not log) for value in values]
    numbers = [log10(value) if log and good else value for value, good in zip(values, known, strict=True)]
    parts = min(width, len(numbers))
    cuts = [nth * len(numbers) // max(parts, 1) for nth in range(parts + 1)]
    means = [
        sum(run) / len(run)
        if (run := [value for value, good in zip(numbers[start:stop], known[start:stop], strict=True) if good])
        else None
        for start, stop in pairwise(cuts)
    ]
    heights = [mean for mean in means if mean is not None]
    if not heights:
        return LOST * parts if len(numbers) > 1 else ""
    low, high = min(heights), max(heights)
    flat = high - low <= ALIKE * (1.0 if log else max(abs(low), abs(high)))
    begun, made = False, ""
    for mean in means:
        begun = begun or mean is not None
        made += (LOST if begun else " ") if mean is None else BARS[3 if flat else round((mean - low) / (high - low) * 7)]
    return made


def history_text(history: History) -> str:
    """Return the text that printing a history shows."""
    return "\n".join(history_lines(history, Screen(screen_of(sys.stdout).width)))


def history_lines(history: History, screen: Screen, last: int = LAST, by: str | None = None) -> Iterator[str]:
    """Yield a sentence, alarms, the last records, and a line with sparklines for each weight or layer."""
    yield screen.paint(screen.broken(sentence(history)), "bold")
    if history.origin:
        yield screen.paint(screen.broken(printable(history.origin, 600)), "dim")
    if not len(history):
        return
    if history.settings:
        yield screen.paint(screen.broken(settings_line(history)), "dim")
    for line in history.alarms():
        yield screen.paint(screen.broken(printable(line, 1000)), "red")
    yield ""
    yield from drawn([column for column in record_columns(history, last) if column.width], screen)
    yield ""
    columns, left_out = weight_columns(history, by)
    yield from drawn([column for column in columns if column.width], screen)
    if left_out:
        yield screen.paint(left_out, "dim")


def settings_line(history: History) -> str:
    """Return the settings of a run in a line."""
    return ", ".join(_setting(*each) for each in history.settings.items())


def _setting(name: str, value: object) -> str:
    return f"{printable(name, 40)} {printable(value, 40)}"


def sentence(history: History) -> str:
    """Return what a history is of, in a sentence."""
    run, count = history.run, len(history)
    if not count:
        return f"{printable(history.path)}: no records yet"
    facts = run.layout.recorded
    numbers = sum(_size(fact.shape) for fact in facts)
    steps = f"steps {history.steps[0]:,} to {history.steps[-1]:,}" if count > 1 else f"step {history.steps[0]:,}"
    kept = len(history.snapshots)
    what = "checkpoint" if history.origin else "record"
    snapshots = "" if history.origin else f"; {kept:,} snapshot{'s' * (kept != 1)}"
    named = "" if history.path.endswith(f"{count:,} checkpoints") else f"{printable(history.path)}: "
    weights = f"{len(facts):,} weight{'s' * (len(facts) != 1)} with {numbers:,} numbers"
    return f"{named}{count:,} {what}{'s' * (count != 1)}, {steps}; {weights}{snapshots}"


def _size(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def record_columns(history: History, last: int) -> list[Column]:
    """Return the columns of the last records: step, epoch, metrics, and norm, update and ratio of all weights together."""
    start = max(len(history) - last, 0)
    metrics = list(history.metrics.items())[:METRICS]
    rows = history.run.rows[start:]
    columns = [
        Column("name", [f"{row.step:,}" for row in rows], right=True, head="step"),
        Column("epoch", [number_text(row.epoch) for row in rows], right=True),
    ]
    for name, values in metrics:
        given = [name in row.metrics for row in rows]
        texts = [
            figure(value) or ("NaN" if is_given else "") for value, is_given in zip(values[start:].tolist(), given, strict=True)
        ]
        columns.append(Column("metric", texts, right=True, head=printable(name, 20)))
    for head, curves in (("norm", history.norms("all")), ("update", history.updates("all")), ("ratio", history.ratios("all"))):
        columns.append(Column(head, [figure(value) for value in curves.values[start:, 0].tolist()], right=True))
    kept = set(history.snapshots) if not history.origin else set()
    columns.append(Column("snapshot", ["kept" if row.step in kept else "" for row in rows], head=""))
    return columns


def weight_columns(history: History, by: str | None = None) -> tuple[list[Column], str]:
    """Return the columns of weights, or of layers if there are many weights, and a line on those that are not shown."""
    chosen: Any = by or ("weight" if len(history.names) <= MOST else "layer")
    norms, ratios = history.norms(chosen), history.ratios(chosen)
    shown = range(min(len(norms), MOST))
    columns = curve_columns(norms, shown, log=False)
    columns += curve_columns(ratios, shown, log=True)[1:]
    left = len(norms) - len(shown)
    return columns, f"... and {left:,} more {chosen}{'s' * (left != 1)}" if left else ""


def curve_columns(curves: Curves, shown: Sequence[int], *, log: bool) -> list[Column]:
    """Return the columns of curves: names, a sparkline of each, and the first and the last number."""
    listed = [curves.values[:, nth].tolist() for nth in shown]
    begun = [next((value for value in values if isfinite(value)), nan) for values in listed]
    return [
        Column("name", [name_text(curves.names[nth]) for nth in shown], head=curves.by),
        Column("along", [sparkline(values, log=log) for values in listed], head=f"{curves.figure}{' (log)' if log else ''}"),
        Column("first", [figure(value) for value in begun], right=True),
        Column(
            "last",
            [figure(values[-1]) or ("NaN" if isfinite(first) else "") for values, first in zip(listed, begun, strict=True)],
            right=True,
        ),
    ]


def figure(value: float | None) -> str:
    """Format a number with three significant digits; NaN is blank.

    >>> figure(0.00123456), figure(float("nan"))
    ('0.00123', '')
    """
    return "" if value is None or value != value else f"{value:.3g}"  # noqa: PLR0124 - NaN alone differs


def history_record(history: History, last: int, by: str | None = None) -> dict[str, Any]:
    """Return what `history_lines` shows as plain Python, for JSON."""
    start = max(len(history) - last, 0)
    chosen: Any = by or "weight"
    records = [
        {"step": row.step, "epoch": row.epoch, "metrics": {name: _known(value) for name, value in row.metrics.items()}}
        for row in history.run.rows[start:]
    ]
    curves = (
        [(word, history.curve(word, "all").values[start:, 0].tolist()) for word in ("norm", "update", "ratio")] if records else []
    )
    for word, values in curves:
        for record, value in zip(records, values, strict=True):
            record[word] = _known(value)
    ends = [history.curve(word, chosen) for word in ("norm", "ratio")] if records else []
    rows = [
        {chosen: name, **{curves.figure: _known(curves.values[-1, nth].item()) for curves in ends}}
        for nth, name in enumerate(ends[0].names if ends else [])
    ]
    return {
        "path": history.path,
        "origin": history.origin,
        "settings": history.settings,
        "records": len(history),
        "first_step": history.steps[0] if records else None,
        "last_step": history.steps[-1] if records else None,
        "snapshots": history.snapshots,
        "alarms": history.alarms() if records else [],
        "last": records,
        "weights": rows,
    }


def _known(value: float) -> float | None:
    return value if isfinite(value) else None


def curves_text(curves: Curves) -> str:
    """Return the text that printing curves shows."""
    return "\n".join(curve_lines(curves, Screen(screen_of(sys.stdout).width), MOST_ROWS))


def curve_lines(curves: Curves, screen: Screen, most: int | None = None) -> Iterator[str]:
    """Yield the table of curves, at most so many rows of it."""
    if not len(curves):
        yield "no weights"
        return
    shown = range(len(curves))[:most]
    yield from drawn(curve_columns(curves, shown, log=curves.figure == "ratio"), screen, len(curves))


def rows_text(found: HistoryRows) -> str:
    """Return the text that printing rows of a history shows."""
    return "\n".join(row_lines(found, Screen(screen_of(sys.stdout).width), MOST_ROWS))


def row_lines(found: HistoryRows, screen: Screen, most: int | None = None) -> Iterator[str]:
    """Yield the table of rows, at most so many of them, and how to read it."""
    if len(found):
        yield from drawn(row_columns(found, most), screen, len(found))
    else:
        yield f"{found.title}: none"
    if found.note:
        yield screen.paint(screen.broken(found.note), "dim")


def row_columns(found: HistoryRows, most: int | None = None) -> list[Column]:
    """Return a column for each field of the first rows; that of the weight has the key "name"."""
    columns = []
    for field in found.rows[0]._fields:
        texts = [_cell(field, getattr(row, field)) for row in found.rows[:most]]
        is_text = field in ("weight", "verdict")
        columns.append(Column("name" if field == "weight" else field, texts, right=not is_text, head=field))
    return columns


def _cell(field: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return name_text(value)
    if isinstance(value, tuple):
        return str(list(value))
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.1%}" if field == "share" else figure(value)


def comparison_text(found: RunComparison) -> str:
    """Return the text that printing a comparison of runs shows."""
    return "\n".join(comparison_lines(found))


def comparison_lines(found: RunComparison) -> Iterator[str]:
    """Yield what two runs have in common, where they part, and how far they are apart."""
    a, b = printable(found.a), printable(found.b)
    for name, (one, other) in found.settings.items():
        yield f"{_setting(name, one)} and {printable(other, 40)}"
    first, last = found.steps[0], found.steps[-1]
    same = "with the same statistics of all weights, to the last bit" if found.same_start else "with different weights"
    yield f"{a} and {b} have {len(found.steps):,} steps in common, and begin {same} (step {first:,})"
    if found.parted is None:
        yield f"they never part, up to step {last:,}"
    elif not found.same_start:
        yield "so they have different seeds, or different inputs before the first record"
    else:
        yield f"they part at step {found.parted:,}: {first_of(found.first, 3)}"
    if found.distances is None or found.relative is None:
        yield "distances are not known, since the sketches have different seeds or orders of weights"
        return
    apart = f"{figure(float(found.distances[-1]))}, {found.relative[-1]:.2g} of the norm"
    apart = apart if isfinite(found.distances[-1]) else "not known, since one has NaN or Inf"
    yield f"distance  {sparkline(found.distances.tolist())}  at step {last:,} {apart}"
