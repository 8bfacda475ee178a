"""Where the numbers of a dataset are: in its header, in one run, in chunks, or elsewhere.

Version 1, 2: version 1, rank 1, class 1, reserved 5, address (not where compact), lengths 4 each, bytes of an element 4 where
              chunked; of a compact one: bytes 4, numbers
Version 3:    version 1, class 1; compact: bytes 2, numbers; in one run: address, bytes; chunked: rank + 1 1, address of a
              B-tree, lengths of a chunk 4 each, bytes of an element 4
Version 4:    as version 3, but chunked: flags 1, rank + 1 1, bytes of a length 1, lengths and bytes of an element,
              kind of index 1, its parameters, its address
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.space import Fields

COMPACT, CONTIGUOUS, CHUNKED, VIRTUAL = range(4)
TREE_1, SINGLE, IMPLICIT, FIXED_ARRAY, EXTENSIBLE_ARRAY, TREE_2 = range(6)  # the kinds of an index of chunks

_WHOLE_EDGES = 1  # flag: chunks that reach past the end of an axis are not packed
_PACKED_SINGLE = 2  # flag: the only chunk has its packed size in the index
_PARAMETERS = {FIXED_ARRAY: 1, EXTENSIBLE_ARRAY: 5, TREE_2: 6}  # bytes; the index itself has them too


class Layout(NamedTuple):
    """The place of the numbers: `content` of a compact dataset, else an address, None where no space is allocated.

    Of a chunked one `chunk` has the lengths, `chunk_index` the kind of its index; its only chunk has `size` and `mask` here.
    """

    kind: int
    address: int | None = None
    size: int = 0
    content: bytes = b""
    chunk: tuple[int, ...] = ()
    item_bytes: int = 0
    chunk_index: int = TREE_1
    mask: int = 0
    whole_edges: bool = False


def layout(fields: Fields) -> Layout:
    """Return the place of the numbers. Raises `FormatError` for an unknown version or class."""
    version = fields.uint()
    if version in (1, 2):
        return _old(fields)
    kind = fields.uint()
    if version not in (3, 4) or kind > VIRTUAL:
        raise fields.space.error(f"has the unknown layout {kind} of version {version}", fields.address)
    if kind == COMPACT:
        return Layout(kind, content=fields.take(fields.uint(2)))
    if kind == CONTIGUOUS:
        return Layout(kind, fields.offset(), fields.length())
    if kind == VIRTUAL:
        return Layout(kind)
    return _chunked_3(fields) if version == 3 else _chunked_4(fields)  # the version above


def _old(fields: Fields) -> Layout:
    rank, kind = fields.uint(), fields.uint()
    fields.take(5)
    address = None if kind == COMPACT else fields.offset()
    if rank > limits.RANK + 1 or kind > CHUNKED:
        raise fields.space.error(f"has the unknown layout {kind} with {rank} axes", fields.address)
    lengths = tuple(fields.uint(4) for _ in range(rank))
    if kind == COMPACT:
        return Layout(kind, content=fields.take(fields.uint(4)))
    return _chunks(fields, address, lengths) if kind == CHUNKED else Layout(kind, address, -1)


def _chunked_3(fields: Fields) -> Layout:
    rank, address = fields.uint(), fields.offset()
    return _chunks(fields, address, tuple(fields.uint(4) for _ in range(rank)))


def _chunked_4(fields: Fields) -> Layout:
    flags, rank, width = fields.uint(), fields.uint(), fields.uint()
    lengths = tuple(fields.uint(width) for _ in range(rank))
    index = fields.uint()
    size, mask = 0, 0
    if index == SINGLE and flags & _PACKED_SINGLE:
        size, mask = fields.length(), fields.uint(4)
    if not SINGLE <= index <= TREE_2:
        raise fields.space.error(f"has an unknown index of its chunks, {index}", fields.address)
    fields.take(_PARAMETERS.get(index, 0))
    made = _chunks(fields, fields.offset(), lengths)
    return made._replace(chunk_index=index, size=size, mask=mask, whole_edges=bool(flags & _WHOLE_EDGES))


def _chunks(fields: Fields, address: int | None, lengths: tuple[int, ...]) -> Layout:
    if not 2 <= len(lengths) <= limits.RANK + 1 or 0 in lengths:  # an axis and the bytes of an element
        raise fields.space.error("is damaged: chunks without elements", fields.address)
    return Layout(CHUNKED, address, chunk=lengths[:-1], item_bytes=lengths[-1])
