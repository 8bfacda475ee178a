"""Tensors that lie in a storage by steps of their own: transposed, cut, repeated, or with a flag on their numbers."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.core.readers import by_rows

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Stored


class Layout:
    """A shape and its steps: how many elements they reach over, whether they lie in one run, row-major.

    `spread` is the number of elements, where an axis of no elements counts as one.
    """

    __slots__ = ("contiguous", "extent", "shape", "spread", "stride")

    def __init__(self, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.shape = shape
        self.stride = stride
        self.extent = 0 if 0 in shape else 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        self.spread = prod(i for i in shape if i)
        self.contiguous = _is_contiguous(shape, stride)


def _is_contiguous(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    expected = 1
    for length, step in zip(reversed(shape), reversed(stride), strict=True):
        if length != 1 and step != expected:
            return 0 in shape
        expected *= length
    return True


def pairs(flat: Stored) -> Reader:
    """Read complex numbers of two half floats as those of two floats: NumPy has no shorter ones."""

    def read(start: int, stop: int) -> Array:
        import numpy as np

        return flat(2 * start, 2 * stop).astype(np.float32).view(np.complex64)

    return read


def stepped(flat: Reader, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> Reader:
    """Read a tensor that does not lie in one run: for some rows, the run that holds them."""
    below = sum((n - 1) * step for n, step in zip(shape[1:], stride[1:], strict=True)) + 1

    def rows(first: int, last: int) -> Array:
        import numpy as np

        if last <= first:
            return flat(0, 0)
        begin = offset + first * stride[0]
        run = flat(begin, begin + (last - first - 1) * stride[0] + below)
        carrier = run.view(np.dtype((np.void, run.itemsize)))  # as_strided knows none of the types of ml_dtypes
        steps = tuple(step * run.itemsize for step in stride)
        view = np.lib.stride_tricks.as_strided(carrier, (last - first, *shape[1:]), steps, writeable=False)
        return np.ascontiguousarray(view).view(run.dtype)

    return by_rows(shape, rows)


def flagged(read: Reader, flags: str) -> Reader:
    """Apply what torch keeps as a flag and does to the numbers when they are used."""

    def changed(start: int, stop: int) -> Array:
        import numpy as np

        block = read(start, stop)
        block = np.conjugate(block) if "conj" in flags else block
        return np.negative(block) if "neg" in flags else block

    return changed
