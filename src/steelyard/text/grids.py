"""Names whose numbers make a grid: `layers.0.experts.0.w` to `layers.11.experts.7.w`, each combination once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod

_NUMBER = re.compile(r"[0-9]+")
LONGEST = 9
"""The digits of the longest number that may count up; a longer one is a hash."""
_PADDED = re.compile(r"(?<![0-9])0[0-9]")


def in_grid(names: Sequence[str]) -> list[int] | None:
    """Return the order of names of one template if their numbers make a grid, by the last number first; else None.

    >>> in_grid(["h.1.0", "h.0.0", "h.0.1", "h.1.1"]), in_grid(["h.1.0", "h.0.0", "h.0.1"])
    ([1, 0, 2, 3], None)
    """
    text = "\n".join(names)
    numerals = _NUMBER.findall(text)
    if not numerals or max(map(len, numerals)) > LONGEST or _PADDED.search(text):
        return None
    import numpy as np

    numbers = np.fromiter(map(int, numerals), np.int64, len(numerals)).reshape(len(names), -1)
    numbers -= numbers.min(axis=0)
    lengths = [int(most) + 1 for most in numbers.max(axis=0)]
    if prod(lengths) != len(names):
        return None
    cells = numbers @ np.array([prod(lengths[:nth]) for nth in range(len(lengths))])
    places = np.argsort(cells)
    return places.tolist() if np.array_equal(cells[places], np.arange(len(names))) else None
