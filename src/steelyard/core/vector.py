"""One flat vector of many weights: the offset of each, and the copies in both directions."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise, repeat
from math import prod
from operator import getitem, setitem
from operator import index as whole
from typing import TYPE_CHECKING, Any, Literal

from steelyard import sizes
from steelyard.core.casting import common_dtype, converted
from steelyard.core.held import Links
from steelyard.core.names import marks
from steelyard.core.readers import ByColumns, Live
from steelyard.core.threads import at_once
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import UNKNOWN, is_floating
from steelyard.errors import MixedDtypeWarning, ShapeError, first_of, quoted

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from steelyard.core.readers import Memory
    from steelyard.core.weight import Array, DType

    Order = Literal["C", "F"]


class VectorLayout:
    """The offset of each weight in the vector, and its address in memory."""

    __slots__ = (
        "_addresses",
        "_links",
        "_memory",
        "_places",
        "_views",
        "addresses",
        "dtypes",
        "ends",
        "overlapping",
        "refused",
        "weights",
    )

    def __init__(self, weights: Sequence[Weight]) -> None:
        self.weights = weights
        self.dtypes = {weight.dtype for weight in weights}
        shapes = [weight.shape for weight in weights]
        lengths = {shape: prod(shape) for shape in {*shapes}}  # many have the same
        known = UNKNOWN not in self.dtypes
        self.ends = list(accumulate(map(lengths.__getitem__, shapes) if known else [weight.size for weight in weights]))
        readers = [weight.read for weight in weights]
        self._memory = [read.memory for read in readers if isinstance(read, Live)]
        self.overlapping = any(weight.overlaps is not None for weight in weights)
        self.refused = Refused in {*map(type, readers)}
        self.addresses: list[int] = []
        self._views: list[memoryview] = []
        self._places: list[slice] = []
        self._addresses: Callable[[], list[int]] | None = None
        self._links: Links | None = None

    @property
    def size(self) -> int:
        """The length of the vector."""
        return self.ends[-1] if self.ends else 0

    def spans(self) -> Iterator[tuple[Weight, int, int]]:
        """Yield each weight with its entries [start, stop) in the vector."""
        return zip(self.weights, [0, *self.ends], self.ends, strict=False)

    def in_memory(self) -> bool:
        """Whether every weight is in this process's memory, and may be read and written directly."""
        return len(self._memory) == len(self.weights)

    def unmoved(self) -> bool:
        """Whether all weights are small and have the same addresses as last time; updates the stored addresses.

        Raises `ShapeError` if the model does not hold a weight any more, or holds it in another shape or dtype.
        """
        if self._addresses is None:
            self._addresses = _addresses_of(self._memory)
        addresses = self._addresses()
        self._require_held()
        if addresses == self.addresses and self.size < sizes.COPY_THRESHOLD:
            return True
        for memory in self._memory:
            memory.check()
        self.addresses, self._views = addresses, []
        return False

    def _require_held(self) -> None:
        if self._links is None:
            self._links = Links(memory.link for memory in self._memory)
        if not self._links.are_held():
            for memory in self._memory:
                memory.array()  # raises for the weight that the model does not hold

    def views(self) -> list[memoryview]:
        """Return a view of the bytes of each weight, cached until a weight moves.

        Creating a view takes longer than copying a small weight, so none is made for a single copy.
        """
        if not self._views:
            self._views = [memory.array().view("uint8").data for memory in self._memory]
        return self._views

    def places(self) -> list[slice]:
        """Return the bytes of the vector that belong to each weight, cached with the views."""
        if not self._places:
            ends = accumulate([view.nbytes for view in self.views()], initial=0)
            self._places = [slice(start, stop) for start, stop in pairwise(ends)]
        return self._places

    def locate(self, index: int, order: Order) -> tuple[Weight, tuple[int, ...]]:
        """Return the weight to which entry `index` of the vector belongs, and the element's index in the weight."""
        try:
            index = whole(index)
        except TypeError:
            raise ShapeError(f"an entry of the vector is a whole number, not {quoted(index)}") from None
        if not -self.size <= index < self.size:
            raise ShapeError(f"entry {index:,} is outside the vector, which has {self.size:,} entries")
        index %= self.size
        nth = bisect_right(self.ends, index)
        weight = self.weights[nth]
        # `ends` are where weights end, so the offset in the weight counts from its end
        rest, place = index - self.ends[nth] + weight.size, []
        for length in weight.shape if order == "F" else reversed(weight.shape):
            rest, position = divmod(rest, length)
            place.append(position)
        return weight, tuple(place if order == "F" else reversed(place))


def _addresses_of(memories: Sequence[Memory]) -> Callable[[], list[int]]:
    """Return a function that returns all addresses; a kind of memory may have a faster one for many of its own."""
    kinds = {type(memory) for memory in memories}
    faster = getattr(kinds.pop(), "addresses_of", None) if len(kinds) == 1 else None
    made: Callable[[], list[int]] = faster(memories) if faster else lambda: [memory.address() for memory in memories]
    return made


def layout_of(weights: Iterable[Weight]) -> VectorLayout:
    """Return where each weight is in the vector, those that are tied once: the first that is listed."""
    listed = list(weights)
    if any(weight.tied for weight in listed):
        # the owner may be left out of a selection; then the first weight tied to it takes its place
        owners = marks([weight.tied or weight.name for weight in listed])
        listed = [listed[place] for place in dict.fromkeys(owners)]
    return VectorLayout(listed)


