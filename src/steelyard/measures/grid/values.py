"""The values of a grid's cells: a statistic of the numbers of its weights, or how they differ from an older net."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.errors import SteelyardError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.measures.diff import Diff, Difference
    from steelyard.numerics.moments import Moments
    from steelyard.numerics.summary import Summary

    Reads = Mapping[str, Summary | str]
    """The summary of each weight, or why there is none."""

TOGETHER = 2048
"""The weights of which the numbers are read in one go, until one of them cannot be read."""


class Cell(NamedTuple):
    """The value of one or several weights, by their `names`; None where a `note` says why there is no number.

    A note may also say more about a number: "2 NaN", "tied to wte.weight". `nonfinite` counts the NaN and Inf among the numbers.
    """

    value: float | None
    names: tuple[str, ...]
    note: str = ""
    nonfinite: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return {**self._asdict(), "names": list(self.names)}


class Measure(NamedTuple):
    """What a grid shows: the words for it, the kind of its scale, and its value for a summary or for a difference."""

    what: str
    scale: str
    of_summary: Callable[[Summary], float | None] | None = None
    of_difference: Callable[[Difference], float | None] | None = None


def _greatest(moments: Moments) -> float | None:
    return None if moments.minimum is None else max(abs(moments.minimum), abs(moments.maximum or 0.0))


def _rank(row: Difference) -> float | None:
    """Return the rank of a change: 0 for none, and None where it is not a low one."""
    if not row.changed:
        return 0.0
    return None if row.verdict is None or row.verdict.kind != "low rank" else float(row.verdict.evidence["rank"])


def _relative(row: Difference) -> float | None:
    return None if row.nonfinite and not row.relative else row.relative  # 0 is that of the entries which stayed finite


def _equal(row: Difference) -> float:
    return 1 - row.changed / max(row.count, 1)


MEASURES = {
    "std": Measure("standard deviation", "logarithmic", lambda s: s.moments.std),
    "norm": Measure("l2 norm", "logarithmic", lambda s: s.moments.l2),
    "rms": Measure("root mean square", "logarithmic", lambda s: s.moments.rms),
    "mean": Measure("mean", "signed", lambda s: s.moments.mean),
    "max_abs": Measure("greatest magnitude", "logarithmic", lambda s: _greatest(s.moments)),
    "sparsity": Measure("share of zeros", "linear", lambda s: s.moments.zeros / s.moments.count if s.moments.count else None),
    "nonfinite": Measure("count of NaN and Inf", "logarithmic", lambda s: float(s.nan + s.inf)),
    "change": Measure("relative change |after - before| / |before|", "logarithmic", None, _relative),
    "rank": Measure("rank of the change, where it is a low one", "linear", None, _rank),
    "equal": Measure("share of equal entries", "linear", None, _equal),
}
"""What a grid can show, by the word for it."""


def read(weights: Sequence[Weight]) -> Iterator[tuple[str, Summary | str]]:
    """Read every number once, and yield the summary of each weight by its name, or why it cannot be read."""
    from steelyard.numerics.summary import summaries

    for start in range(0, len(weights), TOGETHER):
        some = [weight for weight in weights[start : start + TOGETHER] if weight.unreadable is None]
        yield from ((each.name, each.unreadable) for each in weights[start : start + TOGETHER] if each.unreadable is not None)
        done = 0
        try:
            for weight, summary in zip(some, summaries(some, wide=False), strict=True):
                yield weight.name, summary
                done += 1
        except SteelyardError:
            yield from ((weight.name, _alone(weight)) for weight in some[done:])


def _alone(weight: Weight) -> Summary | str:
    from steelyard.numerics.summary import summarise

    try:
        return summarise([weight], wide=False)
    except SteelyardError as error:
        return str(error)


def read_all(weights: Weights, held: Iterable[str]) -> dict[str, Summary | str]:
    """Read the weights of these names; tied ones once, and codes of packed ones not at all, since they are not its numbers."""
    from steelyard.core.packing import packed, parts_of

    codes = dict.fromkeys(parts_of(packed(weights)), "packed; effective=True, or --effective, shows its numbers")
    owners = {name: weights[name].tied or name for name in held}
    distinct = [weights[name] for name in dict.fromkeys(owners.values()) if name in weights and name not in codes]
    found: dict[str, Summary | str] = {**dict(read(distinct)), **codes}
    return {name: found.get(owner, "tied to a weight that is not here") for name, owner in owners.items()}


def cell_of_summaries(names: Sequence[str], reads: Reads, measure: Measure, tied: Mapping[str, str]) -> Cell:
    """Return the cell of some weights: the value of all their numbers together; unreadable ones have none."""
    reasons = [what for name in names if isinstance(what := reads[name], str)]
    if reasons:
        return Cell(None, tuple(names), printable(reasons[0], 600))
    whole = _merged([what for name in names if not isinstance(what := reads[name], str)])
    bad = whole.nan + whole.inf
    counts = ((whole.nan, "NaN"), (whole.inf, "Inf"))
    notes = [f"{count:,} {word}" for count, word in counts if count]
    notes += [f"tied to {printable(tied[name])}" for name in names[:1] if name in tied]
    assert measure.of_summary is not None  # the caller has chosen one of `OF_ONE`
    value = measure.of_summary(whole)
    return Cell(value, tuple(names), ", ".join([*notes, *(["no finite numbers"] if value is None else [])]), bad)


def _merged(parts: Sequence[Summary]) -> Summary:
    if len(parts) == 1:
        return parts[0]
    from steelyard.numerics.summary import Summary

    whole = Summary(wide=False)
    for part in parts:
        whole.merge(part)
    return whole


def by_name(diff: Diff) -> dict[str, Difference]:
    """Return the rows of a diff by their names in the newer net, or in the older one where the newer has no such weight."""
    return {row.name or row.source: row for row in diff.rows}


def cell_of_differences(names: Sequence[str], rows: Mapping[str, Difference], measure: Measure) -> Cell:
    """Return the cell of some weights: the value of the one that changed most."""
    known = [rows[name] for name in names if name in rows]
    if not known:
        return Cell(None, tuple(names), "not compared")
    row = max(known, key=lambda row: row.greatness)
    assert measure.of_difference is not None  # the caller has chosen one of `OF_TWO`
    value = measure.of_difference(row) if row.kind in ("equal", "changed", "renamed") else None
    return Cell(value, tuple(names), _note(row), row.nonfinite)


def _note(row: Difference) -> str:
    """Return what else is known of a difference: its kind, its verdict, and numbers that are not finite."""
    if row.kind == "changed":
        retyped = "" if row.dtypes[0] == row.dtypes[1] else f"{row.dtypes[0]} became {row.dtypes[1]}"
        wrong = f"{row.nonfinite:,} not finite on one side only" if row.nonfinite else ""
        undefined = "from zero" if row.relative is None else ""
        return ", ".join(filter(None, (row.verdict.kind if row.verdict else "", undefined, retyped, wrong))) or "changed"
    if row.kind == "shape":
        return f"shape {list(row.shapes[0] or ())} became {list(row.shapes[1] or ())}"
    return row.kind
