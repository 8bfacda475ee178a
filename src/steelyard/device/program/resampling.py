"""Images in another size: each place along an axis is a sum of places of the image, one axis after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.program.windows import Upsample

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.program.arithmetic import Arithmetic

    Axis = tuple[Array, Array]
    """The places (out, terms) of the image that each place of the output sums, and their shares, of the same shape."""


class Resample(NamedTuple):
    """For each place along an axis, counted from 1, the sum of `places` (out, terms) times their `shares` (out, terms)."""

    places: Array
    shares: Array
    axis: int

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the numbers with the axis in its new length."""
        x = arithmetic.cast(inputs[0])
        sums = arithmetic.started((*x.shape[: self.axis], len(self.places), *x.shape[self.axis + 1 :]))
        shares = arithmetic.widened(self.shares)
        for term in range(self.places.shape[1]):
            share = shares[:, term].reshape(-1, *[1] * (x.ndim - self.axis - 1))
            sums += x.take(self.places[:, term], self.axis) * share
        return arithmetic.cast(sums)


def sampled(axes: Sequence[Axis], space: Sequence[int], channels: str) -> list[Resample | Upsample]:
    """Return the operations for the places and shares of all axes: a repetition of places where that is the same."""
    repeats = [_repeats(places, length) for (places, _), length in zip(axes, space, strict=True)]
    if all(repeats):
        return [Upsample(tuple(repeats), channels)]
    first = 2 if channels == "first" else 1
    whole = [places.shape == (length, 1) and times == 1 for (places, _), length, times in zip(axes, space, repeats, strict=True)]
    return [Resample(*each, first + at) for at, each in enumerate(axes) if not whole[at]]


def _repeats(places: Array, length: int) -> int:
    """Return how often each place of an axis is repeated; 0 where that is not all."""
    import numpy as np

    times = len(places) // length if length else 0
    is_repeat = places.shape[1] == 1 and np.array_equal(places[:, 0], np.arange(length).repeat(times))
    return times if is_repeat else 0


def coordinates(length: int, made: int, scale: float, mode: str) -> Array:
    """Return where the places of an output are on the axis of an image, whose first place is 0.

    `mode` is "half_pixel" (places are squares), "asymmetric" (the first edges meet), or "align_corners" (the first and the
    last places meet). `scale` is the ratio of the lengths, which may have been rounded to `made` places.
    """
    import numpy as np

    places = np.arange(made, dtype=np.float64)
    if mode == "align_corners":
        return places * ((length - 1) / (made - 1)) if made > 1 else places * 0
    return (places + 0.5) / scale - 0.5 if mode == "half_pixel" else places / scale


def nearest(where: Array, length: int, rounding: str) -> Axis:
    """Return the one place that is nearest to each coordinate: "floor", "ceil", "round_prefer_floor" or "round_prefer_ceil"."""
    import numpy as np

    rounded = {"round_prefer_floor": np.ceil(where - 0.5), "round_prefer_ceil": np.floor(where + 0.5)}
    found = rounded.get(rounding, np.ceil(where) if rounding == "ceil" else np.floor(where))
    places = np.clip(found, 0, length - 1).astype(np.int64)[:, None]
    return places, np.ones(places.shape)


def linear(where: Array, length: int) -> Axis:
    """Return the two places around each coordinate; beyond the ends of the axis the last place is repeated."""
    import numpy as np

    inside = np.clip(where, 0, length - 1)
    low = np.floor(inside).astype(np.int64)
    part = inside - low
    return np.stack([low, np.minimum(low + 1, length - 1)], 1), np.stack([1 - part, part], 1)


def cubic(where: Array, length: int, a: float) -> Axis:
    """Return the four places around each coordinate, by the cubic of Keys (1981) with the slope `a`."""
    import numpy as np

    low = np.floor(where)
    part = (where - low)[:, None]
    far = np.abs(part - np.arange(-1, 3))
    near = ((a + 2) * far - (a + 3)) * far * far + 1
    outer = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    places = np.clip(low[:, None] + np.arange(-1, 3), 0, length - 1).astype(np.int64)
    return places, np.where(far <= 1, near, outer)


def means(length: int, made: int) -> Axis:
    """Return windows of nearly equal sizes, as adaptive pools of PyTorch have them: the average over each."""
    import numpy as np

    starts, ends = np.arange(made) * length // made, -(-(np.arange(made) + 1) * length // made)
    widest = int((ends - starts).max(initial=1))
    places = starts[:, None] + np.arange(widest)
    inside = places < ends[:, None]
    return np.where(inside, places, starts[:, None]), inside / (ends - starts)[:, None]
