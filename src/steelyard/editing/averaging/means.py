"""The weighted mean of several weights, read block by block: the sum in float32, or exactly, and one rounding at the end."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from steelyard import sizes
from steelyard.core.computed import Buffers, fill, working
from steelyard.core.readers import from_array
from steelyard.core.together import likeness, read_rows
from steelyard.dtypes import numpy_dtype
from steelyard.numerics.blocks import is_plain

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight


class Mean:
    """A reader of the sum of `inputs` times `factors`, or of their plain mean where these are None."""

    __slots__ = ("dtype", "factors", "inputs", "paired", "work")

    def __init__(self, inputs: Sequence[Weight], factors: Sequence[float] | None, dtype: str) -> None:
        self.inputs = inputs
        self.factors = factors
        self.dtype = numpy_dtype(dtype)
        self.work = working(dtype)
        self.paired = all(weight.dtype == dtype == "bfloat16" and is_plain(weight) for weight in inputs)

    def __call__(self, start: int, stop: int) -> Array:
        made = np.empty(stop - start, self.dtype)
        add = self._add_pairs if self.paired else self._add
        with np.errstate(all="ignore"):
            add(start, stop, made)
        return made

    def likeness(self) -> Hashable:
        """Return what means share that are read together; see `core.together`."""
        keys = tuple((weight.dtype, likeness(weight.read)) for weight in self.inputs)
        return None if any(key is None for _, key in keys) else (keys, id(self.factors), self.dtype)

    def rows(self, readers: Sequence[Mean], width: int) -> Array | None:
        """Return the numbers of several means as rows: they are the mean of the inputs, one after another."""
        inputs = []
        for nth in range(len(self.inputs)):
            read = read_rows([reader.inputs[nth] for reader in readers])
            if read is None:
                return None
            inputs.append(from_array("", read.reshape(-1)))
        return Mean(inputs, self.factors, self.dtype.name)(0, len(readers) * width).reshape(len(readers), width)

    def _add(self, start: int, stop: int, made: Array) -> None:
        step = sizes.EDIT_BLOCK
        with Buffers([self.work] * 2, min(step, stop - start)) as (total, term):
            for at in range(start, stop, step):
                end = min(at + step, stop)
                out = made[at - start : end - start]
                self._block(at, end, out if made.dtype == self.work else total[: end - at], term[: end - at])
                if made.dtype != self.work:
                    out[...] = total[: end - at]

    def _block(self, start: int, stop: int, total: Array, term: Array) -> None:
        for nth, weight in enumerate(self.inputs):
            read = term if nth else total
            fill(weight, start, stop, read)
            if self.factors is not None:
                read *= self.work.type(self.factors[nth])
            if nth:
                total += term
        if self.factors is None and len(self.inputs) > 1:
            total /= self.work.type(len(self.inputs))

    def _add_pairs(self, start: int, stop: int, made: Array) -> None:
        """Add bfloat16 numbers in pairs: the upper half of 32 bits is one float32, the lower half, moved up, another.

        So all operations are on contiguous 32 bits, which is twice as fast as to convert each number.
        """
        step = 2 * sizes.EDIT_BLOCK  # as many bytes as of float32
        length = min(step, stop - start) + 1 >> 1
        with Buffers([np.dtype(np.uint32)] * 2 + [np.dtype(np.float32)] * 2, length) as (raw, part, high, low):
            for at in range(start, stop, step):
                end = min(at + step, stop)
                half = end - at + 1 >> 1
                self._pair_block(at, end, raw[:half], part[:half], high[:half], low[:half])
                out = made[at - start : end - start]
                joined = _joined(high[:half], low[:half], raw[:half], part[:half])
                if joined is None:
                    out[1::2], out[::2] = high[: (end - at) // 2], low[:half]
                else:
                    out.view(np.uint16)[:] = joined.view(np.uint16)[: end - at]

    def _pair_block(self, start: int, stop: int, raw: Array, part: Array, high: Array, low: Array) -> None:
        raw[-1] = 0  # an odd number of elements leaves half of the last pair
        for nth, weight in enumerate(self.inputs):
            fill_pairs(weight, start, stop, raw)
            for total, split, bits in ((high, np.bitwise_and, _UPPER), (low, np.left_shift, _HALF)):
                term = part.view(np.float32) if nth else total
                split(raw, bits, out=term.view(np.uint32))
                if self.factors is not None:
                    term *= np.float32(self.factors[nth])
                if nth:
                    np.add(total, term, out=total)
        if self.factors is None and len(self.inputs) > 1:
            high /= np.float32(len(self.inputs))
            low /= np.float32(len(self.inputs))


_UPPER, _HALF = np.uint32(0xFFFF0000), np.uint32(16)


def fill_pairs(weight: Weight, start: int, stop: int, raw: Array) -> None:
    """Read bfloat16 numbers of a file as pairs in 32 bits."""
    weight.read.fill(start, raw.view(np.uint8).data[: 2 * (stop - start)])  # type: ignore[attr-defined]


def _joined(high: Array, low: Array, one: Array, other: Array) -> Array | None:
    """Round two float32 arrays to bfloat16, to even, and join them to pairs; None where NaN must be kept apart."""
    if np.isnan(high.max()) or np.isnan(low.max()):
        return None
    _round(high.view(np.uint32), one)
    _round(low.view(np.uint32), other)
    one &= _UPPER
    other >>= _HALF
    one |= other
    return one


def _round(bits: Array, room: Array) -> None:
    """Add half of the last place of a bfloat16 to the bits of float32 numbers, so that they may be cut off: ties go to even."""
    np.right_shift(bits, _HALF, out=room)
    room &= np.uint32(1)
    room += np.uint32(0x7FFF)
    room += bits


def exact_sum(blocks: list[Array]) -> Array:
    """Return the sum of float64 blocks, which does not depend on their order: the terms of each element are sorted first."""
    terms = ordered(blocks)
    for term in terms[1:]:
        terms[0] += term
    return terms[0]


def ordered(blocks: list[Array]) -> list[Array]:
    """Sort the numbers of each element in place: the smallest are in the first block afterwards, and NaN is in all.

    Few blocks are sorted by exchanging neighbours as wholes, which is faster than sorting the few numbers of each element.
    """
    if len(blocks) > _EXCHANGED:
        return list(np.sort(np.stack(blocks), axis=0))
    smaller = np.empty_like(blocks[0])
    for turn in range(len(blocks)):
        for nth in range(turn % 2, len(blocks) - 1, 2):
            np.minimum(blocks[nth], blocks[nth + 1], out=smaller)
            np.maximum(blocks[nth], blocks[nth + 1], out=blocks[nth + 1])
            blocks[nth], smaller = smaller, blocks[nth]
    return blocks


_EXCHANGED = 16
"""Blocks up to which exchanging neighbours is faster than sorting."""


def exact_block(factors: Sequence[float] | None, _: int, blocks: list[Array]) -> Array:
    """Return the mean of float64 blocks as an exact sum."""
    if factors is None:
        total = exact_sum(blocks)
        total /= len(blocks)
        return total
    for block, factor in zip(blocks, factors, strict=True):
        np.multiply(block, factor, out=block)
    return exact_sum(blocks)


def median_block(_: int, blocks: list[Array]) -> Array:
    """Return the median of blocks by element: of an even number the mean of the two in the middle, NaN where one is NaN."""
    terms = ordered(blocks)
    half = len(terms) // 2
    middle = terms[half] if len(terms) % 2 else (terms[half - 1] + terms[half]) / terms[0].dtype.type(2)
    return np.asarray(np.where(np.isnan(terms[-1]), terms[-1], middle))  # NaN is sorted to the end


def trimmed_block(left_out: int, _: int, blocks: list[Array]) -> Array:
    """Return the mean of blocks by element without the `left_out` smallest and largest ones."""
    terms = ordered(blocks)
    total, *others = terms[left_out : len(terms) - left_out]
    mean = total.copy()
    for term in others:
        mean += term
    mean /= mean.dtype.type(1 + len(others))
    return np.asarray(np.where(np.isnan(terms[-1]), terms[-1], mean))
