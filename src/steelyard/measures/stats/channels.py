"""Statistics of each channel of a weight, such as one output's weights or one word's row."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from steelyard import sizes
from steelyard.core.axes import Factor, label_of, parsed
from steelyard.core.casting import standard
from steelyard.core.weight import Weight
from steelyard.numerics.boxes import boxes

if TYPE_CHECKING:
    from steelyard.core.weight import Array


class Channels:
    """Statistics of each channel of one weight, as arrays of equal length; NaN for a channel without finite numbers.

    `axes` are the axes of the weight that index its channels, `shape` their lengths.
    """

    __slots__ = (
        "axes",
        "count",
        "deviations",
        "inf",
        "l1",
        "maximum",
        "mean",
        "minimum",
        "nan",
        "near_zeros",
        "shape",
        "squares",
        "zeros",
    )

    def __init__(self, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
        self.axes = axes
        self.shape = tuple(shape[axis] for axis in axes)
        self.count, self.zeros, self.near_zeros, self.nan, self.inf = (np.zeros(self.shape, np.int64) for _ in range(5))
        self.mean, self.deviations, self.l1, self.squares = (np.zeros(self.shape) for _ in range(4))
        self.minimum, self.maximum = np.full(self.shape, np.inf), np.full(self.shape, -np.inf)

    @property
    def size(self) -> int:
        """The number of channels."""
        return prod(self.shape)

    def add(self, block: Array, corner: tuple[int, ...], near: float) -> None:
        """Add a box of the weight that begins at `corner`."""
        kept = tuple(slice(corner[axis], corner[axis] + block.shape[axis]) for axis in self.axes)
        others = tuple(axis for axis in range(block.ndim) if axis not in self.axes)
        good = np.isfinite(block)
        sizes = np.abs(block)
        self.nan[kept] += np.isnan(block).sum(others)
        self.inf[kept] += np.isinf(block).sum(others)
        self.zeros[kept] += (block == 0).sum(others)
        self.near_zeros[kept] += (sizes <= near).sum(others)
        self.minimum[kept] = np.minimum(self.minimum[kept], np.min(block, others, initial=np.inf, where=good))
        self.maximum[kept] = np.maximum(self.maximum[kept], np.max(block, others, initial=-np.inf, where=good))
        self.l1[kept] += np.sum(sizes, others, where=good)
        self.squares[kept] += np.sum(block * block, others, where=good)
        self._deviate(block, kept, others, good)

    def _deviate(self, block: Array, kept: tuple[slice, ...], others: tuple[int, ...], good: Array) -> None:
        """Update the mean and the squared deviations of these channels (Chan, Golub and LeVeque, 1979)."""
        here = good.sum(others)
        safe = np.maximum(here, 1)
        mean = np.sum(block, others, where=good) / safe
        own = np.sum((block - np.expand_dims(mean, others)) ** 2, others, where=good)
        before, total = self.count[kept], np.maximum(self.count[kept] + here, 1)
        step = mean - self.mean[kept]
        self.deviations[kept] += np.where(here > 0, own + step * step * before * here / total, 0)
        self.mean[kept] += np.where(here > 0, step * here / total, 0)
        self.count[kept] += here

    def figures(self) -> dict[str, Array]:
        """Return the columns, each an array with one entry per channel."""
        empty = self.count == 0
        safe = np.maximum(self.count, 1)
        figures = {
            "count": self.count,
            "min": self.minimum,
            "max": self.maximum,
            "mean": self.mean,
            "std": np.sqrt(self.deviations / safe),
            "l1": self.l1,
            "l2": np.sqrt(self.squares),
            "rms": np.sqrt(self.squares / safe),
        }
        figures = {key: np.where(empty, np.nan, column) if key != "count" else column for key, column in figures.items()}
        counts = {"zeros": self.zeros, "near_zeros": self.near_zeros, "nan": self.nan, "inf": self.inf}
        return {key: column.reshape(-1) for key, column in (figures | counts).items()}


def channel_axes(weight: Weight, word: str) -> tuple[int, ...]:
    """Return the axes of a weight that index `word`, such as "out"; none if its axes are not known or lack it.

    Gates and directions count as separate channels. The only axis of a vector is that of its layer's outputs.

    >>> from steelyard.core.readers import from_array
    >>> channel_axes(from_array("w", np.zeros((3, 3, 2, 8)), axes="kh kw in out"), "out")
    (3,)
    """
    if len(weight.shape) == 1:
        return (0,) if word == "out" else ()
    if len(weight.axes.split()) != len(weight.shape):
        return ()
    axes = parsed(weight.axes)
    words = frozenset(factor.word for axis in axes for factor in axis)
    named = [any(label_of(factor.word, words) == word for factor in axis) for axis in axes]
    if not any(named):
        return ()
    return tuple(nth for nth, axis in enumerate(axes) if named[nth] or (word == "out" and any(f.letters for f in axis)))


def channels_of(weight: Weight, axes: tuple[int, ...], near: float) -> Channels:
    """Read a weight once, and return the statistics of the channels that some of its axes index."""
    channels = Channels(weight.shape, axes)
    with np.errstate(all="ignore"):
        for box in boxes(weight.shape, sizes.CHANNEL_BLOCK):
            block = weight.read(box.start, box.stop)
            wide = np.abs(block) if block.dtype.kind == "c" else block.astype(standard(block.dtype), copy=False)
            channels.add(wide.astype(np.float64).reshape(box.shape), box.corner, near)
    return channels


def units_of(weight: Weight, axes: tuple[int, ...]) -> Iterator[str]:
    """Yield the label of each channel: its index, after the letters of its gate and direction.

    >>> from steelyard.core.readers import from_array
    >>> list(units_of(from_array("w", np.zeros((4, 3)), axes="[ig]*out in"), (0,)))
    ['i 0', 'i 1', 'g 0', 'g 1']
    """
    factors = (
        parsed(weight.axes) if len(weight.axes.split()) == len(weight.shape) else tuple((Factor("out"),) for _ in weight.shape)
    )
    for place in np.ndindex(*(weight.shape[axis] for axis in axes)):
        words = [_called(factors[axis], weight.shape[axis], at) for axis, at in zip(axes, place, strict=True)]
        yield " ".join(word for word in words if word)


def _called(axis: tuple[Factor, ...], length: int, place: int) -> str:
    lettered = [factor.letters for factor in axis if factor.letters]
    step = length
    words = []
    for letters in lettered:
        step //= len(letters)
        words.append(letters[place // step % len(letters)] if step else "")
    return " ".join(words + ([str(place % step if lettered else place)] if step > 1 or not lettered else []))
