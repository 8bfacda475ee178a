"""Statistics of weights: each by itself, or those of a layer, of a role or of a channel together.

Every number is read once, in blocks, and computed with in float64; the sums of the blocks are added without rounding,
so that the same weights give the same figures, to the last bit, from any container and on any number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.errors import ShapeError, WeightNotFoundError, printable
from steelyard.io import weights

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights
    from steelyard.numerics.summary import Summary

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
NEAR = 1e-8
"""The magnitude up to which a number is near zero, where nobody says otherwise."""
TOGETHER = ("weight", "layer", "role", "all")
"""By what the numbers of whole weights are put together; anything else is an axis."""
FIGURES = ("count", "min", "max", "mean", "std", "l1", "l2", "rms", "zeros", "near_zeros", "nan", "inf")


class Figures:
    """What the numbers of one weight, layer, role or channel are.

    `facts` say which: the name, and of a weight its layer, role, shape and dtype. `count` is how many are finite; `nan`
    and `inf` are counted apart and left out of the rest. `min`, `max`, `mean`, `std` (of all, not of a sample), `l1`,
    `l2` and `rms` are None without a finite number. `near_zeros` are magnitudes up to `near`, zeros among them.
    """

    __slots__ = ("_summary", "_values", "facts", "first_nonfinite")

    def __init__(
        self,
        facts: Mapping[str, Any],
        values: Sequence[Any],
        summary: Summary | None = None,
        first: tuple[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.facts = dict(facts)
        self._values = dict(zip(FIGURES, values, strict=True))
        self._summary = summary
        self.first_nonfinite = first

    def __getattr__(self, name: str) -> Any:
        if name in FIGURES:
            return self._values[name]
        raise AttributeError(f"no figure is called {name!r}; there are {', '.join(FIGURES)}")

    def __repr__(self) -> str:
        return f"Figures({', '.join(f'{key}={value!r}' for key, value in self.to_dict().items())})"

    def quantile(self, share: float) -> float | None:
        """Return the least number that is no smaller than this share (0 to 1) of all that are finite.

        Exact for types of one or two bytes, else within `quantile_error`. None without numbers, for channels, and
        where `stats` was told to do without the histogram.
        """
        return None if self._summary is None else self._summary.quantile(share)

    @property
    def quantile_error(self) -> float | None:
        """The relative error that a quantile may have: 0, or 1/256 where the type has more than two bytes."""
        return None if self._summary is None else self._summary.quantile_error

    def histogram(self, edges: Array | Sequence[float] | int = 64) -> tuple[Array, Array]:
        """Return how many numbers lie in each bin, and the edges of the bins, as `numpy.histogram` does.

        `edges` are these, or how many bins of one width reach from the least to the greatest number. Any picture is
        made of the same counts, which are exact for types of one or two bytes. Raises `ShapeError` for channels, and
        where `stats` was told to do without the histogram.
        """
        import numpy as np

        if self._summary is None or not self._summary.wide:
            raise ShapeError("there is no histogram: it is made for whole weights, with histogram=True")
        if isinstance(edges, int):
            low, high = (0.0, 1.0) if self.min is None else (float(self.min), float(self.max))
            edges = np.linspace(low, high if high > low else low + 1.0, edges + 1)
        edges = np.asarray(edges, float)
        return self._summary.counts(edges), edges

    def to_dict(self) -> dict[str, Any]:
        """Return the facts and the figures as plain Python."""
        place = self.first_nonfinite
        first = None if place is None else {"weight": place[0], "index": list(place[1])}
        quantiles = {} if self._summary is None else {_called(share): self.quantile(share) for share in QUANTILES}
        error = {} if self._summary is None else {"quantile_error": self.quantile_error}
        return {**self.facts, **self._values, "first_nonfinite": first, **quantiles, **error}


class Stats:
    """The figures of several weights, layers, roles or channels, in order; printing them shows a table.

    `by` says of what each row is. `stats["fc.weight"]` is the row of this name, of channels all rows are in `rows`.
    `left_out` names the weights that have no such axis as `by`, or do not say what their axes are.
    """

    __slots__ = ("by", "left_out", "rows")

    def __init__(self, by: str, rows: Iterable[Figures], left_out: Iterable[str] = ()) -> None:
        self.by = by
        self.rows = tuple(rows)
        self.left_out = tuple(left_out)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Figures]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> Figures:
        for row in self.rows:
            if row.facts["name"] == name:
                return row
        raise WeightNotFoundError(name, [row.facts["name"] for row in self.rows])

    def __repr__(self) -> str:
        from steelyard.text.statistics import stats_table

        return stats_table(self)

    def _repr_html_(self) -> str:
        from steelyard.text.results import stats_html

        return stats_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return all rows as plain Python."""
        return {"by": self.by, "rows": [row.to_dict() for row in self.rows], "left_out": list(self.left_out)}

    def columns(self) -> dict[str, list[Any]]:
        """Return the table by columns, with one text or number for each row."""
        from steelyard.text.frames import columns_of

        return columns_of(row.to_dict() for row in self.rows)

    def to_frame(self, library: str | None = None) -> Any:
        """Return a frame of polars, pandas or pyarrow: the one that is named, imported already, or else installed.

        Raises `MissingExtraError` where narwhals, or any of these, is missing.
        """
        from steelyard.text.frames import frame_of

        return frame_of(self.columns(), library)

    def write(self, path: str) -> None:
        """Write the table into a file: .csv or .json, or .parquet (which needs polars or pyarrow, and narwhals).

        Raises `ShapeError` for another suffix and `MissingExtraError`.
        """
        from steelyard.text.frames import write_table

        write_table(self.columns(), self.to_dict(), path)