def checked_order(order: Order) -> Order:
    """Return the order in which each weight is flattened; raises `ShapeError` unless it is "C" or "F"."""
    if order not in ("C", "F"):
        raise ShapeError(f'order is {order!r}; it must be "C" (by rows) or "F" (by columns)')
    return order


def _known(dtype: DTypeLike) -> DType:
    import numpy as np

    try:
        return np.dtype(dtype)
    except TypeError:
        raise ShapeError(f"dtype is {quoted(dtype)}, which NumPy does not know; pass one such as 'float32'") from None


def flatten(layout: VectorLayout, order: Order, dtype: DTypeLike | None = None, out: Array | None = None) -> Array:
    """Copy every weight to its offset in one vector, in `out` if given; conversions to another dtype are checked."""
    import numpy as np

    if out is None:
        out = np.empty(layout.size, vector_dtype(layout) if dtype is None else _known(dtype))
    elif out.shape != (layout.size,) or dtype not in (None, out.dtype) or not out.flags.writeable:
        raise ShapeError(
            f"out has shape {out.shape} and type {out.dtype}; the vector needs a writable array of shape ({layout.size},)"
            + (f" and type {np.dtype(dtype)}" if dtype is not None else "")
        )
    if order == "C" and _direct(layout, out):
        _exchange(layout, out, into_weights=False)
        return out
    start = 0
    for run in runs(layout, out.dtype, order):
        out[start : start + run.size] = run
        start += run.size
    return out


def vector_dtype(layout: VectorLayout) -> DType:
    """Return the smallest type that holds all weights, with a warning where integers make that of the floats longer."""
    warn_of_integers(layout)
    return common_dtype(layout.dtypes)


def warn_of_integers(layout: VectorLayout) -> None:
    """Warn with `MixedDtypeWarning` where integers, such as a counter, make the type of the vector longer than the floats."""
    floats = [word for word in layout.dtypes if is_floating(word)] if len(layout.dtypes) > 1 else []
    if floats and (together := common_dtype(layout.dtypes)) != (alone := common_dtype(floats)):
        names = [weight.name for weight in layout.weights if not is_floating(weight.dtype)]
        warnings.warn(
            f"the vector is {together}, though the floats are {alone}, since it holds the integers of "
            f"{first_of(names, 1, quoted)}; w.parameters.to_vector() leaves counters out, "
            "and dtype= shows that this is intended",
            MixedDtypeWarning,
            stacklevel=5,
        )


def runs(layout: VectorLayout, dtype: DType, order: Order) -> Iterator[Array]:
    """Yield the vector in runs, so that it need not be in memory as a whole."""
    for weight in layout.weights:
        yield from (converted(weight.name, block, dtype) for block in _blocks(weight, order))


def _blocks(weight: Weight, order: Order) -> Iterator[Array]:
    """Yield the numbers of a weight in this order; column-major ones are transposed at most once."""
    if order == "C":
        return weight.blocks()
    if isinstance(weight.read, ByColumns):
        # an array that is stored by columns, as R's are, is in the order "F" already
        return weight.replace(read=weight.read.flat).blocks()
    return iter([weight.numpy().ravel(order="F")])


def unflatten(layout: VectorLayout, vector: Array) -> bool:
    """Copy a vector directly into the weights' memory; if that is not possible, do nothing and return False."""
    if not _direct(layout, vector):
        return False
    _exchange(layout, vector, into_weights=True)
    return True


def _direct(layout: VectorLayout, vector: Array) -> bool:
    """Whether bytes can be copied unchanged: all weights are in memory with the vector's dtype, and it is contiguous."""
    return vector.flags.c_contiguous and layout.dtypes == {vector.dtype.name} and layout.in_memory()


def _exchange(layout: VectorLayout, vector: Array, *, into_weights: bool) -> None:
    """Copy bytes between the vector and the weights: through the cached views if there are any, else by address."""
    if not layout.unmoved():
        _move(layout, vector, into_weights=into_weights)
        return
    here: Any = vector.view("uint8").data  # mypy knows only `setitem` of single items
    views: list[Any] = layout.views()
    places = layout.places()
    if into_weights:
        copies = map(setitem, views, repeat(slice(None)), map(getitem, repeat(here), places))
    else:
        copies = map(setitem, repeat(here), places, views)
    deque(copies, maxlen=0)


def _move(layout: VectorLayout, vector: Array, *, into_weights: bool) -> None:
    """Copy the bytes of each weight with `map`, since a Python loop takes longer than the copies of small weights."""
    from ctypes import memmove

    base, itemsize = vector.ctypes.data, vector.itemsize
    ends = [end * itemsize for end in (0, *layout.ends)]
    # absolute addresses: `memmove` is called by `map` without any Python code for each weight
    places = [base + end for end in ends[:-1]]
    lengths = [stop - start for start, stop in pairwise(ends)]
    jobs = (layout.addresses, places, lengths) if into_weights else (places, layout.addresses, lengths)
    if layout.size < sizes.COPY_THRESHOLD:
        deque(map(memmove, *jobs), maxlen=0)
        return
    half = bisect_right(ends, ends[-1] // 2)  # each thread copies about half of the bytes
    at_once((slice(half), slice(half, None)), lambda part: deque(map(memmove, *(values[part] for values in jobs)), maxlen=0))
