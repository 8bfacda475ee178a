"""TensorFlow Lite's sparse tensors: a tree with one level for each axis, in some order. Axes may be split into blocks.

    SparsityParameters  4 traversal_order: the axes, outermost first; block axes count on from the rank of the shape
                        6 block_map: for each block axis the axis that it splits
                        8 dim_metadata: a DimensionMetadata for each axis, in traversal order
    DimensionMetadata   4 format: 0 dense, 1 sparse (CSR)
                        6 dense_size: the length of a dense axis
                        8 array_segments_type, 10 array_segments: where the indices of each parent begin, and the end
                        12 array_indices_type, 14 array_indices: the indices that are stored
    vector types        1 int32, 2 uint16, 3 uint8: tables whose field 4 is the vector

The stored elements are the leaves, in order. A dense axis has all its indices under every parent.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.sparse_runs import dense_reader
from steelyard.core.weight import Refused
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.flatbuffers import Table
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

_CODES = {1: "i", 2: "H", 3: "B"}


def sparse_reader(name: str, raw: Source, shape: tuple[int, ...], dtype: str, sparsity: Table) -> Reader:
    """Return a reader of the dense form, whose indices are decoded at the first read."""
    known = raw.size // itemsize(dtype)
    if limits.is_bomb(prod(shape) * itemsize(dtype), raw.size):
        return Refused(FormatError(raw.name, f"{printable(name)} stores only {known:,} of its {prod(shape):,} elements; refused"))
    Budget(raw).spend_read(prod(shape) * itemsize(dtype))
    values = raw.numbers(0, dtype)

    def load() -> tuple[Array, Array]:
        import numpy as np

        try:
            index = _flat_indices(shape, sparsity, known)
        except (ValueError, IndexError) as error:
            raise FormatError(raw.name, f"{printable(name)} has sparsity that does not fit its shape: {error}") from None
        order = np.argsort(index, kind="stable")
        return index[order], values(0, known)[order]

    return dense_reader(load)


def _flat_indices(shape: tuple[int, ...], sparsity: Table, known: int) -> Array:
    """Return the row-major index of each stored element. Raises `ValueError` for sparsity that does not fit the shape."""
    import numpy as np

    order, blocked = sparsity.numbers(4, "i"), sparsity.numbers(6, "i")
    axes = len(shape) + len(blocked)
    levels = list(sparsity.tables(8))
    if sorted(order) != list(range(axes)) or len(levels) != axes or any(not 0 <= axis < len(shape) for axis in blocked):
        raise ValueError("its axes are not those of the shape")
    nodes = np.zeros((1, axes), np.int64)  # the nodes of the tree down to a level, with an index on each axis so far
    sizes = [0] * axes
    for axis, level in zip(order, levels, strict=True):
        parents, index, sizes[axis] = _level(level, len(nodes), known)
        nodes = nodes[parents]
        nodes[:, axis] = index
    if len(nodes) != known:
        raise ValueError(f"{len(nodes):,} places for {known:,} elements")
    for block, axis in enumerate(blocked, len(shape)):
        nodes[:, axis] = nodes[:, axis] * sizes[block] + nodes[:, block]
    dense = nodes[:, : len(shape)]
    if (dense < 0).any() or (dense >= np.array(shape)).any():
        raise ValueError("an index is outside the shape")
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    indices: Array = dense @ np.array(strides, np.int64)
    return indices


def _level(level: Table, parents: int, known: int) -> tuple[Array, Array, int]:
    """Return the parent of each node on an axis, its index there, and the length of the axis where it is dense."""
    import numpy as np

    if not level.number(4, "b"):
        size = level.number(6, "i")
        if size < 0 or size * parents > known:
            raise ValueError(f"a dense axis of {size:,} for {parents:,} places, but {known:,} elements")
        return np.repeat(np.arange(parents), size), np.tile(np.arange(size), parents), size
    segments, index = _vector(level, 8), _vector(level, 12)
    counts = np.diff(segments)
    if len(counts) != parents or (counts < 0).any() or segments[0] != 0 or segments[-1] != len(index) or len(index) > known:
        raise ValueError("segments that do not fit the indices")
    return np.repeat(np.arange(parents), counts), index, 0


def _vector(level: Table, field: int) -> Array:
    import numpy as np

    kind, table = level.number(field, "B"), level.table(field + 2)
    if kind not in _CODES or table is None:
        raise ValueError("a sparse axis without indices")
    return np.array(table.numbers(4, _CODES[kind]), np.int64)