def stats(source: Any, by: str | None = None, *, histogram: bool = True, near: float = NEAR) -> Stats:
    """Return statistics of the weights of a model, a file or anything that `weights` takes.

    `by` says what one row is: a weight (None), "layer", "role", "all", or an axis in the words of `Weight.axes`: "out" has
    a row for each output channel of each weight, "vocab" one for each word of an embedding. Tied weights count once.
    Without the `histogram` there are no quantiles of types longer than two bytes, and it takes half the time.

    Memory is bounded, whatever the size of the weights. Raises what `weights` and reading raise, and `ShapeError`
    where no weight has the axis.

    Examples:
        >>> import numpy as np
        >>> found = stats({"fc": {"kernel": np.array([[1.0, -3.0], [2.0, 0.0]]), "bias": np.array([0.5, np.nan])}})
        >>> found["fc.kernel"].mean, found["fc.kernel"].zeros, found["fc.bias"].first_nonfinite
        (0.0, 1, ('fc.bias', (1,)))
        >>> stats({"a": np.ones(2), "b": np.zeros(2)}, "all").rows[0].std
        0.5
    """
    found: Weights = weights(source)
    listed = found._distinct().weights
    if by is None or by in TOGETHER:
        return Stats(by or "weight", _together(listed, by or "weight", histogram, near))
    from steelyard.measures.stats.channels import channel_axes

    axes = {weight.name: channel_axes(weight, by) for weight in listed}
    if listed and not any(axes.values()):
        known = sorted({word for weight in listed for word in weight.axes.split()}) or ["none"]
        raise ShapeError(f"no weight has the axis {printable(by)!r}; the axes that are known: {', '.join(known)}")
    rows = [row for weight in listed if axes[weight.name] for row in _channels(weight, axes[weight.name], near)]
    return Stats(by, rows, [name for name, own in axes.items() if not own])


def _together(listed: Sequence[Weight], by: str, histogram: bool, near: float) -> Iterator[Figures]:
    """Yield the figures of whole weights; those of a group are merged when all were read."""
    from steelyard.numerics.summary import Summary, summaries

    groups: dict[str, tuple[Summary, list[Weight]]] = {}
    for weight, summary in zip(listed, summaries(listed, wide=histogram, near=near), strict=True):
        if by == "weight":
            yield figures(_facts(weight), summary, listed)
            continue
        key = {"layer": weight.layer, "role": str(weight.role)}.get(by, "all")
        group, members = groups.setdefault(key, (Summary(wide=histogram, near=near), []))
        group.merge(summary)
        members.append(weight)
    for key, (group, members) in groups.items():
        yield figures({"name": key, "weights": len(members)}, group, listed)


def _facts(weight: Weight) -> dict[str, Any]:
    return {
        "name": weight.name,
        "layer": weight.layer,
        "role": str(weight.role),
        "shape": list(weight.shape),
        "dtype": weight.dtype,
    }


def figures(facts: Mapping[str, Any], summary: Summary, listed: Sequence[Weight]) -> Figures:
    """Return the figures of a summary of some of these weights, whose places are its ranks."""
    return _figures(facts, summary, _first(summary, listed))


def joined(rows: Sequence[Figures], name: str) -> Figures:
    """Return the figures of several weights as of one, from what was found when each was read; the facts are the first's.

    >>> import numpy as np
    >>> found = joined(stats({"a": np.array([1.0, 2.0]), "b": np.array([6.0])}).rows, "both")
    >>> found.count, found.mean, found.max, found.facts["name"]
    (3, 3.0, 6.0, 'both')
    """
    from steelyard.numerics.summary import Summary

    parts = [row._summary for row in rows if row._summary is not None]
    whole = Summary(wide=all(part.wide for part in parts), near=parts[0].moments.near)
    for part in parts:
        whole.merge(part)
    first = next((row.first_nonfinite for row in rows if row.first_nonfinite is not None), None)
    return _figures({**rows[0].facts, "name": name}, whole, first)


def _first(summary: Summary, listed: Sequence[Weight]) -> tuple[str, tuple[int, ...]] | None:
    """Return the weight and the place of the first number that is not finite."""
    from steelyard.numerics.indexing import place_of

    if summary.first is None:
        return None
    weight = listed[summary.first[0]]
    return weight.name, place_of(weight.shape, summary.first[1])


def _figures(facts: Mapping[str, Any], summary: Summary, first: tuple[str, tuple[int, ...]] | None) -> Figures:
    found = summary.moments
    values = [getattr(found, {"min": "minimum", "max": "maximum"}.get(key, key)) for key in FIGURES[:-2]]
    return Figures(facts, [*values, summary.nan, summary.inf], summary, first)


def _channels(weight: Weight, axes: tuple[int, ...], near: float) -> Iterator[Figures]:
    """Yield the figures of each channel of a weight."""
    from steelyard.measures.stats.channels import channels_of, units_of

    figures = channels_of(weight, axes, near).figures()
    columns = [figures[key].tolist() for key in FIGURES]
    for nth, (unit, values) in enumerate(zip(units_of(weight, axes), zip(*columns, strict=True), strict=True)):
        numbers = [None if number != number else number for number in values]  # noqa: PLR0124 - NaN alone differs
        yield Figures({**_facts(weight), "channel": nth, "unit": unit}, numbers)


def _called(share: float) -> str:
    return "median" if share == 0.5 else f"q{round(share * 100):02}"
