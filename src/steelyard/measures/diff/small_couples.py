"""The sums of many small couples of weights, whose numbers are the rows of two matrices: each figure of all is one column.

They have the bits of the sums of each couple alone. A call of NumPy takes as long as a thousand numbers, so that calls for each
of a hundred thousand couples would take most of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.measures.diff.arithmetic import apart, changed_entries, norms, totals
from steelyard.measures.diff.ruled_out import have_other_norms, is_sparse, may_be_cast, may_be_scaled

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.measures.diff.entries import Tolerance

TINY = 1e-200
"""A smaller norm may come from subnormal numbers, which have fewer bits."""


class Columns(NamedTuple):
    """Figures of pairs of rows that differ, as `Sums` has them for each.

    `are_alone` marks the rows whose sums are left to `Sums.add`: numbers that are not finite, or whose squares are very large or
    small. `are_uneven` marks those whose cosine is not known from their norms.
    """

    are_alone: Array
    are_uneven: Array
    figures: tuple[Array, ...]

    def rows(self) -> zip[tuple[Any, ...]]:
        """Return the figures of each row in the order of `Sums.of_row`."""
        return zip(*(_plain(column) for column in self.figures), strict=True)


def columns_of(x: Array, y: Array, tolerance: Tolerance) -> Columns:
    """Return the figures of each pair of rows of two matrices of one dtype."""
    with np.errstate(all="ignore"):
        changed = np.count_nonzero(changed_entries(x.reshape(-1), y.reshape(-1)).reshape(x.shape), axis=1)
        d, one, other = (each.reshape(x.shape) for each in apart(x.reshape(-1), y.reshape(-1)))
        rows, places = np.arange(len(d)), d.argmax(axis=1)
        top = d[rows, places]
        falls = (y[rows, places] < x[rows, places]) & (top > 0)
        limit = tolerance.absolute + tolerance.relative * np.abs(one) if tolerance.relative else tolerance.absolute
        sums = (top, totals(d), norms(d), norms(one), norms(other))
        relative, cosine = _relative(*sums[2:4]), _cosine(*sums[2:])
        possible = may_be_cast(x, y), may_be_scaled(x, y)
        is_open = possible[0] | possible[1] | ~have_other_norms(*sums[3:]) | is_sparse(changed, x.shape[1])
        measured = (changed, np.count_nonzero(d > limit, axis=1), np.where(top > 0, places, -1), falls)
        return Columns(
            np.logical_not(np.isfinite(sums).all(axis=0)),
            _are_uneven(*sums[3:]),
            (*measured, *sums, relative, cosine, *possible, is_open),
        )


def _relative(apart: Array, one: Array) -> Array:
    """Return the norm of each difference divided by that of the first side; NaN where only the latter is zero."""
    found: Array = np.where((one == 0) & (apart == 0), 0.0, np.where(one == 0, np.nan, apart / one))
    return found


def _cosine(apart: Array, one: Array, other: Array) -> Array:
    """Return the cosine similarity by the formula of `entries`; NaN where a norm is zero."""
    gap = other - one
    below = ((apart - gap) / one) * ((apart + gap) / other) / 2
    found: Array = np.where((one > 0) & (other > 0), np.minimum(np.maximum(1.0 - below, -1.0), 1.0), np.nan)
    return found


def _are_uneven(one: Array, other: Array) -> Array:
    are_even = (other / 2 >= TINY) & (other / 2 <= one) & (one <= other * 2)
    found: Array = (one > 0) & (other > 0) & ~are_even
    return found


def _plain(column: Array) -> list[Any]:
    """Return a column as Python's numbers, None for NaN."""
    missing = np.isnan(column) if column.dtype.kind == "f" else None
    if missing is not None and missing.any():
        column = column.astype(object)
        column[missing] = None
    values: list[Any] = column.tolist()
    return values
