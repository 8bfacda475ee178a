"""The sums of a block by the kernels of NumKong, where the extra `fast` is installed: fewer passes than NumPy's.

They add in float64, in lanes, so a sum differs from that of NumPy by at most 1e-13 of the sum of magnitudes, or of squares; where
NumPy's way adds runs of float32 in float32, as a comparison does, by 1e-6. Their bits depend on neither the address of numbers
nor the thread, so results are equal to the last bit wherever the same kernels are used. `kernels_name` is part of a task that an
engine sends, and `as_asked` lets its worker use the same. Digests, and histograms, whose counts are exact, do not use them.

Blocks of fewer than `sizes.FAST_LEAST` numbers are left to NumPy: those of small weights are summed up together, as the rows of a
matrix, with its bits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard import sizes
from steelyard.errors import MissingExtraError

if TYPE_CHECKING:
    from steelyard.core.weight import Array

NUMPY = "numpy"
"""The name of NumPy's own passes."""
_ASKED: ContextVar[str | None] = ContextVar("kernels", default=None)
_LOCAL = threading.local()
_FLOATS = (np.dtype("f4"), np.dtype("f8"))
_LEAST, _MOST = 1e-100, 1e100
"""Between these, sums of squares of float64 have neither overflowed nor lost digits."""


@cache
def _installed() -> tuple[str, Any]:
    """Return the name and version of what is installed, and its module."""
    try:
        import numkong
    except ImportError:
        return NUMPY, None
    return f"numkong {getattr(numkong, '__version__', '')}", numkong


def kernels_name() -> str:
    """Return which kernels this thread uses, with their version."""
    return _ASKED.get() or _installed()[0]


def kernels() -> Any:
    """Return the module of the kernels; None for NumPy's own passes.

    Raises `MissingExtraError` in a worker that lacks those of the process that sent its task.
    """
    asked, (name, module) = _ASKED.get(), _installed()
    if asked in (None, name):
        return module
    if asked == NUMPY:
        return None
    raise MissingExtraError(f"a worker that has {name}, for the same bits as a process that has {asked},", "fast")


def as_asked(name: str, function: Callable[[Any], Any], task: Any) -> Any:
    """Call a function, of a task that was sent by a process that uses the kernels of this name."""
    before = _ASKED.set(name)
    try:
        return function(task)
    finally:
        _ASKED.reset(before)


class Sums(NamedTuple):
    """The range of finite numbers, their least magnitude, and their sums.

    What was summed up are the numbers, their magnitudes and their squares, each number divided by two to this `power`.
    """

    low: float
    high: float
    plain: float
    magnitudes: float
    squares: float
    least: float
    power: int = 0


def sums(values: Array) -> Sums | None:
    """Return the sums of numbers; None where NumPy is to add: of few, of other types, not finite, or of extreme squares."""
    if values.size < sizes.FAST_LEAST or values.dtype not in _FLOATS or (found := kernels()) is None:
        return None
    values = _aligned(values)
    low, _, high, _ = found.minmax(values)  # it passes over NaN, which the sum of squares shows
    one_sided = low >= 0 or high <= 0
    magnitudes = values if one_sided else _magnitudes(values)
    total, squares = found.moments(magnitudes)
    if squares - squares != 0 or not (_LEAST < squares < _MOST or squares == 0 == low == high):
        return None
    if one_sided:
        return Sums(low, high, total, abs(total), squares, min(abs(low), abs(high)))
    return Sums(low, high, found.sum(values), total, squares, float(np.minimum.reduce(magnitudes)))


def moments(values: Array) -> tuple[float, float] | None:
    """Return the sums of numbers and of their squares, as NumKong adds them; None where NumPy is to add."""
    if values.ndim != 1 or values.size < sizes.FAST_LEAST or values.dtype not in _FLOATS or (found := kernels()) is None:
        return None
    plain, squares = found.moments(_aligned(values))
    return plain, squares


def _aligned(values: Array) -> Array:
    """Return numbers with one axis, side by side, at a multiple of their size: the kernels take no others."""
    return values if values.flags.aligned and values.flags.c_contiguous else np.array(values)


def _magnitudes(values: Array) -> Array:
    """Return magnitudes in a buffer of this thread, which the next call overwrites."""
    if getattr(_LOCAL, "bytes", 0) < values.nbytes:
        _LOCAL.bytes = values.nbytes
        _LOCAL.buffer = np.empty(values.nbytes, np.uint8)
    held: Array = _LOCAL.buffer[: values.nbytes].view(values.dtype)
    np.absolute(values, out=held)
    return held
