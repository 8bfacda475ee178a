"""Operations that divide numbers by a measure of several of them: norms over groups, and softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Array
    from steelyard.device.program.arithmetic import Arithmetic


class LayerNorm(NamedTuple):
    """A norm over the last `size` numbers: `(x - mean) / sqrt(variance + epsilon) * scale + offset`.

    The mean is first, then the variance as the mean of squared differences. With `centres` false neither the mean is
    subtracted nor an offset added, and the variance is the mean of squares (RMS norm).
    """

    scale: Array | None
    offset: Array | None
    size: int
    epsilon: float
    centres: bool

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the normalised numbers."""
        x = inputs[0].reshape(*_rows(inputs[0], self.size), self.size)
        made = normalised(x, self.epsilon, arithmetic, centres=self.centres)
        scale, offset = (None if each is None else arithmetic.widened(each) for each in (self.scale, self.offset))
        made = made if scale is None else made * scale
        made = made if offset is None else made + offset
        return arithmetic.cast(made).reshape(inputs[0].shape)


class GroupNorm(NamedTuple):
    """A norm over the channels of each group and all places, then `scale` and `offset` of each channel.

    `axis` is that of the channels of an example, counted from 1.
    """

    scale: Array | None
    offset: Array | None
    groups: int
    epsilon: float
    axis: int

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the normalised numbers."""
        import numpy as np

        x = np.moveaxis(inputs[0], self.axis, 1)
        count = int(np.prod(x.shape[1:])) // self.groups
        made = normalised(x.reshape(len(x), self.groups, count), self.epsilon, arithmetic, centres=True).reshape(x.shape)
        shape = (-1, *[1] * (x.ndim - 2))
        for values, function in ((self.scale, np.multiply), (self.offset, np.add)):
            made = made if values is None else function(made, arithmetic.widened(values).reshape(shape))
        return np.moveaxis(arithmetic.cast(made), 1, self.axis)


class Softmax(NamedTuple):
    """`exp(x - max)` divided by its sum along an axis of an example, counted from 1; `word` "log_softmax" gives its logarithm."""

    word: str
    axis: int

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return shares that add up to one, or their logarithms."""
        import numpy as np

        x = arithmetic.cast(inputs[0])
        shifted = x - x.max(axis=self.axis, keepdims=True)
        powers = arithmetic.functions.exp(shifted)
        total = np.expand_dims(arithmetic.cast(arithmetic.sum_along(powers, self.axis)), self.axis)
        made: Array = shifted - arithmetic.functions.log(total) if self.word == "log_softmax" else powers / total
        return made


def normalised(x: Array, epsilon: float, arithmetic: Arithmetic, *, centres: bool) -> Array:
    """Return numbers with variance 1 along the last axis, in the type of the sums."""
    import numpy as np

    x = arithmetic.widened(x)
    count = np.asarray(x.shape[-1], x.dtype)
    if centres:
        x = x - (arithmetic.sum_along(x, -1) / count)[..., None]
    variance = arithmetic.sum_along(x * x, -1) / count
    made: Array = x / np.sqrt(variance + np.asarray(epsilon, x.dtype))[..., None]
    return made


def _rows(array: Array, count: int) -> tuple[int, ...]:
    """Return the shape before the last `count` numbers."""
    axes = array.ndim
    while count > 1:
        axes -= 1
        count //= array.shape[axes]
    return tuple(array.shape[:axes])
