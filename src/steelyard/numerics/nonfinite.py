"""Finding numbers that are not finite: the net whose shapes print happily and whose output is NaN."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from steelyard.core.weight import Weight
from steelyard.dtypes import is_floating
from steelyard.errors import printable


@dataclass(frozen=True, slots=True)
class NonFinite:
    """How many NaN and infinite numbers a weight holds, and the place of the first."""

    name: str
    nan: int
    inf: int
    first: tuple[int, ...]

    @property
    def counts(self) -> str:
        """How many of which kind there are, in words."""
        return " and ".join(f"{count:,} {word}" for count, word in ((self.nan, "NaN"), (self.inf, "Inf")) if count)

    def __str__(self) -> str:
        return f"{printable(self.name) or 'the tensor'} is not finite: {self.counts}, first at {list(self.first)}"


def nonfinite(weights: Iterable[Weight]) -> Iterator[NonFinite]:
    """Yield a finding for each weight that holds NaN or Inf; every number is read once, block by block."""
    for weight in weights:
        if is_floating(weight.dtype) or weight.dtype.startswith("complex"):
            found = _search(weight)
            if found:
                yield found


def _search(weight: Weight) -> NonFinite | None:
    import numpy as np

    nan = inf = seen = 0
    first = -1
    for block in weight.blocks():
        good = np.isfinite(block)
        if not good.all():
            if first < 0:
                first = seen + int(np.argmin(good))
            bad = block[~good]
            here = int(np.isnan(bad).sum())
            nan, inf = nan + here, inf + bad.size - here
        seen += block.size
    if first < 0:
        return None
    place = np.unravel_index(first, weight.shape)
    return NonFinite(weight.name, nan, inf, tuple(int(i) for i in place))
