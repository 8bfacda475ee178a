"""The numbers of one weight in all models, as a method of merging takes them; and the options for this weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from steelyard.core.computed import Buffers, Computed, block_for, fill

if TYPE_CHECKING:
    from steelyard.core.weight import Array, DType, Weight

    Block = Callable[[int, list[Array]], Array]
    """Merges a block: it is given the position of its first element, and the numbers of each input, which it may overwrite."""
    Masks = Mapping[str, object]
    """Which elements of a weight are kept, by its name."""

Rescale = Literal["norm", "density", False]
Majority = Literal["total", "frequency"]
Divide = Literal["weights", "count", False]
Along = Literal["weight", "row", "column"]


class Inputs(NamedTuple):
    """One weight of several models, of one shape; the first is that of the base if the method adds to one (`has_base`).

    `dtype` is the type in which numbers are merged, float32 or float64.
    """

    weights: Sequence[Weight]
    dtype: DType
    has_base: bool

    @property
    def name(self) -> str:
        """The name of the weight in the first model."""
        return self.weights[0].name

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return self.weights[0].shape

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.weights[0].size

    @property
    def models(self) -> Sequence[Weight]:
        """The weights without that of the base."""
        return self.weights[self.has_base :]

    def read(self, start: int, stop: int) -> list[Array]:
        """Return the elements [start, stop) of each model, or how they differ from the base, in new arrays."""
        arrays = [np.empty(stop - start, self.dtype) for _ in self.weights]
        for weight, array in zip(self.weights, arrays, strict=True):
            fill(weight, start, stop, array)
        return self._vectors(arrays)

    def blocks(self) -> Iterator[tuple[int, list[Array]]]:
        """Yield all elements as `read` does, in blocks, each with its position and valid until the next."""
        step = block_for(len(self.weights))
        with Buffers([self.dtype] * len(self.weights), min(step, self.size)) as buffers, np.errstate(all="ignore"):
            for start in range(0, self.size, step):
                stop = min(start + step, self.size)
                arrays = [buffer[: stop - start] for buffer in buffers]
                for weight, array in zip(self.weights, arrays, strict=True):
                    fill(weight, start, stop, array)
                yield start, self._vectors(arrays)

    def _vectors(self, arrays: list[Array]) -> list[Array]:
        return deltas_of(arrays) if self.has_base else arrays


def deltas_of(arrays: Sequence[Array]) -> list[Array]:
    """Return how arrays differ from the first one, in their own memory."""
    return [np.subtract(array, arrays[0], out=array) for array in arrays[1:]]


class Options(NamedTuple):
    """The options of one weight; `weights`, `density` and `masks`, if there are any, have an entry for each model.

    See `merge` for the meaning of each.
    """

    weights: tuple[float, ...]
    density: tuple[float, ...] = ()
    rescale: Rescale = False
    majority: Majority = "total"
    divide: Divide = False
    scale: float = 1.0
    gamma: float = 0.01
    t: float = 0.0
    along: Along = "weight"
    seed: int = 0
    masks: Sequence[Masks] = ()


def once(make: Callable[[], Block]) -> Block:
    """Return the function that `make` makes when it is first called; once, whatever the number of threads."""
    lock = Lock()
    made: list[Block] = []

    def call(start: int, blocks: list[Array]) -> Array:
        with lock:
            if not made:
                made.append(make())
        return made[0](start, blocks)

    return call


def computed(weights: Sequence[Weight], block: Block, dtype: str, *, exact: bool) -> Weight:
    """Return the first of several weights with the numbers that are made of the blocks of all."""
    return weights[0].replace(dtype=dtype, read=Computed(weights, block, dtype, exact=exact))
