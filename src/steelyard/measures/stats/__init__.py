"""Statistics of weights, of layers, of roles or of channels.

Every number is read once, in blocks, and converted to float64. The sums of the blocks are added without rounding, so
equal weights have equal statistics, to the last bit, from any container and with any number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from steelyard.core.threads import in_turn
from steelyard.errors import ShapeError, WeightNotFoundError, meant, quoted
from steelyard.io import readable_weights
from steelyard.numerics.weight_stats import FIGURES, NEAR, TOGETHER, Subject, WeightStats, weight_stats
from steelyard.paths import is_spread
from steelyard.text import tabular

if TYPE_CHECKING:
    import os

    from steelyard.core.weight import Weight
    from steelyard.engines.opening import Opening
    from steelyard.numerics.summary import Summary


class Stats:
    """The statistics of several weights, layers, roles or channels, in order; printed as a table.

    `by` is the grouping, and `rows` are all rows. `stats["fc.weight"]` is the row of this name; channels, of which several
    have one name, are in `rows` only. `left_out` names the weights that lack the axis `by` or have no numbers, or whose
    axes are not known.
    """

    __slots__ = ("by", "left_out", "rows")

    def __init__(self, by: str, rows: Iterable[WeightStats], left_out: Iterable[str] = ()) -> None:
        self.by = by
        self.rows = tuple(rows)
        self.left_out = tuple(left_out)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[WeightStats]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> WeightStats:
        for row in self.rows:
            if row.name == name:
                return row
        raise WeightNotFoundError(name, [row.name for row in self.rows])

    def __repr__(self) -> str:
        from steelyard.text.statistics import stats_table

        return stats_table(self)

    def _repr_html_(self) -> str:
        from steelyard.text.results import stats_html

        return stats_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return all rows as plain Python."""
        return {"by": self.by, "rows": self.to_records(), "left_out": list(self.left_out)}

    def to_records(self) -> list[dict[str, Any]]:
        """Return the rows as plain Python."""
        return [row.to_dict() for row in self.rows]

    to_columns = tabular.to_columns
    to_frame = tabular.to_frame
    write = tabular.write


def stats(  # noqa: PLR0913 - each is an option, by name
    source: object,
    by: str | None = None,
    *,
    histogram: bool = True,
    near: float = NEAR,
    skip_unreadable: bool = False,
    effective: bool = False,
    engine: object = None,
    workers: int | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> Stats:
    """Return statistics of the weights of a model, a file, or any other source of `weights`.

    `by` is the grouping: None for a row per weight, "layer", "role", "all", or an axis of `Weight.axes`: "out" gives
    a row for each output channel of each weight, "vocab" one for each word of an embedding. Tied weights count once.
    Without `histogram`, types longer than two bytes have no quantiles, and the call takes half the time; with the extra `fast`,
    which adds in another order, it takes less, and float16 and bfloat16 have none either. Numbers x with
    |x| <= `near` are counted as near zero. With `effective` the weights are those of `Weights.effective`.

    Memory use is bounded, whatever the size of the weights. Raises the errors of `weights` and of reading, `ShapeError`
    if no weight has the axis, and `UnreadableError` for weights that cannot be read, unless `skip_unreadable` leaves them out
    with a warning.

    With an `engine` ("threads", "dask", "ray", "joblib", or a Client of Dask) or `workers`, a file is read by so many workers,
    with the same result to the last bit, and finished parts are kept in the journal `resume`; `steelyard.engines` has the rest.
    For a pattern, such as "run*/*.pt", or with these for a list of paths, the result is a `ByFile`, with the statistics of each.

    Examples:
        >>> import numpy as np
        >>> found = stats({"fc": {"kernel": np.array([[1.0, -3.0], [2.0, 0.0]]), "bias": np.array([0.5, np.nan])}})
        >>> found["fc.kernel"].mean, found["fc.kernel"].zeros, found["fc.bias"].first_nonfinite
        (0.0, 1, ('fc.bias', (1,)))
        >>> stats({"a": np.ones(2), "b": np.zeros(2)}, "all").rows[0].std
        0.5
    """
    if is_spread(source, engine, workers, resume):
        here = partial(stats, source, by, histogram=histogram, near=near, skip_unreadable=skip_unreadable, effective=effective)
        there = partial(stats_of, by, histogram, near)
        return _by_engine(there, here, source, (engine, workers, resume), skip_unreadable=skip_unreadable, effective=effective)
    weights = readable_weights(source, skip_unreadable=skip_unreadable, effective=effective)
    listed = list(weights.distinct().values())
    if by is None or by in TOGETHER:
        return Stats(by or "weight", _together(listed, by or "weight", histogram, near))
    from steelyard.measures.stats.channels import channel_axes

    axes = {weight.name: channel_axes(weight, by) for weight in listed}
    if listed and not any(axes.values()):
        known = sorted({word for weight in listed for word in weight.axes.split()}) or ["none"]
        raise ShapeError(
            f"no weight has the axis {quoted(by)}; the known axes are {', '.join(known)}{meant(by, (*TOGETHER, *known))}"
        )
    kept = [weight for weight in listed if axes[weight.name] and weight.size]  # an axis of an empty weight may have any length
    jobs = ((weight, axes[weight.name], near) for weight in kept)
    # a weight at a time, in this thread, or one for each worker of an engine
    rows = [row for found in in_turn(jobs, _channels, lambda *_: False) for row in found]
    names = {weight.name for weight in kept}
    return Stats(by, rows, [name for name in axes if name not in names])


def _by_engine(there: Any, here: Any, source: object, asked: tuple[Any, ...], **meant: bool) -> Stats:
    from steelyard.engines.calls import Asked, spread

    found: Stats = spread(there, here, source, Asked(*asked), **meant)
    return found


def stats_of(by: str | None, histogram: bool, near: float, opening: Opening) -> Stats:
    """Return the statistics of a file, for an engine."""
    from steelyard.engines.opening import listed

    return stats(listed(opening), by, histogram=histogram, near=near)


def _together(listed: Sequence[Weight], by: str, histogram: bool, near: float) -> Iterator[WeightStats]:
    """Yield the statistics of whole weights; those of a group are merged after all were read."""
    from steelyard.numerics.summary import Summary, summaries

    groups: dict[str, tuple[Summary, list[Weight]]] = {}
    for weight, summary in zip(listed, summaries(listed, wide=histogram, near=near), strict=True):
        if by == "weight":
            yield weight_stats(_subject(weight), summary, listed)
            continue
        key = {"layer": weight.layer, "role": str(weight.role)}.get(by, "all")
        group, members = groups.setdefault(key, (Summary(wide=histogram, near=near), []))
        group.merge(summary)
        members.append(weight)
    for key, (group, members) in groups.items():
        yield weight_stats(Subject(key, weights=len(members)), group, listed)


def _subject(weight: Weight) -> Subject:
    return Subject(weight.name, weight.layer, str(weight.role), weight.shape, weight.dtype)


def _channels(weight: Weight, axes: tuple[int, ...], near: float) -> list[WeightStats]:
    """Return the statistics of each channel of a weight."""
    from steelyard.measures.stats.channels import channels_of, units_of

    subject, figures = _subject(weight), channels_of(weight, axes, near).figures()
    columns = [figures[key].tolist() for key in FIGURES]
    rows = []
    for nth, (unit, values) in enumerate(zip(units_of(weight, axes), zip(*columns, strict=True), strict=True)):
        numbers = [None if number != number else number for number in values]  # noqa: PLR0124 - NaN alone differs
        rows.append(WeightStats(subject._replace(channel=nth, unit=unit), numbers))
    return rows
