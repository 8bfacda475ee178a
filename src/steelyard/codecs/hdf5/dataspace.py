"""The shape of a dataset or an attribute.

Version 1: version 1, rank 1, flags 1 (1: has the largest lengths too), reserved 5, lengths
Version 2: version 2, rank 1, flags 1, type 1 (0 scalar, 1 array, 2 without elements), lengths
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs import limits

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.space import Fields

_NULL = 2


def dataspace(fields: Fields) -> tuple[int, ...] | None:
    """Return the shape; None for a dataspace that HDF5 calls null, which has none."""
    found = growing_dataspace(fields)
    return None if found is None else found[0]


def growing_dataspace(fields: Fields) -> tuple[tuple[int, ...], tuple[int | None, ...]] | None:
    """Return the shape, and the lengths to which the axes may grow, None for one without a limit."""
    version, rank, flags, kind = (fields.uint() for _ in range(4))
    if version not in (1, 2) or rank > limits.RANK:
        raise fields.space.error(f"has a shape of version {version} and {rank} axes", fields.address)
    if version == 1:
        fields.take(4)
    elif kind == _NULL:
        return None
    shape = tuple(fields.length() for _ in range(rank))
    if not limits.is_possible(shape):
        raise fields.space.error(f"has the impossible shape {shape}", fields.address)
    endless = (1 << 8 * fields.space.length_bytes) - 1
    largest = tuple(fields.length() for _ in range(rank)) if flags & 1 else shape
    return shape, tuple(None if length == endless else length for length in largest)
