"""Where a net is along a run, by the sketches of all weights: distances, and the path on its principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.errors import ShapeError
from steelyard.runs.curves import broken

if TYPE_CHECKING:
    from steelyard.core.weight import Array


class WeightPath(NamedTuple):
    """The path of all weights on their first principal components: a row of `points` for each of the `steps`.

    `shares` are the parts of the variance of the records along each component.
    """

    steps: list[int]
    points: Array
    shares: Array


@np.errstate(all="ignore")  # a damaged record may have any numbers
def distances(one: Array, other: Array) -> Array:
    """Return the distance of each row of one to each of the other, in float64.

    >>> distances(np.zeros((1, 2)), np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[5.0, 0.0]]
    """
    centre = other.mean(axis=0, dtype=np.float64)  # products of small numbers lose fewer digits
    x, y = one - centre, other - centre
    squares = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y) - 2 * np.einsum("ik,jk->ij", x, y, optimize=True)
    near = squares < 1e-10 * (np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y))
    for row, column in zip(*np.nonzero(near), strict=True):
        squares[row, column] = np.square(x[row] - y[column]).sum()
    made: Array = np.sqrt(squares)
    return made


@np.errstate(all="ignore")  # a damaged record may have any numbers
def path_of(run: Any, components: int) -> WeightPath:
    """Return the records on the principal components of their sketches; each has its largest entry positive.

    Records with NaN or Inf are left out of the components, and their points are NaN.
    """
    found = run.sketches().astype(np.float64)
    if not 1 <= components <= 3:
        raise ShapeError(f"components is {components}; it must be 1, 2 or 3")
    finite = ~broken(run).any(axis=1) & np.isfinite(found).all(axis=1)
    rows = found[finite]
    if not len(rows):
        raise ShapeError("no record is without NaN and Inf; history.nonfinite() says where they began")
    left, values, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    points = np.zeros((len(rows), components))
    kept = min(components, len(values))
    points[:, :kept] = left[:, :kept] * values[:kept]
    points *= np.where(np.take_along_axis(points, np.abs(points).argmax(axis=0)[None], 0) < 0, -1.0, 1.0)
    total = float(np.square(values).sum())
    shares = np.zeros(components)
    shares[:kept] = np.square(values[:kept]) / total if total > 0 else 0.0
    everywhere = np.full((len(found), components), np.nan)
    everywhere[finite] = points
    return WeightPath(list(run.steps), everywhere, shares)


class Ridgeline(NamedTuple):
    """The distribution of a weight at each of the `steps`: `edges` has a row of the ends of equal bins, `counts` their counts.

    `quantiles` has the columns of `steelyard.numerics.weight_stats.QUANTILES`. Rows without finite numbers are NaN.
    """

    steps: list[int]
    edges: Array
    counts: Array
    quantiles: Array

    @np.errstate(all="ignore")  # a damaged record may have any numbers
    def density(self) -> Array:
        """Return counts over their number and the width of a bin, so that areas are 1."""
        width = np.diff(self.edges, axis=1)
        total = np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        made: Array = self.counts / total / width
        return made


@np.errstate(all="ignore")  # a damaged record may have any numbers
def ridgeline(run: Any, rank: int) -> Ridgeline:
    """Return the histograms of a weight along a run."""
    found = run.histograms[:, rank]
    low, high = np.array(found["low"]), np.array(found["high"])
    high = np.where(high > low, high, low + 1)
    parts = np.linspace(0, 1, found["counts"].shape[1] + 1)
    edges = low[:, None] * (1 - parts) + high[:, None] * parts  # differences of huge numbers might overflow
    steps = [run.steps[row] for row in run.histogram_rows]
    return Ridgeline(steps, edges, np.array(found["counts"]), np.array(found["quantiles"]))
