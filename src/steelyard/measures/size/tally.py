"""What is counted for each layer: numbers by what they are for, and bytes as they are stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from steelyard.core.weight import Weight


class Tally(NamedTuple):
    """Numbers in parameters, in those known to be trainable and known to be frozen, in buffers and in others; bytes stored.

    `tied` are numbers that weights share with earlier ones, which count them.
    """

    parameters: int = 0
    trainable: int = 0
    frozen: int = 0
    buffers: int = 0
    other: int = 0
    nbytes: int = 0
    tied: int = 0


def sum_of(tallies: Iterable[Tally]) -> Tally:
    """Return the sums of all.

    >>> sum_of([Tally(1, nbytes=4), Tally(2, nbytes=8)])
    Tally(parameters=3, trainable=0, frozen=0, buffers=0, other=0, nbytes=12, tied=0)
    """
    listed = list(tallies)
    if len(listed) == 1:
        return listed[0]
    return Tally(*map(sum, zip(*listed, strict=True)))  # by columns: a net may have a hundred thousand layers


def tally_of(weight: Weight, nbytes: int, *, is_parameter: bool | None) -> Tally:
    """Count one weight; one that shares its numbers with an earlier weight counts as tied alone."""
    size = weight.size
    if weight.tied is not None:
        return Tally(tied=size)
    if is_parameter:
        return Tally(size, size * (weight.trainable is True), size * (weight.trainable is False), nbytes=nbytes)
    return Tally(buffers=size * (is_parameter is False), other=size * (is_parameter is None), nbytes=nbytes)
