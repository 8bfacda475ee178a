"""Find NaN and Inf: a net with them has the right shapes, but its outputs are NaN."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from steelyard import sizes
from steelyard.core.indexing import place_of
from steelyard.core.weight import Weight
from steelyard.dtypes import is_floating
from steelyard.errors import printable
from steelyard.numerics.blocks import blocks_of
from steelyard.numerics.small import groups_of_small
from steelyard.numerics.summary import Summary


class NonFinite(NamedTuple):
    """The counts of NaN and infinite numbers in a weight, and the index of the first."""

    name: str
    nan: int
    inf: int
    first: tuple[int, ...]

    @property
    def counts(self) -> str:
        """The counts in words."""
        return " and ".join(f"{count:,} {word}" for count, word in ((self.nan, "NaN"), (self.inf, "Inf")) if count)

    def __str__(self) -> str:
        return f"{printable(self.name) or 'the tensor'} is not finite: {self.counts}, first at {list(self.first)}"


def nonfinite(weights: Iterable[Weight]) -> Iterator[NonFinite]:
    """Yield a finding for each weight with NaN or Inf; every number is read once, block by block."""
    for weight in weights:
        if is_floating(weight.dtype) or weight.dtype.startswith("complex"):
            summary = Summary(wide=False)
            for start, block in blocks_of(weight, 0, weight.size, sizes.SUMMARY_BLOCK):
                summary.finite_ones(block, start)
            if summary.first is not None:
                yield NonFinite(weight.name, summary.nan, summary.inf, place_of(weight.shape, summary.first[1]))


def surely_finite(weights: Sequence[Weight]) -> set[str]:
    """Return the names of the small weights in large groups that can be read, and whose numbers are all finite."""
    finite: set[str] = set()
    for some, rows in groups_of_small(weights, lambda _: None):
        with np.errstate(invalid="ignore"):  # isfinite of ml_dtypes warns of NaN
            good = np.all(np.asarray(np.isfinite(rows), bool), axis=1).tolist()
        finite.update(weight.name for weight, is_good in zip(some, good, strict=True) if is_good)
    return finite
