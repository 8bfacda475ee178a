"""Fit a power law to the tail of some values (Clauset, Shalizi and Newman, 2009).

For each value as the start x_min of the tail, alpha = 1 + n / sum(log(x / x_min)) is the maximum-likelihood exponent. The
chosen x_min minimises the Kolmogorov-Smirnov distance between the fitted and the observed distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from steelyard.core.weight import Array

FEWEST = 20
"""A tail with fewer values is too short for a fit."""
LEAST = 1e-10
"""Values below this share of the largest are rounding errors."""


class PowerLaw(NamedTuple):
    """A density that falls as x ** -`alpha` for x >= `xmin`; `sigma` is the standard error of alpha.

    `distance` is the Kolmogorov-Smirnov distance, and `tail` the number of values of at least `xmin`.
    """

    alpha: float
    xmin: float
    distance: float
    sigma: float
    tail: int


def fitted(values: Array) -> PowerLaw | None:
    """Fit the tail of positive values; None if there are fewer than twenty.

    >>> chance = np.random.default_rng(0)
    >>> round(fitted(chance.pareto(2.0, 2000) + 1).alpha)
    3
    """
    if len(values) < FEWEST:
        return None
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
    """Return the Kolmogorov-Smirnov distance between the law and the values with these logarithms."""
    if not 1 < alpha < np.inf:
        return 1.0
    law = -np.expm1((1 - alpha) * (logs - logs[0]))
    return float(np.abs(law - np.arange(len(logs)) / len(logs)).max())
