"""The power law that fits the tail of some values best, after Clauset, Shalizi and Newman (2009).

For each value as the beginning x_min of the tail, alpha = 1 + n / sum(log(x / x_min)) is the most likely exponent; the x_min
is taken at which the largest distance between the fitted and the observed distribution (Kolmogorov-Smirnov) is least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from steelyard.core.weight import Array

FEWEST = 20
"""Values below which a tail tells nothing."""
LEAST = 1e-10
"""Of the largest value: what is smaller is rounding."""


class PowerLaw(NamedTuple):
    """The density falls as x ** -`alpha` from `xmin` on; `sigma` is the standard error of alpha.

    `distance` is that of Kolmogorov and Smirnov, and `tail` how many values there are from `xmin` on.
    """

    alpha: float
    xmin: float
    distance: float
    sigma: float
    tail: int


def fitted(values: Array) -> PowerLaw | None:
    """Fit the tail of positive values; None where there are fewer than twenty.

    >>> chance = np.random.default_rng(0)
    >>> round(fitted(chance.pareto(2.0, 2000) + 1).alpha)
    3
    """
    data = np.sort(np.asarray(values, np.float64))
    data = data[data > LEAST * data[-1]] if data.size else data
    if data.size < FEWEST or data[0] == data[-1]:
        return None
    logs = np.log(data)
    counts = np.arange(len(data), 0, -1)
    sums = np.cumsum(logs[::-1])[::-1] - counts * logs
    with np.errstate(divide="ignore"):
        alphas = 1 + counts[:-1] / sums[:-1]
    distances = np.array([_distance(logs[nth:], alpha) for nth, alpha in enumerate(alphas)])
    best = int(np.argmin(distances))
    alpha = float(alphas[best])
    sigma = (alpha - 1) / float(np.sqrt(len(data) - best))
    return PowerLaw(alpha, float(data[best]), float(distances[best]), sigma, len(data) - best)


def _distance(logs: Array, alpha: float) -> float:
    """Return the largest distance between the law and the values whose logarithms these are."""
    if not 1 < alpha < np.inf:
        return 1.0
    law = -np.expm1((1 - alpha) * (logs - logs[0]))
    return float(np.abs(law - np.arange(len(logs)) / len(logs)).max())
