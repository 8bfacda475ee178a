"""Numbers that a message stores in several pieces: a packed run, or one field for each number."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from steelyard.dtypes import itemsize, numpy_dtype

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

PIECE = 200
"""bytes of memory that a piece takes"""


def count_of(pieces: Sequence[tuple[int, int]], dtype: str) -> int:
    """Return how many numbers are in pieces, each given by its offset and its bytes; -1 if one has a part of a number.

    >>> count_of([(0, 8), (20, 4)], "float32"), count_of([(0, 7)], "float32")
    (3, -1)
    """
    size = itemsize(dtype)
    return -1 if any(length % size for _, length in pieces) else sum(length for _, length in pieces) // size


def joined(source: Source, pieces: Sequence[tuple[int, int]], dtype: str) -> Reader:
    """Return a reader of the numbers in pieces; of a single one, where it is in the file.

    >>> from steelyard.storage.source import from_bytes
    >>> joined(from_bytes(bytes([1, 2, 0, 3])), [(0, 2), (3, 1)], "uint8")(0, 3).tolist()
    [1, 2, 3]
    """
    if len(pieces) == 1:
        return source.numbers(pieces[0][0], dtype)

    @cache
    def whole() -> Array:
        import numpy as np

        return np.frombuffer(b"".join(source.read(*piece) for piece in pieces), numpy_dtype(dtype))

    return lambda start, stop: whole()[start:stop].copy()
