"""The arithmetic of a comparison: differences, norms and sums of the numbers of two sides, of one block or of many rows.

Differences of float32 and narrower types are computed in float32, with a relative error of at most 6e-8; all sums are in
float64. BLAS is not used: for blocks of this size starting its threads costs more than it gains, and our two threads would
block each other in it. Where the extra `fast` is installed, its kernels add up single blocks. Sums run along the last axis, so
that the rows of a matrix have the bits of single blocks.
"""

from __future__ import annotations

from math import sqrt
from threading import local
from typing import TYPE_CHECKING

import numpy as np

from steelyard import sizes
from steelyard.numerics import fast

if TYPE_CHECKING:
    from steelyard.core.weight import Array

SAFE = (1e-25, 1e35)  # a float32 sum of squares in this range has neither underflowed nor overflowed


class Desk:
    """Buffers of one thread, reused for each block, since allocation would take longer than the computation."""

    __slots__ = ("apart", "flags", "one", "other")

    def __init__(self, limit: int) -> None:
        self.one: dict[int, bytearray] = {}
        self.other: dict[int, bytearray] = {}
        self.apart = {size: np.empty(limit, f"f{size}") for size in (4, 8)}
        self.flags = np.empty(limit, np.bool_)


_OWN = local()


def desk_of(limit: int) -> Desk:
    """Return this thread's work space for runs of at most this many numbers, which later calls use again."""
    if not hasattr(_OWN, "desk") or len(_OWN.desk.flags) < limit:
        _OWN.desk = Desk(limit)
    desk: Desk = _OWN.desk
    return desk


def equal(x: Array, y: Array) -> bool:
    """Whether two arrays of one dtype have the same bits."""
    word = np.uint64 if x.nbytes % 8 == 0 else np.uint8
    return bool(np.array_equal(x.view(word), y.view(word)))


def bits(x: Array) -> Array:
    """Return the bits of each number as an unsigned integer, or as two for a sixteen-byte dtype."""
    size = x.dtype.itemsize
    return x.view(f"u{size}") if size <= 8 else x.view(np.uint64).reshape(-1, 2)


def changed_entries(x: Array, y: Array, out: Array | None = None) -> Array:
    """Return for each entry whether its bits differ, or its number if the dtypes do; `out` takes the result if possible."""
    if x.dtype != y.dtype:
        return _other_numbers(x, y)
    one, other = bits(x), bits(y)
    if one.ndim > 1:
        both: Array = (one != other).any(axis=1)
        return both
    different: Array = np.not_equal(one, other, out=out)
    return different


def _other_numbers(x: Array, y: Array) -> Array:
    """Return for each entry whether the numbers of two dtypes differ; NaN equals NaN."""
    if x.dtype.kind == "c" or y.dtype.kind == "c":  # both parts, since numbers of one magnitude may differ
        one, other = (each.astype(np.complex128).view(np.float64).reshape(-1, 2) for each in (x, y))
    elif (x.dtype.kind in "iu" and y.dtype.kind in "iu") or max(x.dtype.itemsize, y.dtype.itemsize) > 8:
        one, other = x, y  # NumPy compares integers, and others with long doubles, without rounding
    else:
        one, other = real(x), real(y)
    apart: Array = (one != other) & ~(np.isnan(one) & np.isnan(other))
    if apart.ndim > 1:
        return np.asarray(apart.any(axis=1))
    return apart | _is_rounded(x, y) | _is_rounded(y, x)


def _is_rounded(x: Array, y: Array) -> Array | np.bool_:
    """Return for each integer of 8 bytes beside a float whether float64 lacks it, so that they differ; false for other dtypes."""
    if x.dtype.kind not in "iu" or x.dtype.itemsize < 8 or y.dtype.kind in "iub" or y.dtype.itemsize > 8:
        return np.False_
    rounded, most = x.astype(np.float64), 2.0 ** (63 if x.dtype.kind == "i" else 64)
    lacking: Array = np.where(rounded < most, rounded, 0).astype(x.dtype) != x
    return lacking


