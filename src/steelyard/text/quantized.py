"""Tables of what quantising and factorising would cost, with a bar for each signal to noise ratio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

from steelyard.errors import first_of, printable
from steelyard.text.differences import columns, figure
from steelyard.text.table import TIMES, name_text
from steelyard.text.units import counted, in_units

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard.editing.factorizing import LowRank
    from steelyard.editing.quantizing.what_if import Choice, WeightError, WhatIf

SHOWN = 10
"""Weights of a table with the greatest errors."""
HEAD = ("", "bytes", "of now", "rms error", "SQNR dB", "")
WEIGHTS = ("weight", "max error", "rms", "95 %", "SQNR dB", "")
_RANKS = ("weight", "matrix", "rank", "numbers", "then", "of now", "squares kept")
_PER_BAR = 3.0
"""decibels of a character of a bar: half a bit"""
_LONGEST = 24


def what_if_lines(found: WhatIf, shown: int | None = SHOWN) -> Iterator[str]:
    """Yield the table of ways, then for each the weights with the greatest errors; `shown` None has all of them."""
    rows = ways(found)
    yield from columns(rows, right=range(1, len(rows[0]) - 1))
    for choice in found.choices:
        yield ""
        yield title(choice, shown)
        if not choice.why:
            yield from columns([WEIGHTS, *worst(choice, shown)], right=range(1, 5))
        yield from remarks(choice)


def ways(found: WhatIf) -> list[list[str]]:
    """Return the rows of the table of ways, after its head and the weights as they are."""
    has_probe = any(choice.change is not None for choice in found.choices)
    head = [*HEAD[:5], *(["outputs"] if has_probe else []), ""]
    now = ["as it is", in_units(found.nbytes), "100 %", *[""] * (len(head) - 3)]
    return [head, now, *(_row(choice, found.nbytes, has_probe=has_probe) for choice in found.choices if not choice.why)]


def _row(choice: Choice, now: int, *, has_probe: bool) -> list[str]:
    share = f"{100 * choice.nbytes / max(now, 1):.1f} %"
    made = [choice.kind, in_units(choice.nbytes), share, f"{100 * choice.relative:.2g} %", _ratio(choice.sqnr)]
    change = [] if not has_probe else ["-" if choice.change is None else f"{100 * choice.change:.2g} %"]
    return [*made, *change, bar(choice.sqnr)]


def _ratio(decibels: float) -> str:
    return "exact" if decibels == inf else f"{decibels:.1f}"


def bar(decibels: float) -> str:
    """Return a bar whose length is a signal to noise ratio: a character for each half bit.

    >>> bar(20)
    '#######'
    """
    return "#" * (_LONGEST if decibels == inf else max(min(round(decibels / _PER_BAR), _LONGEST), 0))


def title(choice: Choice, shown: int | None = SHOWN) -> str:
    """Return what is above the table of a way, or why it is not possible."""
    if choice.why:
        return f"{choice.kind}: {choice.why}"
    count = len(choice.errors)
    more = f", the {shown} with the lowest SQNR" if shown is not None and shown < count else ""
    return f"{choice.kind}: {counted(count, 'weight')}{more}"


def worst(choice: Choice, shown: int | None = SHOWN) -> list[Sequence[str]]:
    """Return the rows of the weights with the greatest errors."""
    return [_cells(each) for each in sorted(choice.errors, key=lambda each: each.sqnr)[:shown]]


def remarks(choice: Choice) -> Iterator[str]:
    """Yield the weights that are left, and what a user must know."""
    yield from left_lines(choice.left)
    yield from (f"note: {hint}" for hint in choice.hints)


def _cells(error: WeightError) -> Sequence[str]:
    figures = map(figure, (error.max, error.rms, error.q95))
    return (name_text(error.name), *figures, _ratio(error.sqnr), bar(error.sqnr))


def left_lines(left: Mapping[str, str]) -> Iterator[str]:
    """Yield the weights that stay as they are, those of one reason on a line."""
    reasons: dict[str, list[str]] = {}
    for name, reason in left.items():
        reasons.setdefault(str(reason), []).append(str(name))
    for reason, names in reasons.items():
        yield f"left as they are, {printable(reason)}: {first_of(names, 3, name_text)}"


def low_rank_lines(found: Sequence[LowRank]) -> Iterator[str]:
    """Yield the table of factorised weights, and their sum."""
    if not found:
        yield "no weight would become smaller"
        return
    rows = [
        _low_rank(each.name, TIMES.join(map(str, each.shape)), f"{each.rank:,}", each.before, each.after, each.energy)
        for each in found
    ]
    before, after = sum(each.before for each in found), sum(each.after for each in found)
    yield from columns([_RANKS, *rows, _low_rank("all", "", "", before, after, None)], right=range(2, 7))


def _low_rank(name: str, shape: str, rank: str, before: int, after: int, energy: float | None) -> Sequence[str]:
    share = "" if energy is None else f"{100 * energy:.2f} %"
    return (name_text(name), shape, rank, f"{before:,}", f"{after:,}", f"{100 * after / before:.1f} %", share)
