"""The summary of the difference of two weights: range, moments and a histogram of after - before."""

from __future__ import annotations

import numpy as np

from steelyard import sizes
from steelyard.core.weight import Weight
from steelyard.measures.diff.arithmetic import real
from steelyard.numerics.blocks import pairs_of
from steelyard.numerics.summary import Summary


def summary_of_difference(one: Weight, other: Weight) -> Summary:
    """Read two weights of equal shape, and return the summary of after - before, entry by entry.

    Entries that are not finite on either side are excluded; for complex numbers the summary is of the difference's magnitude.
    Raises the errors of reading.

    Examples:
        >>> from steelyard.core.readers import from_array
        >>> found = summary_of_difference(from_array("a", np.zeros(3)), from_array("b", np.array([0.0, -2.0, 1.0])))
        >>> found.moments.minimum, found.moments.maximum, found.moments.zeros
        (-2.0, 1.0, 1)
    """
    summary = Summary()
    with np.errstate(all="ignore"):
        for start, x, y in pairs_of(one, other, sizes.DIFF_BLOCK):
            if x.dtype.kind == "c" or y.dtype.kind == "c":
                apart = np.abs(y.astype(np.complex128) - x.astype(np.complex128))
            else:
                apart = real(y) - real(x)
            summary.add(apart if np.isfinite(apart).all() else apart[np.isfinite(apart)], start)
    return summary
