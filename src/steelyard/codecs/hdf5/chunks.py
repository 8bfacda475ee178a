"""The indexes of chunks: where each chunk of a dataset is.

Until HDF5 1.8, and in every file for old readers, it is a B-tree of version 1. HDF5 1.10 added one without an index
where chunks follow each other, arrays where an axis may grow, and a B-tree of version 2 where several may.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.hdf5 import layouts
from steelyard.codecs.hdf5.arrays import extensible_array, fixed_array
from steelyard.codecs.hdf5.btrees import CHUNKS, leaves, records

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.layouts import Layout
    from steelyard.codecs.hdf5.space import Fields, Space

_PLAIN, _PACKED = 10, 11  # the types of a tree of version 2 of chunks


class StoredChunk(NamedTuple):
    """A chunk in the file: its address, its bytes there, and the filters that were left out."""

    address: int
    size: int
    mask: int


class Grid(NamedTuple):
    """The chunks of a dataset: how many there are along each axis, and along each axis that may grow, at most (or None)."""

    counts: tuple[int, ...]
    most: tuple[int | None, ...]
    chunk_bytes: int


def grid(shape: tuple[int, ...], largest: tuple[int | None, ...], layout: Layout) -> Grid:
    """Return the grid of the chunks of a dataset."""
    counts = tuple(-(-length // chunk) for length, chunk in zip(shape, layout.chunk, strict=True))
    most = tuple(None if length is None else -(-length // chunk) for length, chunk in zip(largest, layout.chunk, strict=True))
    return Grid(counts, most, prod(layout.chunk) * layout.item_bytes)


CHUNK_COST = 200
"""bytes of memory that a chunk takes in the index"""


def chunk_index(space: Space, layout: Layout, held: Grid) -> dict[tuple[int, ...], StoredChunk]:
    """Return where each stored chunk is, by its place in the grid. Raises `FormatError` for a damaged index."""
    entries = _entries(space, layout, held) if layout.address is not None else ()
    return {
        place: stored for place, stored in entries if all(0 <= at < count for at, count in zip(place, held.counts, strict=True))
    }


def _entries(space: Space, layout: Layout, held: Grid) -> Iterator[tuple[tuple[int, ...], StoredChunk]]:
    assert layout.address is not None
    if layout.chunk_index == layouts.TREE_1:
        return _tree_1(space, layout.address, layout)
    if layout.chunk_index == layouts.TREE_2:
        return _tree_2(space, layout.address, len(layout.chunk), held)
    if layout.chunk_index == layouts.SINGLE:
        only = StoredChunk(layout.address, layout.size or held.chunk_bytes, layout.mask)
        return iter([((0,) * len(held.counts), only)])
    if layout.chunk_index == layouts.IMPLICIT:
        return _following(space, layout.address, held)
    return _numbered(space, layout.address, layout.chunk_index, held)


# Key of version 1: bytes of the chunk 4, filters that were left out 4, place of the first element 8 for each axis,
# and 8 for the byte in the element, 0
def _tree_1(space: Space, address: int, layout: Layout) -> Iterator[tuple[tuple[int, ...], StoredChunk]]:
    rank = len(layout.chunk)
    for key, place in leaves(space, address, CHUNKS, 8 + 8 * (rank + 1)):
        size, mask = int.from_bytes(key[:4], "little"), int.from_bytes(key[4:8], "little")
        first = [int.from_bytes(key[at : at + 8], "little") for at in range(8, 8 + 8 * rank, 8)]
        if any(at % length for at, length in zip(first, layout.chunk, strict=True)):
            raise space.error("is damaged: a chunk begins between the places of chunks", place)
        yield tuple(at // length for at, length in zip(first, layout.chunk, strict=True)), StoredChunk(place, size, mask)


# Record of version 2: address, if packed its bytes and the filters that were left out 4, place in the grid 8 for each axis
def _tree_2(space: Space, address: int, rank: int, held: Grid) -> Iterator[tuple[tuple[int, ...], StoredChunk]]:
    for record in records(space, address, (_PLAIN, _PACKED)):
        width = record.rest() - space.address_bytes - 8 * rank
        stored = _stored(record, width, held)
        place = tuple(record.uint(8) for _ in range(rank))
        if stored is not None:
            yield place, stored


def _stored(entry: Fields, packed_bytes: int, held: Grid) -> StoredChunk | None:
    """Return the chunk of an entry; `packed_bytes` is the width of its size and its filters, 0 where it is not packed."""
    address = entry.offset()
    size = entry.uint(packed_bytes - 4) if packed_bytes else held.chunk_bytes
    mask = entry.uint(4) if packed_bytes else 0
    return None if address is None else StoredChunk(address, size, mask)


def _numbered(space: Space, address: int, kind: int, held: Grid) -> Iterator[tuple[tuple[int, ...], StoredChunk]]:
    """Yield the chunks of an array, which numbers them row by row; the axis that may grow without end counts as the first."""
    order = _axis_order(held)
    listed = fixed_array(space, address) if kind == layouts.FIXED_ARRAY else extensible_array(space, address)
    for number, entry in listed:
        stored = _stored(entry, entry.rest() - space.address_bytes, held)
        if stored is not None:
            yield _place(number, order, held), stored


def _following(space: Space, address: int, held: Grid) -> Iterator[tuple[tuple[int, ...], StoredChunk]]:
    """Yield chunks that follow each other in the file, row by row of the largest grid, without an index."""
    space.budget.spend(CHUNK_COST * prod(held.counts))
    for place in product(*(range(count) for count in held.counts)):
        number = 0
        for at, most in zip(place, held.most, strict=True):
            number = number * (most or 1) + at
        yield place, StoredChunk(address + number * held.chunk_bytes, held.chunk_bytes, 0)


def _axis_order(held: Grid) -> list[int]:
    endless = [axis for axis, most in enumerate(held.most) if most is None]
    return [*endless[:1], *(axis for axis in range(len(held.most)) if axis not in endless[:1])]


def _place(number: int, order: list[int], held: Grid) -> tuple[int, ...]:
    place = [0] * len(order)
    for axis in reversed(order[1:]):
        number, place[axis] = divmod(number, held.most[axis] or 1)
    place[order[0]] = number
    return tuple(place)
