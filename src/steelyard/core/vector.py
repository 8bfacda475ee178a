"""One flat vector of many weights: its plan, kept so that doing it again costs little more than the copy."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from steelyard.core.readers import Live
from steelyard.core.weight import Weight
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Order = Literal["C", "F"]


class Plan:
    """Where each weight lies in the vector, and a view of each that is in memory and has not moved since."""

    __slots__ = ("_addresses", "_live", "_views", "dtypes", "ends", "weights")

    def __init__(self, weights: Sequence[Weight]) -> None:
        self.weights = weights
        self.ends = list(accumulate(weight.size for weight in weights))
        self.dtypes = {weight.dtype for weight in weights}
        readers = [weight.read for weight in weights]
        self._live = [read for read in readers if isinstance(read, Live)]
        self._addresses: list[int] = []
        self._views: list[Array] = []

    @property
    def size(self) -> int:
        """The length of the vector."""
        return self.ends[-1] if self.ends else 0

    def spans(self) -> Iterator[tuple[Weight, int, int]]:
        """Yield each weight with its place [start, stop) in the vector."""
        return zip(self.weights, [0, *self.ends], self.ends, strict=False)

    def views(self) -> list[Array] | None:
        """Return the memory of every weight with one axis; None unless all of it is in this process.

        The views are kept, and made anew as soon as one weight was bound to other memory.
        """
        if len(self._live) != len(self.weights):
            return None
        addresses = [reader.address() for reader in self._live]
        if addresses != self._addresses or len(self._views) != len(self._live):
            self._views = [reader.array() for reader in self._live]
            self._addresses = addresses
        return self._views

    def locate(self, index: int, order: Order) -> tuple[Weight, tuple[int, ...]]:
        """Return the weight that entry `index` of the vector belongs to, and its place in that weight."""
        if not -self.size <= index < self.size:
            raise ShapeError(f"entry {index:,} is outside the vector, which has {self.size:,} entries")
        index %= self.size
        nth = bisect_right(self.ends, index)
        weight = self.weights[nth]
        rest, place = index - self.ends[nth] + weight.size, []
        for length in weight.shape if order == "F" else reversed(weight.shape):
            rest, position = divmod(rest, length)
            place.append(position)
        return weight, tuple(place if order == "F" else reversed(place))


def flatten(plan: Plan, out: Array, order: Order) -> None:
    """Copy every weight of `plan` into its place in `out`, checked when `out` has another type."""
    import numpy as np

    from steelyard.core.casting import cast

    if order == "C" and plan.dtypes == {out.dtype.name}:
        views = plan.views()
        if views is not None:
            np.concatenate(views, out=out)
            return
    for weight, start, stop in plan.spans():
        if order == "F":
            out[start:stop] = cast(weight.name, weight.numpy().ravel(order="F"), out.dtype)
            continue
        for block in weight.blocks():
            out[start : start + block.size] = cast(weight.name, block, out.dtype)
            start += block.size  # noqa: PLW2901 - runs to stop
