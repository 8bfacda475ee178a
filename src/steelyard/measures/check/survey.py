"""Survey a net in one pass over its numbers: statistics, histograms, pictures and findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard import sizes
from steelyard.core.indexing import place_of
from steelyard.core.threads import in_turn
from steelyard.core.weight import Weight
from steelyard.dtypes import is_floating
from steelyard.errors import ShapeError, SteelyardError, printable
from steelyard.measures.check import not_finite, unreadable
from steelyard.measures.check.duplicate_units import UnitScan
from steelyard.measures.check.health import aspect, has_health, judged, scanned, sound, surely_healthy, unhealthy
from steelyard.numerics.blocks import is_far, is_shared
from steelyard.numerics.nonfinite import NonFinite
from steelyard.numerics.picture import Drawing, Picture
from steelyard.numerics.small import groups_of_small, statistics_of_rows
from steelyard.numerics.summary import Summary

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.measures.check.findings import Finding

    Cells = Callable[[Weight], tuple[int, int]]
    """Returns the rows and columns of cells in which to draw a weight."""
    Facts = Mapping[str, Weight]
    """The weights whose health is checked, by name, with the axes and roles that their layers imply."""


class Look:
    """The result of one pass over a weight: the `summary` of its numbers, its `picture`, and `findings` as in `check`.

    If the numbers cannot be read, `error` is the reason, the summary is empty and there is no picture.
    """

    __slots__ = ("error", "findings", "picture", "summary", "weight")

    def __init__(self, weight: Weight, summary: Summary | None = None) -> None:
        self.weight = weight
        self.summary = summary or Summary()
        self.picture: Picture | None = None
        self.findings: list[Finding] = []
        self.error: SteelyardError | None = None


class Glance(NamedTuple):
    """The `names` of weights without findings, and their statistics as `columns`, which `statistics_of_rows` returns."""

    names: list[str]
    columns: tuple[Array, ...]


def glances(listed: Iterable[Weight], facts: Facts) -> Iterator[Glance]:
    """Yield what is seen of many small weights at once, in a hundredth of the time; `facts` are as `judged` returns them.

    Weights that may have findings are left out, and so are large ones and those that cannot be read: each needs a look.
    """
    near = [facts.get(weight.name, weight) for weight in listed if not is_far(weight)]
    for some, rows in groups_of_small(near, lambda weight: (weight.name in facts, aspect(weight))):
        low, high, _, _, norm, _ = columns = statistics_of_rows(rows)
        good = ((norm > 1e-50) & (norm < 1e50)) | ((low == 0) & (high == 0))  # others need exact sums, or are not finite
        if some[0].name in facts:
            good &= sound(some[0], rows)
        yield Glance([some[place].name for place in np.flatnonzero(good)], tuple(column[good] for column in columns))


def looks(listed: Iterable[Weight], weights: Weights, cells: Cells, facts: Facts | None = None) -> Iterator[Look]:
    """Yield the result of one pass over each of some weights of a net, in order; an unreadable weight does not raise.

    Two threads share the work. The findings are those of `check(found, health=True)`, without the calls that a pickle would
    have made. `facts` are as `judged` returns them, if they are known; if they are empty, no health is checked, and the findings
    are those of `check(found)`, in a fifth of the time.
    """
    facts = judged(weights) if facts is None else facts
    listed = list(listed)
    healthy = surely_healthy([facts[each.name] for each in listed if each.name in facts and not is_far(each)])
    jobs = ((each, None if each.name in healthy else facts.get(each.name), weights, cells) for each in listed)
    yield from in_turn(jobs, look, lambda weight, *_: weight.size >= sizes.SUMMARY_THRESHOLD and is_shared(weight))


def look(weight: Weight, known: Weight | None, weights: Weights, cells: Cells) -> Look:
    """Survey one weight of a net; `known` is the weight with the axes and role that its layer implies, None to skip health."""
    seen = Look(weight)
    try:
        drawing = Drawing(weight, *cells(weight))
        units = _scanned(weight, known, drawing.add)
        seen.findings = [*_finite(weight, units.summary, weights)]
        if known is not None and has_health(known):
            seen.findings += unhealthy(known, units)
    except SteelyardError as error:
        seen.error, seen.findings = error, [unreadable(weight, error)]
    else:
        seen.summary, seen.picture = units.summary, drawing.picture()
    return seen


def _scanned(weight: Weight, known: Weight | None, also: Callable[[Array, int], None]) -> UnitScan:
    if weight.dtype == "object":
        weight.read(0, min(weight.size, 1))  # this may raise a more precise error
        raise ShapeError(f"{printable(weight.name)} holds no numbers")
    return scanned(known, also) if known is not None and has_health(known) else UnitScan(weight, also=also)


def _finite(weight: Weight, summary: Summary, weights: Weights) -> Iterator[Finding]:
    if summary.first is not None and (is_floating(weight.dtype) or weight.dtype.startswith("complex")):
        bad = NonFinite(weight.name, summary.nan, summary.inf, place_of(weight.shape, summary.first[1]))
        yield not_finite(weight, bad, weights)
