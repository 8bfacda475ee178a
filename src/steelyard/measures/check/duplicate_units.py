"""Find dead and duplicate units of a weight in one pass: slices along an axis that are zero, or equal to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from steelyard import sizes
from steelyard.core.weight import Weight
from steelyard.numerics.boxes import boxes
from steelyard.numerics.summary import Summary

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.numerics.boxes import Box

_ODD = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio, an odd number; its multiples are well spread (Fibonacci hashing)."""


class UnitScan:
    """The result of one pass over a weight: the `summary` of its numbers, and the zero and equal slices of some axes.

    `also` is called with each block and the offset of its first element, to avoid a second pass. `zero[axis]` marks the
    indices of an axis whose slices are all zero. `hashes` has a 64-bit hash of each slice along `hashed_axis`: equal
    slices have equal hashes, and different ones have different hashes with a probability of 1 - 2**-64.
    """

    __slots__ = ("hashed_axis", "hashes", "summary", "zero")

    def __init__(
        self,
        weight: Weight,
        axes: tuple[int, ...] = (),
        hashed_axis: int | None = None,
        also: Callable[[Array, int], None] | None = None,
    ) -> None:
        self.summary = Summary()
        if not weight.size:  # its other axes may have any length, and nothing on them is equal or dead
            axes, hashed_axis = (), None
        if axes or hashed_axis is not None:
            weight.read(0, 1)  # an invalid shape raises before it takes memory
        self.hashed_axis = hashed_axis
        self.zero = {axis: np.ones(weight.shape[axis], bool) for axis in axes}
        self.hashes = np.zeros(0 if hashed_axis is None else weight.shape[hashed_axis], np.uint64)
        for box in boxes(weight.shape, sizes.SUMMARY_BLOCK):
            block = np.ascontiguousarray(weight.read(box.start, box.stop))
            self.summary.add(block, box.start)
            if also is not None:
                also(block, box.start)
            self._look(block.reshape(box.shape), box, weight.shape)

    def _look(self, block: Array, box: Box, shape: tuple[int, ...]) -> None:
        filled = block != 0 if self.zero else block
        for axis, zero in self.zero.items():
            others = tuple(each for each in range(block.ndim) if each != axis)
            zero[box.corner[axis] : box.corner[axis] + box.shape[axis]] &= ~filled.any(others)
        if self.hashed_axis is not None:
            axis = self.hashed_axis
            others = tuple(each for each in range(block.ndim) if each != axis)
            here = slice(box.corner[axis], box.corner[axis] + box.shape[axis])
            self.hashes[here] += _mixed(block, box, shape, axis).sum(others, dtype=np.uint64) * _ODD

    def same(self) -> list[list[int]]:
        """Return the indices of equal slices, except those of zeros, along the axis `told_apart`, in groups of two or more."""
        zero = self.zero.get(-1 if self.hashed_axis is None else self.hashed_axis)
        places = np.arange(len(self.hashes)) if zero is None else np.flatnonzero(~zero)
        ordered = np.sort(self.hashes[places])
        again = ordered[1:][ordered[1:] == ordered[:-1]]
        places_of: dict[int, list[int]] = {}
        for place in places[np.isin(self.hashes[places], again)].tolist():
            places_of.setdefault(int(self.hashes[place]), []).append(place)
        return list(places_of.values())


def _mixed(block: Array, box: Box, shape: tuple[int, ...], axis: int) -> Array:
    """Return a hash of each word of a block, and of its place in its slice; a word has the bits of one number or of several.

    Each step can be undone, so that different words have different hashes. The first product spreads the bits of each number
    over those above, and the upper half then reaches the lower one: without either, two changed signs could cancel out.
    """
    together = _together(block, shape, axis)
    words = _words(_bits(block), together)
    words *= _ODD
    words ^= words >> np.uint64(32)
    words += np.uint64(1)
    words *= _factors(_in_words(box, together), (*shape[:-1], shape[-1] // together), axis)
    words ^= words >> np.uint64(29)
    return words


def _together(block: Array, shape: tuple[int, ...], axis: int) -> int:
    """Return the numbers of a word: 8 bytes along the last axis, where slices and blocks are whole words, else one number."""
    count = 8 // block.itemsize
    return 1 if axis == len(shape) - 1 or shape[-1] % count or sizes.SUMMARY_BLOCK % count else count


def _in_words(box: Box, together: int) -> Box:
    corner, shape = ((*each[:-1], each[-1] // together) for each in (box.corner, box.shape))
    return box._replace(corner=corner, shape=shape)


def _words(bits: Array, together: int) -> Array:
    return bits.astype(np.uint64) if together == 1 else bits.view(np.uint64).copy()


def _bits(block: Array) -> Array:
    """Return the bits of each number as an integer; both zeros have the same bits."""
    if block.dtype.kind == "V":  # a type of ml_dtypes
        block = np.where(block == 0, block.dtype.type(0), block)
    bits = block.view(f"u{block.itemsize}")
    if block.dtype.kind == "f":  # by the bits, since a sum with a signalling NaN warns
        negative = bits == bits.dtype.type(1 << 8 * block.itemsize - 1)
        if negative.any():
            bits = np.where(negative, bits.dtype.type(0), bits)
    return bits


def _factors(box: Box, shape: tuple[int, ...], axis: int) -> Array:
    """Return a hash for each element of a box that depends on its indices along all axes but one, on which it has one row."""
    place = np.zeros((), np.uint64)
    for nth, (corner, length) in enumerate(zip(box.corner, box.shape, strict=True)):
        along = np.zeros(1, np.uint64) if nth == axis else np.arange(corner, corner + length, dtype=np.uint64)
        shaped = along.reshape([-1 if each == nth else 1 for each in range(len(shape))])
        place = place * np.uint64(1 if nth == axis else shape[nth]) + shaped
    mixed = (place + np.uint64(1)) * _ODD
    mixed ^= mixed >> np.uint64(31)
    return mixed * np.uint64(0xBF58476D1CE4E5B9) | np.uint64(1)
