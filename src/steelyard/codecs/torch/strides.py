"""Strided views of a storage: transposed, sliced or repeated tensors, and those that torch marks as conjugate or negative."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.core.readers import by_rows
from steelyard.numerics.packed import low_first

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Stored


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


def unpacked(flat: Reader, bits: int) -> Reader:
    """Read numbers of a few bits, the first of a byte in its lowest bits."""
    each = 8 // bits

    def read(start: int, stop: int) -> Array:
        first = start // each
        return low_first(flat(first, -(-stop // each)), bits)[start - first * each : stop - first * each]

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
