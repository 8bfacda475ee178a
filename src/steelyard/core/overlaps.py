"""Which weights are in the same memory, and which overlap in it: views, transposes and expansions of one another."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import islice
from operator import le
from typing import TYPE_CHECKING, Any

from steelyard.core.readers import Live, Place, Placed
from steelyard.core.weight import Refused
from steelyard.dtypes import itemsize

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight

MAX_WORK = 100_000  # steps in which NumPy may find a common address of two views; undecided ones count as overlapping


class Spans:
    """The bytes from the first to the last element of each weight, by device; weights that share none cannot overlap."""

    __slots__ = ("_live", "_placed")

    def __init__(self) -> None:
        self._live: list[tuple[int, int]] = []  # place in the list, address
        self._placed: list[tuple[int, Place]] = []

    def add(self, nth: int, weight: Weight) -> Hashable:
        """Note the memory of the weight `nth` in the list; return a key of it that identical memory shares, None for none."""
        read = weight.read
        if isinstance(read, Live):
            if not weight.size:
                return None
            address = read.memory.address()
            self._live.append((nth, address))
            return address
        place = read.place if isinstance(read, (Placed, Refused)) else None
        if not isinstance(place, Place):
            return place
        if not weight.size:
            return None
        self._placed.append((nth, place))
        return place.address if place.device == "cpu" and place.strides == _row_major(weight) else place

    def overlaps(self, listed: Sequence[Weight]) -> Iterator[tuple[int, int]]:
        """Yield each weight, by its place in the list, that shares bytes with an earlier one, and that one."""
        spans = [("cpu", address, address + listed[nth].nbytes, nth) for nth, address in self._live if listed[nth].tied is None]
        if not self._placed and _are_disjoint(spans):
            return
        strides = dict(self._placed)
        for nth, place in self._placed:
            if listed[nth].tied is None:
                spans.append((place.device, *_extent(place, listed[nth]), nth))
        for later, earliers in sorted(_touching(spans).items()):
            earlier = next((nth for nth in sorted(earliers) if _share(listed, strides, later, nth)), None)
            if earlier is not None and listed[later].overlaps is None:
                yield later, earlier


def _are_disjoint(spans: Sequence[tuple[str, int, int, int]]) -> bool:
    """Whether no span of one device begins before all that begin earlier have ended."""
    starts = sorted([start for _, start, _, _ in spans])
    return all(map(le, sorted([stop for _, _, stop, _ in spans]), islice(starts, 1, None)))


def _touching(spans: list[tuple[str, int, int, int]]) -> dict[int, set[int]]:
    """Return for each weight the earlier ones of the list whose spans meet its own."""
    touching: dict[int, set[int]] = {}
    open_spans: list[tuple[str, int, int]] = []
    for device, start, stop, nth in sorted(spans):
        open_spans = [each for each in open_spans if each[0] == device and each[1] > start]
        for _, _, other in open_spans:
            touching.setdefault(max(nth, other), set()).add(min(nth, other))
        open_spans.append((device, stop, nth))
    return touching


def _share(listed: Sequence[Weight], strides: dict[int, Place], one: int, two: int) -> bool:
    """Whether two weights have a byte in common; also if this cannot be decided in `MAX_WORK` steps."""
    import numpy as np

    try:
        first, second = _view(listed[one], strides.get(one)), _view(listed[two], strides.get(two))
        return np.shares_memory(first, second, max_work=MAX_WORK)  # type: ignore[arg-type]  # NumPy's stubs allow no bound
    except np.exceptions.TooHardError:
        return True


def _view(weight: Weight, place: Place | None) -> Array:
    """Return an array over the addresses of a weight, whose numbers are never read."""
    import numpy as np

    address = weight.read.memory.address() if isinstance(weight.read, Live) else place.address if place else 0
    return np.asarray(_Addresses(weight, address, place.strides if place else None))


class _Addresses:
    """Addresses of memory for NumPy."""

    __slots__ = ("__array_interface__",)

    def __init__(self, weight: Weight, address: int, strides: tuple[int, ...] | None) -> None:
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "data": (address, True),
            "shape": weight.shape,
            "strides": strides,
            "typestr": f"|V{itemsize(weight.dtype)}",
        }


def _extent(place: Place, weight: Weight) -> tuple[int, int]:
    """Return the first and one past the last byte of a strided weight; strides may be negative."""
    reach = [(length - 1) * stride for length, stride in zip(weight.shape, place.strides, strict=True)]
    below, above = sum(r for r in reach if r < 0), sum(r for r in reach if r > 0)
    return place.address + below, place.address + above + itemsize(weight.dtype)


def _row_major(weight: Weight) -> tuple[int, ...]:
    """Return the strides in bytes of contiguous memory of this shape, in row-major order."""
    strides, step = [], itemsize(weight.dtype)
    for length in reversed(weight.shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))
