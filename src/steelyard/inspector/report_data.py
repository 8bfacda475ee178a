"""The data of a report: every number is read once, and once more where two sources are compared, within budgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from heapq import nlargest
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard import sizes
from steelyard.core.gc_pause import uncollected
from steelyard.core.threads import in_turn
from steelyard.core.weight import Weight
from steelyard.errors import SteelyardError
from steelyard.inspector.details import (
    SPARK_BINS,
    detail_of,
    filters_record,
    picture_record,
    picture_size,
    row_statistics,
    spectrum_record,
)
from steelyard.inspector.index import (
    AFTER,
    STATISTICS,
    OpenedSource,
    Row,
    difference_columns,
    finding_record,
    index_of,
    keys_of,
    places_of,
)
from steelyard.inspector.net import VIEWS, net_record
from steelyard.inspector.panels import add_panels
from steelyard.inspector.statistics import Statistics, columns_of_rows
from steelyard.measures.check.health import judged
from steelyard.measures.check.survey import Look, looks
from steelyard.measures.diff import Difference, differences
from steelyard.measures.filters import axes_of_filters
from steelyard.measures.spectra import EXACT, Spectrum, quick_spectrum, without, work
from steelyard.numerics.blocks import is_shared
from steelyard.numerics.matrices import matrix_shape, one_blas_thread
from steelyard.numerics.picture import Picture, change, matrix_of, picture
from steelyard.text.changes import changed
from steelyard.text.progress import watching
from steelyard.text.rows import rows_of as folded_rows
from steelyard.text.sparkline import Axis, Outline
from steelyard.text.table import AXIS_ROLES

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.inspector.index import Key, Keys
    from steelyard.measures.check.survey import Facts

    Seen = Sequence["MeasuredWeight | None"]
    """The measurement of each row on one side; None where there is no such weight, or no more than its statistics."""
    Comparisons = Mapping[int, tuple[Difference, Picture | None]]
    """The difference of each couple and the picture of it, by the identity of the couple."""

CELLS = (800_000, 180)
"""The cells of all pictures together: a fixed number, plus a number per row."""
LARGEST_PICTURE = 1 << 16  # cells
VALUES = (16, 128, 40_000)
"""The least and the greatest number of singular values in a spectrum, and the number in all spectra together."""
WORK_BUDGET = 6e9  # rows times columns times the shorter side of all decomposed matrices: about two seconds
LARGEST_SHARED = 1 << 20  # elements of a matrix that is decomposed in parallel; two larger ones need too much memory
DETAILED, OF_MANY, MANY = 2_000, 500, 50_000
"""The weights whose details a report shows, and those of `MANY` or more: the largest, and as many others with findings.

