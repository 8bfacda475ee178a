"""Which verdicts many small weights cannot have: some tests on all of them at once, with slack, save the exact ones on each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.measures.diff.arithmetic import bits

if TYPE_CHECKING:
    from steelyard.core.weight import Array

SPARE = {"float32": np.uint32((1 << 13) - 1), "float64": np.uint64((1 << 29) - 1)}
"""The last bits of a fraction that are zero in all numbers of the narrower types: float16 has 10 of 23 bits, float32 23 of 52."""
FEW = 8
"""With fewer entries, or fewer distinct numbers, a weight may be a multiple or a cast of another by chance."""
SPARSE = 0.05
"""Edits are sparse up to this share of changed entries."""
_SLACK = 64  # times the rounding of the type: the exact test allows 2


def may_be_cast(before: Array, after: Array) -> Array:
    """Return for each pair of rows whether the numbers of a side all end in zeros, as those of a narrower type do."""
    spare = SPARE.get(before.dtype.name)
    if spare is None:
        return np.ones(len(before), bool)
    ends_in_zeros = [~(bits(side) & spare).any(axis=1) for side in (before, after)]
    either: Array = ends_in_zeros[0] | ends_in_zeros[1]
    return either


def may_be_scaled(before: Array, after: Array) -> Array:
    """Return for each pair of rows whether one is about a multiple of the other."""
    if before.dtype.name not in SPARE:
        return np.ones(len(before), bool)
    x, y = before.astype(np.float64), after.astype(np.float64)
    scales = (x * y).sum(axis=1) / (x * x).sum(axis=1)
    off = np.abs(y - scales[:, None] * x)
    near: Array = (off <= _SLACK * np.finfo(before.dtype).eps * np.abs(y) + 1e-36).all(axis=1)
    return near


def have_other_norms(one: Any, other: Any) -> Any:
    """Return whether the norms of two sides, or of each of many, show that they have other numbers in whatever order."""
    return abs(one - other) > 1e-6 * one


def is_sparse(changed: Any, entries: int) -> Any:
    """Return whether few of the entries changed, of a weight or of each of many."""
    return changed <= SPARSE * entries
