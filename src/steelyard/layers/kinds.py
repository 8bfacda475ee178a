"""Settings of layers in the words used for all frameworks."""

from __future__ import annotations

from collections.abc import Sequence

Padding = str | tuple[int, ...] | tuple[tuple[int, int], ...]
"""A padding: its name, one number for each axis, or the numbers before and after each axis."""


def padding_word(padding: str | int | Sequence[int | Sequence[int]], rank: int) -> Padding:
    """Return "same", "valid" (also for zeros), the padding of each axis, or (before, after) for each axis if they differ.

    >>> padding_word("SAME", 2), padding_word(0, 2), padding_word(1, 2), padding_word([(0, 1), (1, 1)], 2)
    ('same', 'valid', (1, 1), ((0, 1), (1, 1)))
    """
    if isinstance(padding, str):
        return padding.lower()
    axes = [padding] * rank if isinstance(padding, int) else list(padding)
    pairs = [(axis, axis) if isinstance(axis, int) else (axis[0], axis[1]) for axis in axes]
    if all(pair == (0, 0) for pair in pairs):
        return "valid"
    return tuple(before for before, _ in pairs) if all(before == after for before, after in pairs) else tuple(pairs)


def each_axis(number: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Return one number for each spatial axis, by default 1.

    >>> each_axis(2, 2), each_axis((2, 1), 2), each_axis(None, 1)
    ((2, 2), (2, 1), (1,))
    """
    if number is None or isinstance(number, int):
        return (1 if number is None else number,) * rank
    return tuple(number)
