"""Gathering all that a report tells: each number is looked at once, compared once where there are two sides, within budgets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.weight import Weight
from steelyard.errors import SteelyardError
from steelyard.inspector.details import SPARK, detail_of, filters_record, grid, picture_record, spectrum_record
from steelyard.inspector.index import FIGURES, Row, Side, difference_columns, finding_record, index_of
from steelyard.measures.check.survey import Look, looks
from steelyard.measures.diff import Difference, differences
from steelyard.measures.filters import axes_of_filters
from steelyard.measures.spectra import EXACT, Spectrum, spectrum, without, work
from steelyard.numerics.blocks import in_turn, is_shared
from steelyard.numerics.matrices import matrix_shape, one_blas_thread
from steelyard.numerics.picture import Picture, change, matrix_of, picture
from steelyard.numerics.summary import SMALL
from steelyard.text.progress import watching
from steelyard.text.sparkline import Axis, Outline
from steelyard.text.table import AXIS_ROLES

if TYPE_CHECKING:
    from steelyard.inspector.index import Key

CELLS = (800_000, 180)
"""Cells that all pictures have together, and more for each row."""
LARGEST = 1 << 16
"""Cells that one picture has at most."""
VALUES = (16, 128, 40_000)
"""Singular values that a spectrum shows at least, at most, and all together."""
WORK = 2e10
"""Rows times columns times the shorter side of all matrices that are decomposed: some seconds."""
SPECTRA = ("some", "all", "none")


class Gathered:
    """What a report is made of: the `index`, the `details` of each row on each side, and how many weights are `unreadable`."""

    __slots__ = ("details", "index", "unreadable")

    def __init__(self, index: dict[str, Any], details: list[list[Any]], unreadable: int) -> None:
        self.index = index
        self.details = details
        self.unreadable = unreadable


class Seen:
    """What is kept of one weight that was looked at; `norm` is None where a number is not finite."""

    __slots__ = ("detail", "error", "norm", "outline", "weight")

    def __init__(self, weight: Weight, look: Look, room: int) -> None:
        self.weight = weight
        self.error = look.error
        self.norm = look.summary.moments.l2 if look.summary.finite else None
        self.outline = Outline(look.summary)
        self.detail = detail_of(look, small=True)
        if look.error is None:
            self.detail["filters"] = filters_record(weight, room)


def gathered(
    sides: Sequence[Side], rows: Sequence[Row], told: Sequence[str], *, spectra: str = "some", progress: bool = False
) -> Gathered:
    """Look at every weight of one or two sides. What cannot be read is told with its error, and counted."""
    room, axes = _room(rows), (Axis(), Axis())
    index = index_of(sides, rows, told, live=False)
    seen: list[dict[Key, Seen]] = [{} for _ in sides]
    for nth, side in enumerate(sides):
        listed = _listed(rows, nth)
        for (key, weight), look in zip(listed.items(), _looks(side, nth, listed, room, progress=progress), strict=True):
            seen[nth][key] = Seen(weight, look, room)
            for axis in axes[: 1 + (weight.role in AXIS_ROLES)]:
                axis.add(look.summary)
            if nth == 0:
                index["findings"] += map(finding_record, look.findings)
    _decompose([each for side in seen for each in side.values()], spectra, progress=progress)
    apart = _compared(rows, seen, room, progress=progress) if len(sides) > 1 else {}
    _complete(index, rows, seen, apart, (axes[1] if axes[1].filled else axes[0]).end)
    return Gathered(index, _details(rows, seen, apart), sum(each.error is not None for side in seen for each in side.values()))


def _room(rows: Sequence[Row]) -> int:
    """Return the cells that a picture may have: small ones need few, the others share the rest equally."""
    wants = []
    for row in rows:
        for weight in filter(None, row.weights):
            wants += [min(weight.size, LARGEST)] * (2 if axes_of_filters(weight) else 1)
        if row.couple is not None and row.couple.comparable:
            wants.append(min(row.weight.size, LARGEST))
    left = CELLS[0] + CELLS[1] * len(rows)
    for nth, want in enumerate(sorted(wants)):
        if want * (len(wants) - nth) > left:
            return max(left // (len(wants) - nth), 1)
        left -= want
    return LARGEST


def _listed(rows: Sequence[Row], nth: int) -> dict[Key, Weight]:
    """Return the weights of a side that have numbers of their own."""
    listed: dict[Key, Weight] = {}
    for row in rows:
        key, weight = row.key(nth), row.weights[nth]
        if key is not None and weight is not None:
            listed.setdefault(key, weight)
    return listed


def _looks(side: Side, nth: int, listed: Mapping[Key, Weight], room: int, *, progress: bool) -> Iterator[Look]:
    """Yield what one pass over each of these weights finds; of the first side also what is wrong with it."""
    with watching("looking", sum(weight.nbytes for weight in listed.values()), shown=progress) as watch:
        watched = map(watch, listed.values())
        yield from looks(watched, side.weights, lambda weight: grid(matrix_of(weight.shape), room), health=nth == 0)


def _compared(
    rows: Sequence[Row], seen: Sequence[Mapping[Key, Seen]], room: int, *, progress: bool
) -> dict[int, tuple[Difference, Picture | None]]:
    """Return what differs in each couple by its identity, and the picture of that; those that cannot be read are left out."""
    couples = {id(row.couple): row.couple for row in rows if row.couple is not None and _is_readable(row, seen)}
    both = sum(each.one.nbytes + each.other.nbytes for each in couples.values() if each.one and each.other)
    with watching("comparing", both, shown=progress) as watch:
        watched = [
            each._replace(one=each.one and watch(each.one), other=each.other and watch(each.other)) for each in couples.values()
        ]
        found = differences(watched)
    changed = [each for each, row in zip(couples.values(), found, strict=True) if row.kind == "changed" and row.changed]
    jobs = ((each.one, each.other, room) for each in changed if each.one and each.other)
    pictures = dict(zip(map(id, changed), in_turn(jobs, _picture_of_change, _both_shared), strict=True))
    return {nth: (row, pictures.get(nth)) for nth, row in zip(couples, found, strict=True)}


def _is_readable(row: Row, seen: Sequence[Mapping[Key, Seen]]) -> bool:
    keys = [row.key(side) for side in range(len(seen))]
    return all(key is None or side[key].error is None for key, side in zip(keys, seen, strict=True))


def _picture_of_change(one: Weight, other: Weight, room: int) -> Picture:
    return picture(change(one, other), *grid(matrix_of(other.shape), room))


def _both_shared(one: Weight, other: Weight, room: int) -> bool:
    return one.size >= SMALL and is_shared(one) and is_shared(other)


def _decompose(seen: Sequence[Seen], which: str, *, progress: bool) -> None:
    """Give each weight its spectrum, or say why it has none: the smallest matrices first, as long as there is time."""
    fewest, most, together = VALUES
    values = min(max(together // max(len(seen), 1), fewest), most)
    left = WORK if which == "some" else float("inf")
    chosen = []
    for each in sorted(seen, key=lambda each: work(each.weight)):
        left -= work(each.weight)
        why = _why_not(each, which, left)
        each.detail |= {"spectrum": None, "spectrum_why": why}
        if not why:
            chosen.append(each)
    total = sum(each.weight.nbytes for each in chosen)
    with one_blas_thread(), watching("decomposing", total, shown=progress) as watch:
        found = in_turn(((watch(each.weight), each.norm) for each in chosen), _spectrum, _is_small)
        for each, one in zip(chosen, found, strict=True):
            each.detail["spectrum"] = spectrum_record(one, values) if isinstance(one, Spectrum) else None
            each.detail["spectrum_why"] = "" if isinstance(one, Spectrum) else str(one)


def _why_not(each: Seen, which: str, left: float) -> str:
    """Say why a spectrum is left out; blank for one that is not."""
    if each.error is not None:
        return "it cannot be read"
    if why := without(each.weight):
        return why
    if each.norm is None:
        return "it is not finite"
    if which == "none":
        return "no spectra were asked for"
    if which == "some" and (left < 0 or min(matrix_shape(each.weight) or (0,)) > EXACT):
        return "it is large, and was left out to save time; --spectra all has it"
    return ""


def _spectrum(weight: Weight, norm: float) -> Spectrum | Exception:
    try:
        return spectrum(weight, norm, null_draws=0)
    except (SteelyardError, np.linalg.LinAlgError) as error:
        return error


def _is_small(weight: Weight, norm: float) -> bool:
    """Tell whether another thread may decompose a matrix: two large ones would take too much memory."""
    return SMALL >> 6 <= weight.size <= 1 << 20 and is_shared(weight)


def _complete(
    index: dict[str, Any],
    rows: Sequence[Row],
    seen: Sequence[Mapping[Key, Seen]],
    apart: Mapping[int, tuple[Difference, Picture | None]],
    end: float,
) -> None:
    """Write what was found into the index."""
    for nth, word in enumerate(("spark", "spark_against")[: len(seen)]):
        keys = [row.key(nth) for row in rows]
        cells = [np.zeros(SPARK, np.uint8) if key is None else seen[nth][key].outline.heights(end, SPARK) for key in keys]
        index[word] = {"end": end, "bins": SPARK, "cells": np.concatenate([np.zeros(0, np.uint8), *cells])}
    shown = [next(each for side, each in zip(seen, _keyed(row, seen), strict=True) if each is not None) for row in rows]
    for word in FIGURES:
        index["columns"][word] = [each.detail.get("figures", {}).get(word) for each in shown]
    if len(seen) > 1:
        found: Iterable[Difference | None] = (apart.get(id(row.couple), (None, None))[0] for row in rows)
        index["columns"] |= difference_columns(found, rows)


def _keyed(row: Row, seen: Sequence[Mapping[Key, Seen]]) -> list[Seen | None]:
    """Return what was seen of a row on each side."""
    keys = [row.key(nth) for nth in range(len(seen))]
    return [None if key is None else side[key] for key, side in zip(keys, seen, strict=True)]


def _details(
    rows: Sequence[Row], seen: Sequence[Mapping[Key, Seen]], apart: Mapping[int, tuple[Difference, Picture | None]]
) -> list[list[Any]]:
    """Return the details of each row on each side; the picture of the difference is with the first."""
    details = []
    for row in rows:
        found = [None if each is None else each.detail for each in _keyed(row, seen)]
        _, drawn = apart.get(id(row.couple), (None, None))
        if len(seen) > 1 and found[0] is not None:
            found[0] = {**found[0], "difference": None if drawn is None else picture_record(drawn)}
        details.append(found if len(found) > 1 else [*found, None])
    return details
