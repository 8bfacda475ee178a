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
from typing import TYPE_CHECKING, Any

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


def sums(values: Array, low: float, high: float) -> tuple[float, float, float, float] | None:
    """Return the sums of finite numbers, of their magnitudes and squares, and the least magnitude; None where NumPy is to add.

    `low` and `high` are their minimum and maximum.
    """
    if values.size < sizes.FAST_LEAST or values.dtype not in _FLOATS or (found := kernels()) is None:
        return None
    values = _aligned(values)
    if low >= 0 or high <= 0:
        plain, squares = found.moments(values)
        return plain, abs(plain), squares, min(abs(low), abs(high))
    sizes_of = _magnitudes(values)
    magnitudes, squares = found.moments(sizes_of)
    return found.sum(values), magnitudes, squares, float(np.minimum.reduce(sizes_of))


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
