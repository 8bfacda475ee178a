"""The scale of a grid's colours: from nothing to the greatest value, for numbers of many magnitudes by their logarithm."""

from __future__ import annotations

from collections.abc import Iterable
from math import log10
from typing import NamedTuple

DECADES = 4
"""The decades of a logarithmic scale at most: a smaller number has the colour of the smallest one."""
LEAST = 0.12
"""The share of the smallest number that is not zero: it must be seen."""


class Scale(NamedTuple):
    """A scale from `low` to `high`: "logarithmic", "linear" from zero, or "signed" from -`high` to `high`."""

    kind: str
    low: float
    high: float

    def share(self, value: float | None) -> float:
        """Return where a value is on the scale: 0 for zero and None, 1 at the end, and -1 at the other end of a signed one.

        >>> scale = Scale("logarithmic", 0.01, 1.0)
        >>> scale.share(1.0), round(scale.share(0.1), 2), scale.share(0.001), scale.share(0.0)
        (1.0, 0.56, 0.12, 0.0)
        """
        if not value or self.high <= 0:
            return 0.0
        if self.kind != "logarithmic":
            return max(min(value / self.high, 1.0), -1.0)
        if self.high <= self.low:
            return 1.0
        part = (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return LEAST + (1 - LEAST) * max(min(part, 1.0), 0.0)


def scale_of(kind: str, values: Iterable[float]) -> Scale:
    """Return the scale of finite values; a logarithmic one has at least one decade.

    >>> scale_of("logarithmic", [0.0, 0.5, 2.0]), scale_of("signed", [-3.0, 1.0])
    (Scale(kind='logarithmic', low=0.2, high=2.0), Scale(kind='signed', low=-3.0, high=3.0))
    """
    sizes = [size for value in values if (size := abs(value))]
    high = max(sizes, default=0.0)
    if kind == "signed":
        return Scale(kind, -high, high)
    if kind == "linear" or not sizes:
        return Scale(kind, 0.0, high)
    return Scale(kind, max(min(*sizes, high / 10), high / 10**DECADES), high)
