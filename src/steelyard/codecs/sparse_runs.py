"""Sparse tensors as runs of their dense form: zeros where nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader


def scattered(load: Callable[[], tuple[Array, Array]]) -> Reader:
    """Return a reader of the dense form. `load` gives the places of what is stored, going up, and the numbers there.

    It is called when numbers are first asked for, and once.

    >>> import numpy as np
    >>> scattered(lambda: (np.array([1, 4]), np.array([7.0, 8.0])))(0, 6).tolist()
    [0.0, 7.0, 0.0, 0.0, 8.0, 0.0]
    """
    loaded = cache(load)

    def read(start: int, stop: int) -> Array:
        import numpy as np

        places, numbers = loaded()
        first, last = np.searchsorted(places, [start, stop])
        block = np.zeros(stop - start, numbers.dtype)
        block[places[first:last] - start] = numbers[first:last]
        return block

    return read
