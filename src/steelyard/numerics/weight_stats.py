"""The statistics of one weight, layer, role or channel, and the merging of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight
    from steelyard.numerics.summary import Summary

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
QUANTILE_NAMES = ("q01", "q05", "q25", "median", "q75", "q95", "q99")
NEAR = 1e-8  # numbers of at most this magnitude count as near zero by default
TOGETHER = ("weight", "layer", "role", "all")
"""The ways to group whole weights; any other word is an axis."""
FIGURES = ("count", "min", "max", "mean", "std", "l1", "l2", "rms", "zeros", "near_zeros", "nan", "inf")


class Subject(NamedTuple):
    """The subject of statistics: the `name` of a weight, layer, role or file, and the facts of a single weight.

    `weights` is the number of weights in a group; `channel` and `unit` are the index and the label of a channel.
    """

    name: str = ""
    layer: str | None = None
    role: str | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    channel: int | None = None
    unit: str | None = None
    weights: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the known facts as plain Python."""
        return {
            word: list(value) if isinstance(value, tuple) else value
            for word, value in self._asdict().items()
            if value is not None
        }


class WeightStats:
    """The statistics of one weight, layer, role or channel.

    `name` identifies it. Weights and channels also have `layer`, `role`, `shape` and `dtype`, channels an index, `channel`,
    and a label, `unit`, groups their number of `weights`; attributes that do not apply are None. `count`, `nan` and `inf` are
    the counts of finite, NaN and infinite numbers; all other statistics are of the finite ones. `min`, `max`, `mean`, `std` (of
    the population), `l1`, `l2` and `rms` are None without finite numbers. `near_zeros` counts magnitudes up to `near`,
    including zeros.
    `summary` has all statistics of the numbers, with the histogram; None for channels. The figures of a summary are computed
    at the first access, since a table of repeated blocks shows those of few weights.
    """

    __slots__ = ("summary", "first_nonfinite", "subject", *Subject._fields, *FIGURES)

    count: int
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    l1: float | None
    l2: float | None
    rms: float | None
    zeros: int
    near_zeros: int
    nan: int
    inf: int

    def __init__(
        self,
        subject: Subject,
        values: Sequence[Any] = (),
        summary: Summary | None = None,
        first: tuple[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.subject = subject
        self.name, self.layer, self.role, self.shape, self.dtype, self.channel, self.unit, self.weights = subject
        self.summary = summary
        self.first_nonfinite = first
        if summary is None:
            self._take(values)
        else:
            self.nan, self.inf = summary.nan, summary.inf

    def _take(self, values: Sequence[Any]) -> None:
        for figure, value in zip(FIGURES, values, strict=True):
            setattr(self, figure, value)

    if not TYPE_CHECKING:  # it would stand for any attribute

        def __getattr__(self, name: str) -> Any:
            if name not in FIGURES or self.summary is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            self._take(_figures(self.summary))
            return object.__getattribute__(self, name)

    def __repr__(self) -> str:
        return f"WeightStats({', '.join(f'{key}={value!r}' for key, value in self.to_dict().items())})"

    def quantile(self, share: float) -> float | None:
        """Return the smallest number that is at least as large as this share (0 to 1) of the finite numbers.

        It is exact for types of one or two bytes, else within `quantile_error`. It is None without numbers, for channels, and
        after `stats(..., histogram=False)`.
        """
        return None if self.summary is None else self.summary.quantile(share)

    @property
    def quantile_error(self) -> float | None:
        """The maximum relative error of a quantile: 0, or 1/256 for types of more than two bytes."""
        return None if self.summary is None else self.summary.quantile_error

    def histogram(self, edges: Array | Sequence[float] | int = 64) -> tuple[Array, Array]:
        """Return the counts and the edges of bins, as `numpy.histogram` does.

        `edges` is an array of edges, or the number of equal bins from the minimum to the maximum. Counts are exact for types
        of one or two bytes, else derived from bins of a relative width of 1/128. Raises `ShapeError` for channels, and after
        `stats(..., histogram=False)`.
        """
        import numpy as np

        if self.summary is None or not self.summary.wide:
            raise ShapeError("there is no histogram: only whole weights have one, with histogram=True")
        if isinstance(edges, int):
            low, high = (0.0, 1.0) if self.min is None or self.max is None else (float(self.min), float(self.max))
            edges = np.linspace(low, high if high > low else low + 1.0, edges + 1)
        edges = np.asarray(edges, float)
        return self.summary.counts(edges), edges

    def to_dict(self) -> dict[str, Any]:
        """Return the subject and the statistics as plain Python."""
        place = self.first_nonfinite
        first = None if place is None else {"weight": place[0], "index": list(place[1])}
        found = () if self.summary is None else self.summary.quantiles(QUANTILES)
        quantiles = dict(zip(QUANTILE_NAMES, found, strict=False))
        error = {} if self.summary is None else {"quantile_error": self.quantile_error}
        figures = {figure: getattr(self, figure) for figure in FIGURES}
        return {**self.subject.to_dict(), **figures, "first_nonfinite": first, **quantiles, **error}


def weight_stats(subject: Subject, summary: Summary, listed: Sequence[Weight]) -> WeightStats:
    """Return the statistics of a summary, whose ranks are indices into the `listed` weights."""
    return WeightStats(subject, summary=summary, first=_first(summary, listed))


def merged(rows: Sequence[WeightStats], name: str) -> WeightStats:
    """Merge the statistics of several weights into one row; the other attributes are those of the first.

    >>> import numpy as np, steelyard
    >>> found = merged(steelyard.stats({"a": np.array([1.0, 2.0]), "b": np.array([6.0])}).rows, "both")
    >>> found.count, found.mean, found.max, found.name
    (3, 3.0, 6.0, 'both')
    """
    parts = [row.summary for row in rows if row.summary is not None]
    empty = type(parts[0])  # `Summary` needs NumPy, which a listing does not import
    whole = empty(wide=all(part.wide for part in parts), near=parts[0].moments.near)
    for part in parts:
        whole.merge(part)
    first = next((row.first_nonfinite for row in rows if row.first_nonfinite is not None), None)
    return WeightStats(rows[0].subject._replace(name=name), summary=whole, first=first)


def _first(summary: Summary, listed: Sequence[Weight]) -> tuple[str, tuple[int, ...]] | None:
    """Return the weight and the index of the first number that is not finite."""
    if summary.first is None:
        return None
    from steelyard.core.indexing import place_of

    weight = listed[summary.first[0]]
    return weight.name, place_of(weight.shape, summary.first[1])


def _figures(summary: Summary) -> list[Any]:
    """Return the figures of a summary in the order of `FIGURES`."""
    moments = summary.moments
    values = [getattr(moments, {"min": "minimum", "max": "maximum"}.get(key, key)) for key in FIGURES[:-2]]
    return [*values, summary.nan, summary.inf]
