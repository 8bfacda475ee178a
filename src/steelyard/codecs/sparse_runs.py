"""Sparse tensors, read as runs of their dense form."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader


def dense_reader(load: Callable[[], tuple[Array, Array]]) -> Reader:
    """Return a reader of the dense form. `load` returns the indices that are stored, in increasing order, and the numbers.

    It is called once, at the first read.

    >>> import numpy as np
    >>> dense_reader(lambda: (np.array([1, 4]), np.array([7.0, 8.0])))(0, 6).tolist()
    [0.0, 7.0, 0.0, 0.0, 8.0, 0.0]
    """
    loaded = cache(load)

    def read(start: int, stop: int) -> Array:
        import numpy as np

        indices, numbers = loaded()
        first, last = np.searchsorted(indices, [start, stop])
        block = np.zeros(stop - start, numbers.dtype)
        block[indices[first:last] - start] = numbers[first:last]
        return block

    return read
