"""Which shapes an array can have: what a file claims is checked before any array is made."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

RANK = 64
"""Axes that NumPy allows."""
LIMIT = 1 << 58
"""Elements that no array reaches."""


def is_possible(shape: Sequence[int]) -> bool:
    """Tell whether NumPy can make an array of this shape; an empty one must not have axes of any length either.

    >>> is_possible((0, 3)), is_possible((0, 1 << 62)), is_possible((2, -1))
    (True, False, False)
    """
    if not shape:
        return True
    size = prod(shape) or prod([length or 1 for length in shape])
    return len(shape) <= RANK and min(shape) >= 0 and size < LIMIT
