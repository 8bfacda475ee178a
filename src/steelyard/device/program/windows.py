"""Operations on images without weights: pools, padding and upsampling."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.device.program.linear import channels_back, channels_first, places, window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Array
    from steelyard.device.program.arithmetic import Arithmetic


class Pool(NamedTuple):
    """The maximum or the average of each window; `word` is "max" or "average".

    An average divides by the size of the window, or with `count_padding` false by the number of its places in the image.
    """

    word: str
    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    count_padding: bool
    channels: str

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return a number for each position of the window."""
        import numpy as np

        x = channels_first(arithmetic.cast(inputs[0]), self.channels)
        empty = -np.inf if self.word == "max" else 0
        padded = np.pad(x, ((0, 0), (0, 0), *self.padding), constant_values=empty)
        axes = zip(padded.shape[2:], self.size, self.strides, self.dilation, strict=True)
        lengths = tuple((length - gap * (width - 1) - 1) // step + 1 for length, width, step, gap in axes)
        parts = (padded[(..., *self._taken(place, lengths))] for place in places(self.size))
        if self.word == "max":
            return channels_back(np.maximum.reduce(list(parts)), self.channels)
        sums = arithmetic.started((*x.shape[:2], *lengths))
        for part in parts:
            sums += part
        return channels_back(arithmetic.cast(sums / self._counts(x.shape[2:], lengths).astype(arithmetic.sums)), self.channels)

    def _taken(self, place: Sequence[int], lengths: Sequence[int]) -> tuple[Any, ...]:
        return tuple(window(*each) for each in zip(place, self.dilation, self.strides, lengths, strict=True))

    def _counts(self, space: Sequence[int], lengths: Sequence[int]) -> Array:
        import numpy as np

        inside = np.pad(np.ones(tuple(space)), self.padding, constant_values=float(self.count_padding))
        counts: Array = np.sum([inside[self._taken(place, lengths)] for place in places(self.size)], axis=0)
        return counts


class GlobalPool(NamedTuple):
    """The maximum or the average of each channel; with `keeps` the spatial axes stay, of length 1."""

    word: str
    keeps: bool
    channels: str

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return a number for each channel."""
        x = channels_first(arithmetic.cast(inputs[0]), self.channels)
        flat = x.reshape(*x.shape[:2], prod(x.shape[2:]))
        if self.word == "max":
            made = flat.max(axis=2, initial=float("-inf"))
        else:
            made = arithmetic.cast(arithmetic.sum_along(flat, 2) / arithmetic.widened(_number(flat.shape[2])))
        return channels_back(made.reshape(*made.shape, *[1] * (x.ndim - 2)), self.channels) if self.keeps else made


class Pad(NamedTuple):
    """Places before and after along each axis of an example.

    `mode` is that of NumPy: "constant" for one value, "edge" for the last place, "reflect" for the places in reverse without
    the last, "symmetric" with it, and "wrap" for those of the other end.
    """

    padding: tuple[tuple[int, int], ...]
    value: float
    mode: str = "constant"

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the padded numbers."""
        import numpy as np

        x, padding = arithmetic.cast(inputs[0]), ((0, 0), *self.padding)
        if self.mode == "constant":
            return np.pad(x, padding, constant_values=self.value)
        widest = [max(pair) for pair in self.padding]
        least = 1 if self.mode == "reflect" else 0
        if any(most > length - least for most, length in zip(widest, x.shape[1:], strict=True)) and self.mode != "edge":
            raise ValueError("the padding is wider than the image")
        made: Array = np.pad(x, padding, mode=self.mode)  # type: ignore[call-overload]
        return made


class Upsample(NamedTuple):
    """Each place repeated along the spatial axes."""

    scale: tuple[int, ...]
    channels: str

    def run(self, inputs: Sequence[Array], _: Arithmetic) -> Array:
        """Return the larger image."""
        x = channels_first(inputs[0], self.channels)
        for axis, times in enumerate(self.scale, start=2):
            x = x.repeat(times, axis)
        return channels_back(x, self.channels)


def _number(value: float) -> Array:
    import numpy as np

    return np.asarray(value, np.float64)