All others have a row. One of fifty thousands is hardly opened by itself, and its details would take most of the time.
"""
SPECTRA = ("some", "all", "none")


class ReportData:
    """The contents of a report: the `index`, the views of the whole `net`, the `details` of each row on each side, and the number
    of `unreadable` weights.

    `left_out` explains rows without details; blank if there are none.
    """

    __slots__ = ("details", "index", "left_out", "net", "unreadable")

    def __init__(
        self, index: dict[str, Any], net: dict[str, Any], details: list[list[Any]], unreadable: int, left_out: str
    ) -> None:
        self.index = index
        self.net = net
        self.details = details
        self.unreadable = unreadable
        self.left_out = left_out

    def packed_details(self) -> dict[str, Any]:
        """Return what the page reads when it first shows details."""
        return {"details": self.details, **({"left_out": self.left_out} if self.left_out else {})}


class MeasuredWeight:
    """The results of one pass over a weight; `norm` is None if a number is not finite.

    `statistics` are those of its row, in the order of `STATISTICS`, not yet rounded. A weight without details has neither an
    `outline` nor a `detail`.
    """

    __slots__ = ("detail", "error", "norm", "outline", "statistics", "weight")

    def __init__(self, weight: Weight, look: Look, room: int, *, detailed: bool) -> None:
        self.weight = weight
        self.error = look.error
        self.norm = look.summary.moments.l2 if look.summary.finite else None
        self.outline = Outline(look.summary) if detailed else None
        self.detail = detail_of(look, small=True) if detailed else None
        if self.detail is None:
            self.statistics = row_statistics(look.summary)
        else:
            self.statistics = tuple(map(self.detail.get("statistics", {}).get, STATISTICS))
            if look.error is None:
                self.detail["filters"] = filters_record(weight, room)


def report_data(
    sources: Sequence[OpenedSource], rows: Sequence[Row], pairing: Sequence[str], *, spectra: str = "some", progress: bool = False
) -> ReportData:
    """Measure every weight of one or two sources. An unreadable weight is listed with its error, and counted."""
    room, axes = _picture_room(rows), (Axis(), Axis())
    with uncollected():
        folded = folded_rows(sources[AFTER].weights, places=places_of(sources[AFTER], rows))
    index = index_of(sources, rows, pairing, live=False, folded=folded)
    measured: list[dict[Key, MeasuredWeight]] = [{} for _ in sources]
    statistics = [Statistics() for _ in sources]
    keys = [keys_of(rows, side) for side in range(len(sources))]
    for side, source in enumerate(sources):
        distinct = _distinct(rows, keys[side], side)
        facts = judged(source.weights, folded) if side == AFTER else {}
        for key, look, detailed in _looks(source.weights, distinct, facts, statistics[side], room, progress=progress):
            measured[side][key] = MeasuredWeight(distinct[key], look, room, detailed=detailed)
            statistics[side].add(key, measured[side][key].statistics)
            for axis in axes[: 1 + (look.weight.role in AXIS_ROLES)] if detailed else ():
                axis.add(look.summary)
            if side == AFTER:
                index["findings"] += map(finding_record, look.findings)
    everything = [each for side in measured for each in side.values()]
    _decompose([each for each in everything if each.detail is not None], spectra, progress=progress)
    after = {each.weight.name: each.detail for each in measured[AFTER].values() if each.detail is not None and each.error is None}
    add_panels(after, sources[AFTER].weights, room)
    seen = [[None if key is None else known.get(key) for key in of_rows] for known, of_rows in zip(measured, keys, strict=True)]
    compared = _compare(rows, seen, room, progress=progress) if len(sources) > 1 else {}
    index["changed"] = changed([difference for difference, _ in compared.values()])
    end = (axes[1] if axes[1].filled else axes[0]).end
    for side, word in enumerate(("spark", "spark_before")[: len(sources)]):
        index[word] = _outlines(seen[side], end)
    index["columns"] |= columns_of_rows(keys, statistics)
    if len(measured) > 1:
        index["columns"] |= difference_columns((compared.get(id(row.couple), (None, None))[0] for row in rows), rows)
    detailed_ones = sum(each.detail is not None for each in everything)
    left_out = _left_out(rows) if detailed_ones < sum(len(side.places) for side in statistics) else ""
    index["notes"] += [left_out] if left_out else []
    unreadable = sum(each.error is not None for each in everything)
    net = {view: net_record(view, sources, rows) for view in VIEWS}
    return ReportData(index, net, _details(rows, seen, compared), unreadable, left_out)


def _left_out(rows: Sequence[Row]) -> str:
    return (
        f"the report shows the details of the {_room_for(rows):,} largest of {len(rows):,} weights and of those with findings, "
        "and the statistics of all; steelyard show FILE NAME shows any weight"
    )


def _room_for(listed: Sized) -> int:
    """Return of how many weights the details are shown."""
    return OF_MANY if len(listed) >= MANY else DETAILED


@uncollected()
def _picture_room(rows: Sequence[Row]) -> int:
    """Return the most cells that a picture may have: small weights need few, and all others share the rest equally."""
    needed: Counter[int] = Counter()
    shown = [weight for row in rows for weight in row.weights if weight is not None]
    facts = list(map(attrgetter("shape", "dtype", "role", "axes"), shown))
    first = dict(zip(facts, shown, strict=True))
    for alike, times in Counter(facts).items():
        weight = first[alike]
        needed[min(weight.size, LARGEST_PICTURE)] += times * (2 if axes_of_filters(weight) else 1)
    needed.update(min(row.weight.size, LARGEST_PICTURE) for row in rows if row.couple is not None and row.couple.comparable)
    left, others = CELLS[0] + CELLS[1] * len(rows), needed.total()
    for size, times in sorted(needed.items()):
        if size * others > left:
            return max(left // others, 1)
        left -= size * times
        others -= times
    return LARGEST_PICTURE


def _distinct(rows: Sequence[Row], keys: Keys, side: int) -> dict[Key, Weight]:
    """Return the weights of a side by their keys, so that each number is read once."""
    distinct: dict[Key, Weight] = {}
    for row, key in zip(rows, keys, strict=True):
        weight = row.weights[side]
        if key is not None and weight is not None:
            distinct.setdefault(key, weight)
    return distinct


def _looks(
    listed: Weights, distinct: Mapping[Key, Weight], facts: Facts, statistics: Statistics, room: int, *, progress: bool
) -> Iterator[tuple[Key, Look, bool]]:
    """Yield the look at each weight, and whether its details are shown; those that need no look are added to `statistics`."""
    most = _room_for(distinct)
    largest = set(nlargest(most, distinct, key=lambda key: distinct[key].size))
    statistics.glance({key: weight for key, weight in distinct.items() if key not in largest}, facts)
    kept = {key: weight for key, weight in distinct.items() if key not in statistics.places}
    ill = 0
    with watching("looking", sum(weight.nbytes for weight in kept.values()), shown=progress) as watch:
        seen = looks(map(watch, kept.values()), listed, lambda weight: picture_size(matrix_of(weight.shape), room), facts)
        for key, look in zip(kept, seen, strict=True):
            ill += key not in largest and bool(look.findings)
            yield key, look, key in largest or (bool(look.findings) and ill <= most)


def _compare(rows: Sequence[Row], seen: Sequence[Seen], room: int, *, progress: bool) -> Comparisons:
    """Compare each couple, and draw what changed; couples with an unreadable weight are left out."""
    sides = zip(rows, zip(*seen, strict=True), strict=True)
    couples = {id(row.couple): row.couple for row, both in sides if row.couple is not None and _is_readable(both)}
    both = sum(each.one.nbytes + each.other.nbytes for each in couples.values() if each.one and each.other)
    with watching("comparing", both, shown=progress) as watch:
        watched = [
            each._replace(one=each.one and watch(each.one), other=each.other and watch(each.other)) for each in couples.values()
        ]
        compared = differences(watched)
    detailed = (each is not None and each.detail is not None for each in seen[AFTER])
    drawn = {id(row.couple) for row, is_detailed in zip(rows, detailed, strict=True) if is_detailed}
    pairs = ((each, row) for each, row in zip(couples.values(), compared, strict=True) if id(each) in drawn)
    changed = [each for each, row in pairs if row.kind == "changed" and row.changed]
    jobs = ((each.one, each.other, room) for each in changed if each.one and each.other)
    pictures = dict(zip(map(id, changed), in_turn(jobs, _picture_of_change, _both_shared), strict=True))
    return {identity: (difference, pictures.get(identity)) for identity, difference in zip(couples, compared, strict=True)}


def _is_readable(sides: Iterable[MeasuredWeight | None]) -> bool:
    return all(each is None or each.error is None for each in sides)


def _picture_of_change(before: Weight, after: Weight, room: int) -> Picture:
    return picture(change(before, after), *picture_size(matrix_of(after.shape), room))


def _both_shared(before: Weight, after: Weight, room: int) -> bool:
    return before.size >= sizes.SUMMARY_THRESHOLD and is_shared(before) and is_shared(after)


def _decompose(measured: Sequence[MeasuredWeight], which: str, *, progress: bool) -> None:
    """Add a spectrum to each weight, or the reason why it has none: the smallest matrices first, within the budget."""
    fewest, most, together = VALUES
    values = min(max(together // max(len(measured), 1), fewest), most)
    left = WORK_BUDGET if which == "some" else float("inf")
    chosen = []
    for each in sorted(measured, key=lambda each: work(each.weight)):
        left -= work(each.weight)
        reason = _why_no_spectrum(each, which, left)
        is_matrix = min(matrix_shape(each.weight) or (0,)) > 1  # a page has no place for the spectrum of anything else
        each.detail = (each.detail or {}) | {"spectrum": None, "spectrum_why": reason if is_matrix else ""}
        if not reason:
            chosen.append(each)
    total = sum(each.weight.nbytes for each in chosen)
    with one_blas_thread(), watching("decomposing", total, shown=progress) as watch:
        spectra = in_turn(((watch(each.weight), each.norm) for each in chosen), _spectrum, _is_small)
        for each, result in zip(chosen, spectra, strict=True):
            record = spectrum_record(result, values) if isinstance(result, Spectrum) else None
            why = "" if isinstance(result, Spectrum) else str(result)
            each.detail = (each.detail or {}) | {"spectrum": record, "spectrum_why": why}


def _why_no_spectrum(each: MeasuredWeight, which: str, left: float) -> str:
    """Return the reason to leave out a spectrum; blank if there is none."""
    if each.error is not None:
        return "it cannot be read"
    if reason := without(each.weight):
        return reason
    if each.norm is None:
        return "it contains NaN or Inf"
    if which == "none":
        return "no spectra were requested"
    if which == "some" and (left < 0 or min(matrix_shape(each.weight) or (0,)) > EXACT):
        return "it is large and was left out to save time; --spectra all includes it"
    return ""


def _spectrum(weight: Weight, norm: float) -> Spectrum | Exception:
    try:
        return quick_spectrum(weight, norm)
    except (SteelyardError, np.linalg.LinAlgError) as error:
        return error


def _is_small(weight: Weight, norm: float) -> bool:
    """Return whether another thread may decompose a matrix."""
    return sizes.SUMMARY_THRESHOLD >> 6 <= weight.size <= LARGEST_SHARED and is_shared(weight)


def _outlines(seen: Seen, axis_end: float) -> dict[str, Any]:
    """Return the small histograms of all rows on one side."""
    cells = np.zeros((len(seen), SPARK_BINS), np.uint8)
    for nth, each in enumerate(seen):
        if each is not None and each.outline is not None:
            cells[nth] = each.outline.heights(axis_end, SPARK_BINS)
    return {"end": axis_end, "bins": SPARK_BINS, "cells": cells.reshape(-1)}


@uncollected()
def _details(rows: Sequence[Row], seen: Sequence[Seen], compared: Comparisons) -> list[list[Any]]:
    """Return the details of each row on each side; those of the newer source have the picture of the difference."""
    if len(seen) == 1:
        nothing = [None, None]
        return [nothing if each is None else [each.detail, None] for each in seen[AFTER]]
    details = []
    for row, both in zip(rows, zip(*seen, strict=True), strict=True):
        sides = [None if each is None else each.detail for each in both]
        _, drawn = compared.get(id(row.couple), (None, None))
        if (after := sides[AFTER]) is not None:
            sides[AFTER] = {**after, "difference": None if drawn is None else picture_record(drawn)}
        details.append(sides)
    return details
