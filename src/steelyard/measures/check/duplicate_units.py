"""Units of a weight, looked at in one pass: which places of an axis hold nothing but zeros, and which hold the same."""

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
"""2**64 over the golden ratio, which is odd: its multiples are well spread."""


class UnitScan:
    """What one pass over a weight finds: the `summary` of its numbers, and of each axis that was asked for its units.

    `also` is called with each block, which is in memory anyhow, and its first element. `zero[axis]` marks the places of an
    axis that hold nothing but zeros. `hashes` is a number of 64 bits for each place
    of the axis `hashed_axis`: equal places have equal ones, and others, but for one chance in 2**64, do not.
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
        if axes or hashed_axis is not None:
            weight.read(0, min(1, weight.size))  # a shape that makes no sense is refused before it takes memory
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
            mixed = (_bits(block) + np.uint64(1)) * _factors(box, shape, axis)
            mixed ^= mixed >> np.uint64(29)
            here = slice(box.corner[axis], box.corner[axis] + box.shape[axis])
            self.hashes[here] += (mixed * _ODD).sum(others, dtype=np.uint64)

    def same(self) -> list[list[int]]:
        """Return the places of the axis told apart that hold the same, and not only zeros, in groups of two or more."""
        zero = self.zero.get(-1 if self.hashed_axis is None else self.hashed_axis)
        found: dict[int, list[int]] = {}
        for place, hash_ in enumerate(self.hashes.tolist()):
            if zero is None or not zero[place]:
                found.setdefault(hash_, []).append(place)
        return [places for places in found.values() if len(places) > 1]


def _bits(block: Array) -> Array:
    """Return the bits of each number as a whole number; both zeros are one."""
    whole = np.where(block == 0, block.dtype.type(0), block) if block.dtype.kind != "c" else block.view(block.real.dtype)
    return whole.view(f"u{whole.itemsize}").astype(np.uint64)


def _factors(box: Box, shape: tuple[int, ...], axis: int) -> Array:
    """Return a number for each place of a box that depends on all but the place along one axis."""
    place = np.zeros((), np.uint64)
    for nth, (corner, length) in enumerate(zip(box.corner, box.shape, strict=True)):
        along = np.zeros(length, np.uint64) if nth == axis else np.arange(corner, corner + length, dtype=np.uint64)
        shaped = along.reshape([-1 if each == nth else 1 for each in range(len(shape))])
        place = place * np.uint64(1 if nth == axis else shape[nth]) + shaped
    mixed = (place + np.uint64(1)) * _ODD
    mixed ^= mixed >> np.uint64(31)
    return mixed * np.uint64(0xBF58476D1CE4E5B9) | np.uint64(1)
