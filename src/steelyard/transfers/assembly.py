"""Weights of the target, assembled from parts of the source's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from steelyard.core.weight import Array, Weight
    from steelyard.transfers.pairing.moves import Arrays, Move


def read_once(weights: Mapping[str, Weight]) -> Arrays:
    """Return a function that returns a weight's numbers by name: a view if they are in memory.

    It caches only the last weight, since the parts of one weight are requested consecutively.
    """
    kept: dict[str, Array] = {}

    def read(name: str) -> Array:
        if name not in kept:
            kept.clear()
            kept[name] = weights[name].numpy()
        return kept[name]

    return read


def assembled(target: Weight, moves: Sequence[Move], read: Arrays, dtype: np.dtype[Any], cast: Callable[[Array], Array]) -> Array:
    """Return the numbers of a weight of the target in its shape and in `dtype`; `cast` converts each part.

    Entries that no part of the source fills keep the numbers of the target.
    """
    import numpy as np

    if len(moves) == 1 and (source := moves[0].as_it_is) is not None:  # most weights of most nets
        return np.array(cast(read(source.name)), dtype, order="C")
    covered = sum(prod(move.target.shape) for move in moves)
    array = np.empty(target.shape, dtype) if covered == target.size else target.numpy().astype(dtype)
    for move in moves:
        move.target.write(array, cast(move.values(read)))
    return array


class AssembledReader:
    """Reads a weight of the target that is assembled from the source at the first read and freed after its last element.

    `dtype` is that of the source, or float64 where numbers are computed from several parts or dtypes.
    """

    __slots__ = ("_flat", "_moves", "_sources", "_target", "dtype")

    def __init__(self, target: Weight, moves: Sequence[Move], sources: Mapping[str, Weight]) -> None:
        self._target = target
        self._moves = moves
        self._sources = sources
        self._flat: Array | None = None
        self.dtype = _dtype(moves)

    def __call__(self, start: int, stop: int) -> Array:
        if self._flat is None:
            self._flat = self._assemble()
        block = self._flat[start:stop]
        if stop == self._target.size:
            self._flat = None
        return block

    def _assemble(self) -> Array:
        from steelyard.dtypes import numpy_dtype

        dtype = numpy_dtype(self.dtype)
        read = read_once(self._sources)
        return assembled(self._target, self._moves, read, dtype, lambda part: part.astype(dtype, copy=False)).reshape(-1)


def _dtype(moves: Sequence[Move]) -> str:
    dtypes = {part.weight.dtype for move in moves for part in move.sources}
    computed = any(len(move.sources) > 1 or move.then for move in moves)
    return dtypes.pop() if len(dtypes) == 1 and not computed else "float64"
