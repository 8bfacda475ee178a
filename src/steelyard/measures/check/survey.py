"""Survey a net in one pass over its numbers: statistics, histograms, pictures and findings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from steelyard import sizes
from steelyard.core.indexing import place_of
from steelyard.core.packing import packed, parts_of
from steelyard.core.threads import in_turn
from steelyard.core.weight import Weight
from steelyard.dtypes import is_floating
from steelyard.errors import ShapeError, SteelyardError, printable
from steelyard.measures.check import not_finite, unreadable
from steelyard.measures.check.duplicate_units import UnitScan
from steelyard.measures.check.health import has_health, known_facts, scanned, surely_healthy, unhealthy
from steelyard.numerics.blocks import is_shared
from steelyard.numerics.nonfinite import NonFinite, surely_finite
from steelyard.numerics.picture import Drawing, Picture
from steelyard.numerics.summary import Summary, summaries

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.measures.check.findings import Finding

    Cells = Callable[[Weight], tuple[int, int]]
    """Returns the rows and columns of cells in which to draw a weight."""


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


def looks(
    listed: Iterable[Weight], weights: Weights, cells: Cells, *, health: bool = True, brief: Collection[str] = ()
) -> Iterator[Look]:
    """Yield the result of one pass over each of some weights of a net, in order; an unreadable weight does not raise.

    Two threads share the work. The findings are those of `check(found, health=True)`, without the calls that a pickle would
    have made. Without `health` they are those of `check(found)`, in a fifth of the time. Of the weights named in `brief`, those
    without findings may have neither a picture nor a histogram, in a hundredth of the time.
    """
    known, codes = (known_facts(weights), parts_of(packed(weights))) if health else ({}, frozenset())
    listed = list(listed)
    facts = {each.name: known.get(each.name, each) if health and each.name not in codes else None for each in listed}
    healthy = _sound(listed, facts)
    sound = healthy.intersection(brief)
    short = summaries([weight for weight in listed if weight.name in sound], wide=False)
    kept = (weight for weight in listed if weight.name not in sound)
    jobs = ((weight, None if weight.name in healthy else facts[weight.name], weights, cells) for weight in kept)
    full = in_turn(jobs, look, lambda weight, *_: weight.size >= sizes.SUMMARY_THRESHOLD and is_shared(weight))
    for weight in listed:
        yield Look(weight, next(short)) if weight.name in sound else next(full)


def _sound(listed: Sequence[Weight], facts: Mapping[str, Weight | None]) -> set[str]:
    """Return the names of small weights that surely have no finding, by a coarser look at many at once."""
    finite = surely_finite(listed)
    judged = [of for each in listed if each.name in finite and (of := facts[each.name]) is not None and has_health(of)]
    return finite - ({each.name for each in judged} - surely_healthy(judged))


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
