"""One sentence on what changed between two nets: how many weights, in which way, and in which blocks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from steelyard.text.table import name_text
from steelyard.text.units import counted

if TYPE_CHECKING:
    from steelyard.measures.diff import Difference

RUNS = 4
"""Maximum runs of blocks that are named."""
_BLOCK = re.compile(r"(?:^|.*?[./])(?=[0-9]{1,9}[./].*?[./])([0-9]+)", re.DOTALL)
"""A name up to the number of its block, which has layers of its own."""
_OTHERS = {"added": "added", "removed": "removed", "shape": "of another shape", "renamed": "renamed"}

_APART = {"added", "removed", "shape"}
"""Kinds of rows of which no numbers are compared."""


def changed(rows: Sequence[Difference]) -> str:
    """Return the sentence on the rows of a difference; blank if there are none.

    "10 of 148 weights changed, low rank 8 (8 of them), in blocks 8-11"
    """
    if not rows:
        return ""
    moved = [row for row in rows if row.kind == "changed"]
    kinds = Counter(row.kind for row in rows)
    parts = [f"{kinds[kind]:,} {word}" for kind, word in _OTHERS.items() if kinds[kind]]
    if not moved and not parts:
        return f"no change: all {len(rows):,} weights have the same bits" if len(rows) > 1 else "no change: the same bits"
    if not kinds.keys() - _APART:
        return f"no weight can be compared: {', '.join(parts)}"
    total = counted(len(rows), "weight")
    if not moved:
        return ", ".join([f"{kinds['equal'] + kinds['renamed']:,} of {total} equal", *parts])
    first = f"{len(moved):,} of {total} changed"
    return ", ".join(filter(None, [first, *_verdicts(moved), *_where(moved, rows), *parts]))


def _verdicts(moved: Sequence[Difference]) -> list[str]:
    """Name the kinds of changes for which there is evidence, with the ranks of low ones, and how many have it unless all do."""
    verdicts = [row.verdict for row in moved if row.verdict]
    found = []
    for kind, count in Counter(verdict.kind for verdict in verdicts).most_common():
        ranks = {verdict.evidence["rank"] for verdict in verdicts if verdict.kind == kind and "rank" in verdict.evidence}
        word = f"{kind} {_ends(sorted(ranks))}".rstrip()
        found.append(word if count == len(moved) else f"{word} ({count:,} of them)")
    return found


def _where(moved: Sequence[Difference], rows: Sequence[Difference]) -> list[str]:
    """Name the blocks that changed, where others did not; blank if there are no blocks, or all changed."""
    if len(moved) == len(rows):
        return []
    places = list(map(_block, rows))
    container, blocks = _blocks_of(places)
    moved_places = [place for place, row in zip(places, rows, strict=True) if row.kind == "changed"]
    there = {number for each, number in moved_places if each == container and number is not None}
    if not there or there == blocks:
        return []
    outside = [row for row, (each, _) in zip(moved, moved_places, strict=True) if each != container]
    runs = [_ends(run) for run in _runs(sorted(there))]
    named = ", ".join(runs[:RUNS]) + (f" and {len(runs) - RUNS:,} more runs" if len(runs) > RUNS else "")
    more = f" and {name_text(outside[0].name)}" if len(outside) == 1 else f" and {len(outside):,} weights outside"
    return [f"in block{'s' * (len(there) > 1)} {named}{more if outside else ''}"]


def _blocks_of(places: Iterable[tuple[str | None, int | None]]) -> tuple[str | None, set[int]]:
    """Return the container that has the most weights in numbered blocks, and the numbers of its blocks."""
    found: dict[str | None, set[int]] = {}
    counts: Counter[str | None] = Counter()
    for container, number in places:
        if number is not None:
            found.setdefault(container, set()).add(number)
            counts[container] += 1
    best = max(counts, key=counts.__getitem__, default=None)
    return best, found.get(best, set())


def _block(row: Difference) -> tuple[str | None, int | None]:
    """Return the container and the number of the block of a weight; None for a weight outside of blocks."""
    found = _BLOCK.match(row.name or row.source)
    return (found[0][: found.start(1)], int(found[1])) if found else (None, None)


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Return runs of consecutive numbers.

    >>> _runs([0, 1, 2, 8])
    [[0, 1, 2], [8]]
    """
    keyed = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    return [[number for _, number in run] for _, run in keyed]


def _ends(numbers: Sequence[int]) -> str:
    """Return the first and the last number, or the only one.

    >>> _ends([4, 5, 8]), _ends([8]), _ends([])
    ('4-8', '8', '')
    """
    return "" if not numbers else f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
