"""Strided views of a storage: transposed, sliced or repeated tensors, and those that torch marks as conjugate or negative."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.core.readers import by_rows

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Stored

    Memory = tuple[object, int, int, tuple[int, ...], tuple[int, ...], str]
    """A view of a storage: the storage, its offset and the size of an element in bytes, shape, strides in elements, type."""


class Strided:
    """A shape and its strides, in elements.

    `extent` is the number of elements from the first to the last, `contiguous` means row-major without gaps. `size` is
    the number of elements, where an axis of length 0 counts as 1. `steps` are the strides, 0 for an axis of length 1, which
    makes no step.
    """

    __slots__ = ("contiguous", "extent", "shape", "size", "steps", "stride")

    def __init__(self, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.shape = shape
        self.stride = stride
        self.extent = 0 if 0 in shape else 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        self.size = prod(i for i in shape if i)
        self.steps = tuple(step if n > 1 else 0 for n, step in zip(shape, stride, strict=True))
        self.contiguous = _is_contiguous(shape, stride)


def _is_contiguous(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    expected = 1
    for length, step in zip(reversed(shape), reversed(stride), strict=True):
        if length != 1 and step != expected:
            return 0 in shape
        expected *= length
    return True


def complex_halves(flat: Stored) -> Reader:
    """Read complex32 as complex64, since NumPy lacks a complex number of two half floats."""

    def read(start: int, stop: int) -> Array:
        import numpy as np

        return flat(2 * start, 2 * stop).astype(np.float32).view(np.complex64)

    return read


def stepped(flat: Reader, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> Reader:
    """Read a strided view by rows: for some rows, the run of the storage from their first element to their last."""
    below = sum((n - 1) * step for n, step in zip(shape[1:], stride[1:], strict=True)) + 1

    def rows(first: int, last: int) -> Array:
        import numpy as np

        if last <= first:
            return flat(0, 0)
        begin = offset + first * stride[0]
        run = flat(begin, begin + (last - first - 1) * stride[0] + below)
        carrier = run.view(np.dtype((np.void, run.itemsize)))  # as_strided does not support the types of ml_dtypes
        steps = tuple(step * run.itemsize for step in stride)
        view = np.lib.stride_tricks.as_strided(carrier, (last - first, *shape[1:]), steps, writeable=False)
        return np.ascontiguousarray(view).view(run.dtype)

    return by_rows(shape, rows)


def flagged(read: Reader, flags: str) -> Reader:
    """Conjugate or negate the numbers: torch only marks the tensor, and does it when the numbers are used."""

    def changed(start: int, stop: int) -> Array:
        import numpy as np

        block = read(start, stop)
        block = np.conjugate(block) if "conj" in flags else block
        return np.negative(block) if "neg" in flags else block

    return changed


RUNS = 1 << 14
"""Contiguous runs of a view up to which two views are compared exactly; beyond, their whole extents are."""


def shares(one: Memory, other: Memory) -> bool:
    """Whether two views of one storage have an element in common; each is its storage, offset, element size, shape and strides.

    >>> column = lambda nth: ("storage", 4 * nth, 4, (3,), (2,), "float32")
    >>> shares(column(0), column(1)), shares(column(0), ("storage", 0, 4, (3, 2), (2, 1), "float32"))
    (False, True)
    """
    mine, theirs = _runs(one), _runs(other)
    at = 0
    for start, stop in mine:
        while at < len(theirs) and theirs[at][1] <= start:
            at += 1
        if at < len(theirs) and theirs[at][0] < stop:
            return True
    return False


def bounds(memory: Memory) -> tuple[int, int]:
    """Return the first byte of a view, and the byte after its last."""
    _, begin, size, shape, steps, *_ = memory
    return begin, begin + size * (1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=True)))


def _runs(memory: Memory) -> list[tuple[int, int]]:
    """Return the runs of bytes that a view touches, in order."""
    _, begin, size, shape, steps, *_ = memory
    axes = sorted((step, n) for n, step in zip(shape, steps, strict=True) if step and n > 1)
    length = 1
    while axes and axes[0][0] <= length:  # the inner axes without gaps are one run
        step, n = axes.pop(0)
        length += (n - 1) * step
    if prod(n for _, n in axes) > RUNS:
        length += sum((n - 1) * step for step, n in axes)
        axes = []
    starts = [0]
    for step, n in axes:
        starts = [start + nth * step for start in starts for nth in range(n)]
    return [(begin + start * size, begin + (start + length) * size) for start in sorted(starts)]