def apart(x: Array, y: Array, desk: Desk | None = None) -> tuple[Array, Array, Array]:
    """Return the absolute differences, and both sides as real numbers (complex numbers by magnitude)."""
    if x.dtype.kind == "c" or y.dtype.kind == "c":
        x, y = x.astype(np.complex128), y.astype(np.complex128)
        return np.abs(y - x), np.abs(x), np.abs(y)
    one, other = real(x), real(y)
    if x.dtype.kind in "iu" and y.dtype.kind in "iu" and x.dtype.itemsize == y.dtype.itemsize == 8:
        return _integers_apart(x, y), one, other
    out = None if desk is None else desk.apart[max(one.dtype.itemsize, other.dtype.itemsize)][: len(x)]
    d: Array = np.subtract(other, one, out=out)
    return np.abs(d, out=d), one, other


def _integers_apart(x: Array, y: Array) -> Array:
    """Return the absolute differences of integers of 8 bytes, whose last digits float64 would lose."""
    one, other = x.view(np.uint64), y.view(np.uint64)
    found: Array = np.where(x > y, one - other, other - one).astype(np.float64)
    if x.dtype == y.dtype:
        return found
    rough = np.abs(y.astype(np.float64) - x.astype(np.float64))
    return np.where(rough < 2.0**62, found, rough)  # a signed and an unsigned one may be further apart than 2**64


def real(x: Array) -> Array:
    """Return numbers as float32 if that is exact, else as float64."""
    if x.dtype.kind == "c":
        return np.abs(x.astype(np.complex128))
    if x.dtype in (np.float32, np.float64):
        return x
    short = x.dtype.itemsize <= 2 and not (x.dtype.kind in "iu" and x.dtype.itemsize > 2)
    return x.astype(np.float32 if short else np.float64)


def total_and_norm(x: Array) -> tuple[float, float]:
    """Return the sum and the l2 norm of finite numbers with one axis."""
    found = fast.moments(x)
    return (found[0], _root(found[1], x)) if found else (float(totals(x)), norm(x))


def norm(x: Array) -> float:
    """Return the l2 norm of finite numbers with one axis, computed without overflow or underflow."""
    found = fast.moments(x)
    return _root(found[1] if found else float(_squares(x)), x)


def _root(squares: float, x: Array) -> float:
    """Return the root of the sum of the squares of numbers, which are looked at again if it is very large or small."""
    if SAFE[0] < squares < SAFE[1]:
        return sqrt(squares)
    top = float(np.abs(x).max(initial=0.0))
    if not top:
        return 0.0
    scaled = x.astype(np.float64) / top
    return top * sqrt(float(np.add.reduce(scaled * scaled)))


def norms(rows: Array) -> Array:
    """Return the l2 norm of each row, with the bits of `norm`; NaN where squares may have overflowed or underflowed."""
    squares = _squares(rows)
    found: Array = np.where((SAFE[0] < squares) & (squares < SAFE[1]), np.sqrt(squares), np.nan)
    found[~rows.any(axis=-1)] = 0.0
    return found


def totals(x: Array) -> Array:
    """Return the sum of numbers along the last axis."""
    if x.dtype != np.float32:
        return np.asarray(np.add.reduce(x, axis=-1))
    runs, rest = _runs_of(x)
    found = np.add.reduce(np.einsum("...ij->...i", runs), axis=-1, dtype=np.float64) + np.add.reduce(rest, axis=-1)
    if not np.isfinite(found).all():  # a run overflowed
        found = np.where(np.isfinite(found), found, np.add.reduce(x, axis=-1, dtype=np.float64))
    return np.asarray(found)


def _squares(x: Array) -> Array:
    """Return the sum of the squares of numbers along the last axis."""
    if x.dtype != np.float32:
        return np.asarray(np.einsum("...i,...i->...", x, x))
    runs, rest = _runs_of(x)
    return np.asarray(
        np.add.reduce(np.einsum("...ij,...ij->...i", runs, runs), axis=-1, dtype=np.float64) + np.add.reduce(rest * rest, axis=-1)
    )


def _runs_of(x: Array) -> tuple[Array, Array]:
    """Return float32 numbers as runs short enough to be summed in float32, and the rest as float64."""
    run = sizes.FLOAT32_RUN
    cut = x.shape[-1] // run * run
    return x[..., :cut].reshape(*x.shape[:-1], cut // run, run), x[..., cut:].astype(np.float64)
