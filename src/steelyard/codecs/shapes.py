"""Which shapes an array can have: what a file claims is checked before any array is made."""

from __future__ import annotations

from collections.abc import Sequence

RANK = 64
"""Axes that NumPy allows."""


def is_possible(shape: Sequence[int]) -> bool:
    """Tell whether NumPy can make an array of this shape; an empty one must not have axes of any length either.

    >>> is_possible((0, 3)), is_possible((0, 1 << 62)), is_possible((2, -1))
    (True, False, False)
    """
    size = 1
    for length in shape:
        if length < 0:
            return False
        size *= length or 1
    return len(shape) <= RANK and size < 1 << 58
