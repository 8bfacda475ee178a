"""The k smallest of any number of keys, exactly and in bounded memory: a histogram of their upper bits, then of the lower ones.

A key is an unsigned integer of 32 or 64 bits that is ordered as the numbers are; the bits of a float that is not negative are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Keys = Callable[[], Iterable[Array]]
    """Returns the blocks of all keys, in the same order each time."""

_DIGIT = 16  # bits of a histogram: 65,536 counts are half a megabyte
_TOGETHER = 1 << _DIGIT  # keys of small blocks that are counted together, since each count goes through the whole histogram


class Threshold(NamedTuple):
    """The k smallest keys are those below `key`, and the first `equal` of the `ties` that are equal to it."""

    key: int
    equal: int
    ties: int


def smallest(keys: Keys, count: int, bits: int) -> Threshold:
    """Return the threshold of the `count` smallest keys of `bits` bits; each 16 bits are a pass over all of them.

    >>> smallest(lambda: [np.array([7, 1, 3], np.uint32), np.array([3, 9], np.uint32)], 3, 32)
    Threshold(key=3, equal=2, ties=2)
    >>> smallest(lambda: [np.array([7, 1], np.uint32)], 0, 32)
    Threshold(key=0, equal=0, ties=0)
    """
    if count <= 0:
        return Threshold(0, 0, 0)
    prefix, wanted, ties = 0, count, 0
    for shift in range(bits - _DIGIT, -1, -_DIGIT):
        counts = np.zeros(1 << _DIGIT, np.int64)
        for block in _joined(keys()):
            # the digits above this one are those of the threshold
            same = block if shift + _DIGIT == bits else block[block >> (shift + _DIGIT) == prefix]
            digits = (same >> shift).astype(np.uint16)
            counts += np.bincount(digits, minlength=len(counts))
        up_to = np.cumsum(counts)
        digit = min(int(np.searchsorted(up_to, wanted)), len(counts) - 1)
        wanted -= int(up_to[digit - 1]) if digit else 0
        prefix, ties = prefix << _DIGIT | digit, int(counts[digit])
    return Threshold(prefix, wanted, ties)


def _joined(blocks: Iterable[Array]) -> Iterator[Array]:
    """Yield the keys of all blocks, those of small ones together."""
    held: list[Array] = []
    left = _TOGETHER
    for block in blocks:
        held.append(block)
        left -= block.size
        if left <= 0:
            yield held[0] if len(held) == 1 else np.concatenate(held)
            held, left = [], _TOGETHER
    if held:
        yield np.concatenate(held)
