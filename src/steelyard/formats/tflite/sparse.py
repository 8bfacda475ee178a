"""TensorFlow Lite's sparse tensors: the axes in some order, some of them cut into blocks, each dense or compressed.

A compressed axis lists, for every place in the axes before it, which of its indices are there.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.sparse_runs import scattered
from steelyard.core.readers import refusing
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.formats.tflite.flatbuffers import Table
    from steelyard.storage.source import Source

_CODES = {1: "i", 2: "H", 3: "B"}


def sparse_reader(name: str, raw: Source, shape: tuple[int, ...], dtype: str, sparsity: Table) -> Reader:
    """Return a reader that puts zeros where nothing is stored; the places are worked out when it is first used."""
    known = raw.size // itemsize(dtype)
    if limits.is_bomb(prod(shape) * itemsize(dtype), raw.size):
        return refusing(FormatError(raw.name, f"{printable(name)} has {prod(shape):,} elements, of which {known:,} are stored"))
    values = raw.numbers(0, dtype)

    def load() -> tuple[Array, Array]:
        import numpy as np

        try:
            places = _places(shape, sparsity, known)
        except (ValueError, IndexError) as error:
            raise FormatError(raw.name, f"{printable(name)} is sparse in a way that does not fit its shape: {error}") from None
        order = np.argsort(places, kind="stable")
        return places[order], values(0, known)[order]

    return scattered(load)


def _places(shape: tuple[int, ...], sparsity: Table, known: int) -> Array:
    """Return where in the dense tensor each stored element stands. Raises `ValueError` for what does not fit."""
    import numpy as np

    order, blocked = sparsity.numbers(4, "i"), sparsity.numbers(6, "i")
    axes = len(shape) + len(blocked)
    levels = list(sparsity.tables(8))
    if sorted(order) != list(range(axes)) or len(levels) != axes or any(not 0 <= axis < len(shape) for axis in blocked):
        raise ValueError("its axes are not those of the shape")
    found = np.zeros((1, axes), np.int64)
    sizes = [0] * axes
    for axis, level in zip(order, levels, strict=True):
        parents, index, sizes[axis] = _level(level, len(found), known)
        found = found[parents]
        found[:, axis] = index
    if len(found) != known:
        raise ValueError(f"{len(found):,} places for {known:,} elements")
    for block, axis in enumerate(blocked, len(shape)):
        found[:, axis] = found[:, axis] * sizes[block] + found[:, block]
    dense = found[:, : len(shape)]
    if (dense < 0).any() or (dense >= np.array(shape)).any():
        raise ValueError("an index lies outside of the shape")
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    places: Array = dense @ np.array(strides, np.int64)
    return places


def _level(level: Table, parents: int, known: int) -> tuple[Array, Array, int]:
    """Return for each place on this axis the one before that it belongs to, its index, and the length of the axis."""
    import numpy as np

    if not level.number(4, "b"):
        size = level.number(6, "i")
        if size < 0 or size * parents > known:
            raise ValueError(f"an axis of {size:,} for {parents:,} places, but {known:,} elements")
        return np.repeat(np.arange(parents), size), np.tile(np.arange(size), parents), size
    segments, index = _vector(level, 8), _vector(level, 12)
    counts = np.diff(segments)
    if len(counts) != parents or (counts < 0).any() or segments[0] != 0 or segments[-1] != len(index) or len(index) > known:
        raise ValueError("segments that are not those of the indices")
    return np.repeat(np.arange(parents), counts), index, 0


def _vector(level: Table, slot: int) -> Array:
    import numpy as np

    kind, table = level.number(slot, "B"), level.table(slot + 2)
    if kind not in _CODES or table is None:
        raise ValueError("a compressed axis without indices")
    return np.array(table.numbers(4, _CODES[kind]), np.int64)
