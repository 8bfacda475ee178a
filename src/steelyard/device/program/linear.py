"""Operations with kernels: dense layers, convolutions, transposed convolutions, and tables.

Each sum begins with the bias, and its terms follow in the order of the kernel's axes after the first.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from steelyard.core.weight import Array
    from steelyard.device.program.arithmetic import Arithmetic


class Dense(NamedTuple):
    """A dense layer on the last axis: `kernel` (out, in), `bias` (out) or None."""

    kernel: Array
    bias: Array | None

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the sums for each place before the last axis."""
        (x,) = map(arithmetic.widened, inputs)
        kernel = arithmetic.widened(self.kernel)
        sums = arithmetic.started((*x.shape[:-1], len(kernel)), self.bias)
        for place in range(kernel.shape[1]):
            sums += x[..., place, None] * kernel[:, place]
        return arithmetic.cast(sums)


class Conv(NamedTuple):
    """A convolution over all spatial axes: `kernel` (out, in / groups, *space), `bias` (out) or None.

    `padding` has the zeros (before, after) of each spatial axis. `channels` is "first" or "last".
    """

    kernel: Array
    bias: Array | None
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    channels: str

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the sums for each position of the kernel."""
        import numpy as np

        x = arithmetic.widened(channels_first(inputs[0], self.channels))
        x = np.pad(x, ((0, 0), (0, 0), *self.padding))
        x = x.reshape(len(x), self.groups, x.shape[1] // self.groups, *x.shape[2:])
        size = self.kernel.shape[2:]
        kernel = arithmetic.widened(self.kernel)
        kernel = kernel.reshape(self.groups, len(kernel) // self.groups, *kernel.shape[1:])
        axes = zip(x.shape[3:], size, self.strides, self.dilation, strict=True)
        lengths = tuple((length - gap * (window - 1) - 1) // step + 1 for length, window, step, gap in axes)
        sums = arithmetic.started((len(x), *kernel.shape[:2], *lengths), _grouped(self.bias, self.groups, len(size)))
        for channel, place in product(range(kernel.shape[2]), places(size)):
            taken: tuple[Any, ...] = tuple(
                window(*each) for each in zip(place, self.dilation, self.strides, lengths, strict=True)
            )
            term = kernel[:, :, channel][(..., *place)].reshape(*kernel.shape[:2], *[1] * len(size))
            sums += x[:, :, channel][(..., *taken)][:, :, None] * term
        return channels_back(arithmetic.cast(sums.reshape(len(x), len(self.kernel), *lengths)), self.channels)


class ConvTranspose(NamedTuple):
    """A transposed convolution: `kernel` (in, out / groups, *space), `bias` (out) or None.

    `cropped` is the number of places left out before the first of each spatial axis, `lengths` are those of the output;
    places that no position of the kernel reaches have the bias only.
    """

    kernel: Array
    bias: Array | None
    strides: tuple[int, ...]
    cropped: tuple[int, ...]
    lengths: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    channels: str

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return, for each place of the output, the sum over the channels and positions that reach it."""
        x = arithmetic.widened(channels_first(inputs[0], self.channels))
        size, count = self.kernel.shape[2:], len(self.kernel) // self.groups
        x = x.reshape(len(x), self.groups, count, *x.shape[2:])
        kernel = arithmetic.widened(self.kernel).reshape(self.groups, count, *self.kernel.shape[1:])
        reach = zip(x.shape[3:], size, self.strides, self.dilation, self.cropped, self.lengths, strict=True)
        whole = tuple(
            max((length - 1) * step + gap * (window - 1) + 1, crop + out) for length, window, step, gap, crop, out in reach
        )
        sums = arithmetic.started((len(x), self.groups, kernel.shape[2], *whole), _grouped(self.bias, self.groups, len(size)))
        for channel, place in product(range(count), places(size)):
            given = zip(place, self.dilation, self.strides, x.shape[3:], strict=True)
            reached: tuple[Any, ...] = tuple(window(*each) for each in given)
            term = kernel[:, channel][(..., *place)].reshape(self.groups, kernel.shape[2], *[1] * len(size))
            sums[(..., *reached)] += x[:, :, channel][:, :, None] * term
        kept: tuple[Any, ...] = tuple(slice(crop, crop + out) for crop, out in zip(self.cropped, self.lengths, strict=True))
        made = sums[(..., *kept)].reshape(len(x), self.groups * kernel.shape[2], *self.lengths)
        return channels_back(arithmetic.cast(made), self.channels)


class Embedding(NamedTuple):
    """The rows of a `table` (vocab, out) by number."""

    table: Array

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return a row for each number."""
        import numpy as np

        return arithmetic.cast(self.table)[inputs[0].astype(np.int64)]


class Affine(NamedTuple):
    """A factor and an offset for each place along an axis of an example, counted from 1: `x * scale + offset`."""

    scale: Array
    offset: Array
    axis: int

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the scaled numbers."""
        shape = [-1 if axis == self.axis else 1 for axis in range(inputs[0].ndim)]
        scale, offset = (arithmetic.widened(each).reshape(shape) for each in (self.scale, self.offset))
        return arithmetic.cast(arithmetic.widened(inputs[0]) * scale + offset)


class Prelu(NamedTuple):
    """Numbers below zero times the `slope` of their place along an axis of an example, counted from 1."""

    slope: Array
    axis: int

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the numbers with their slopes."""
        import numpy as np

        x = arithmetic.cast(inputs[0])
        shape = [-1 if axis == self.axis else 1 for axis in range(x.ndim)]
        return np.where(x > 0, x, x * arithmetic.cast(self.slope).reshape(shape))


def places(size: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Yield the positions inside a window in row-major order."""
    return product(*map(range, size))


def channels_first(array: Array, channels: str) -> Array:
    """Return an image with its channels after the batch."""
    import numpy as np

    return np.moveaxis(array, -1, 1) if channels == "last" else array


def channels_back(array: Array, channels: str) -> Array:
    """Return an image whose channels are first with them where the net has them."""
    import numpy as np

    return np.moveaxis(array, 1, -1) if channels == "last" else array


def window(place: int, gap: int, step: int, count: int) -> slice:
    """Return what one position of a window passes along an axis, in so many steps, with gaps between the positions."""
    return slice(place * gap, place * gap + (count - 1) * step + 1, step) if count > 0 else slice(0, 0)


def _grouped(bias: Array | None, groups: int, rank: int) -> Array | None:
    return None if bias is None else bias.reshape(groups, -1, *[1] * rank)
