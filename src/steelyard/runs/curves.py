"""Figures of weights along a run: a number for each record and each weight, layer, or the whole net."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from steelyard.errors import ShapeError, WeightNotFoundError, printable, quoted
from steelyard.numerics.weight_stats import QUANTILE_NAMES
from steelyard.text import tabular

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.runs.layout import Fact

    By = Literal["weight", "layer", "all"]

BAND = (3e-4, 3e-3)
"""The update ratios, around 1e-3, that training with a usual learning rate has at each step; a rule of thumb."""


STATE = ("mean", "variance", "count")
"""The roles of running statistics and counters, which no optimizer moves."""


class Curves:
    """A figure along a run: `values` has a row for each of the `steps`, and a column for each of the `names`.

    `figure` is what the values are, such as "norm". `curves["fc.weight"]` is one column. It is printed as a table of sparklines.
    """

    __slots__ = ("by", "figure", "names", "steps", "values")

    def __init__(self, figure: str, by: str, steps: Sequence[int], names: Iterable[str], values: Array) -> None:
        self.figure = figure
        self.by = by
        self.steps = list(steps)
        self.names = list(names)
        self.values = values

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Array:
        if name not in self.names:
            raise WeightNotFoundError(name, self.names, self.by if self.by != "all" else "row")
        column: Array = self.values[:, self.names.index(name)]
        return column

    def __repr__(self) -> str:
        from steelyard.text.histories import curves_text

        return curves_text(self)

    def _repr_html_(self) -> str:
        from steelyard.text.histories_html import curves_html

        return curves_html(self)

    def to_records(self) -> list[dict[str, Any]]:
        """Return a record for each step and name; None where there is no number."""
        return [
            {"step": step, self.by: name, self.figure: value if isfinite(value) else None}
            for step, row in zip(self.steps, self.values.tolist(), strict=True)
            for name, value in zip(self.names, row, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return {"figure": self.figure, "by": self.by, "rows": self.to_records()}

    to_columns = tabular.to_columns
    to_frame = tabular.to_frame
    write = tabular.write


@np.errstate(all="ignore")  # a damaged record may have any numbers
def curve_of(run: Any, figure: str, by: By = "weight") -> Curves:
    """Return a column of the records, or "norm", "update" or "ratio" of weights, layers, or all together."""
    groups = _groups(run.layout.recorded, by)
    if figure in ("norm", "update", "ratio"):
        values = _ratio(run, groups) if figure == "ratio" else _norm(run, "l2" if figure == "norm" else "update", groups)
    elif figure in QUANTILE_NAMES:
        require_weights(by, figure)
        values = run.histograms["quantiles"][:, :, QUANTILE_NAMES.index(figure)]
        return Curves(figure, by, [run.steps[row] for row in run.histogram_rows], groups, values)
    else:
        require_weights(by, figure)
        values = np.array(run.column(figure))
    return Curves(figure, by, run.steps, groups, values)


def require_weights(by: str, figure: str) -> None:
    """Raise `ShapeError` for a figure that layers do not have."""
    if by != "weight":
        raise ShapeError(
            f'{printable(figure)} is known by="weight" alone; "norm", "update" and "ratio" also by="layer" and "all"'
        )


def _groups(facts: Sequence[Fact], by: str) -> dict[str, list[int]]:
    """Return the indices of the weights of each group; of several weights, those of `STATE` are left out."""
    if by not in ("weight", "layer", "all"):
        raise ShapeError(f'by is {quoted(by)}; it must be "weight", "layer" or "all"')
    groups: dict[str, list[int]] = {}
    for rank, fact in enumerate(facts):
        if by == "weight":
            groups[fact.name] = [rank]
        elif fact.role not in STATE:
            groups.setdefault("all" if by == "all" else fact.layer or fact.name, []).append(rank)
    return groups


def known_updates(run: Any) -> Array:
    """Return the updates of all weights, NaN where a weight is not finite now or was not before: those numbers count as 0."""
    bad = broken(run)
    bad[1:] |= bad[:-1].copy()
    return np.where(bad, np.nan, run.column("update"))


def broken(run: Any) -> Array:
    """Return whether each weight holds NaN or Inf, at each record."""
    made: Array = (np.asarray(run.column("nan")) > 0) | (np.asarray(run.column("inf")) > 0)
    return made


def _norm(run: Any, column: str, groups: dict[str, list[int]]) -> Array:
    numbers = known_updates(run) if column == "update" else np.asarray(run.column(column))
    made = np.empty((len(numbers), len(groups)))
    for nth, ranks in enumerate(groups.values()):
        made[:, nth] = numbers[:, ranks[0]] if len(ranks) == 1 else np.sqrt(np.square(numbers[:, ranks]).sum(axis=1))
    return made


def _ratio(run: Any, groups: dict[str, list[int]]) -> Array:
    """Return the update of each record over the norm before it."""
    norm, update = _norm(run, "l2", groups), _norm(run, "update", groups)
    made = np.full(norm.shape, np.nan)
    if len(norm) > 1:
        np.divide(update[1:], norm[:-1], out=made[1:], where=norm[:-1] > 0)
    return made
