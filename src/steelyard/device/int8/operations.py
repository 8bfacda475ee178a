"""Operations on codes, which are exact: sums of 32 bits, and what becomes of them by `requantizing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.int8.requantizing import HIGHEST, LOWEST, Multipliers, clipped, nearest, scaled
from steelyard.device.program.arithmetic import Arithmetic
from steelyard.device.program.linear import Affine, Conv, ConvTranspose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Array
    from steelyard.device.program.linear import Dense
    from steelyard.device.program.shaping import Permute, Reshape, Select
    from steelyard.device.program.windows import GlobalPool, Pad, Pool, Upsample

    Summing = Dense | Conv | ConvTranspose | Affine
    Moving = Reshape | Permute | Select | Upsample | Pad

EXACT = Arithmetic("float64", "float64")
"""float64, whose sums of integers are exact below 2^53; those of a quantised program are below 2^31."""
SUM_SHIFT = 20
"""bits by which codes are shifted to the left before they are added, as in TFLite"""


class Requantization(NamedTuple):
    """From sums to codes: the factors of the channels, or one, the zero point of the output, and the range of its codes."""

    by: Multipliers
    zero_point: int
    lowest: int = LOWEST
    highest: int = HIGHEST

    def codes(self, sums: Array, rounding: str, axis: int = -1) -> Array:
        """Return the codes of sums whose channels are along an axis."""
        shape = [1] * sums.ndim
        shape[axis] = -1
        by = Multipliers(*(each.reshape(shape) for each in self.by))
        return clipped(scaled(sums, by, rounding) + self.zero_point, self.lowest, self.highest)


class Sums(NamedTuple):
    """A layer whose kernel has codes without a zero point, of `bits` bits, and whose bias has sums of 32 bits.

    `operation` is that of the float program with integers for its arrays. `input_zero` is subtracted from the codes of the
    input, so padding with zeros is padding with it.
    """

    operation: Summing
    input_zero: int
    requantization: Requantization
    bits: int = 8

    def run(self, inputs: Sequence[Array], rounding: str) -> Array:
        """Return the codes of the sums."""
        import numpy as np

        sums = self.operation.run([inputs[0].astype(np.float64) - self.input_zero], EXACT)
        return self.requantization.codes(sums.astype(np.int64), rounding, self.axis)

    @property
    def axis(self) -> int:
        """The axis of the output that has the channels."""
        if isinstance(self.operation, (Conv, ConvTranspose)):
            return 1 if self.operation.channels == "first" else -1
        return self.operation.axis if isinstance(self.operation, Affine) else -1


class Rows(NamedTuple):
    """The rows of a table of codes by number."""

    table: Array

    def run(self, inputs: Sequence[Array], _: str) -> Array:
        """Return a row for each number."""
        return self.table[inputs[0]]


class Pooling(NamedTuple):
    """The maximum of codes, or their average rounded half away from zero.

    `zero` is that of padding which counts: averages are of codes after its subtraction, as it is 0 otherwise of codes themselves.
    """

    operation: Pool | GlobalPool
    zero: int = 0

    def run(self, inputs: Sequence[Array], _: str) -> Array:
        """Return a code for each position of the window."""
        import numpy as np

        # no quotient of integers this small is nearer to a half than float64 distinguishes
        made = self.operation.run([inputs[0].astype(np.float64) - self.zero], EXACT)
        return clipped(nearest(made) + self.zero)


class Means(NamedTuple):
    """The mean of each channel over all places, as TFLite's MEAN: the sum times a factor that holds its count."""

    operation: GlobalPool
    input_zero: int
    requantization: Requantization

    def run(self, inputs: Sequence[Array], rounding: str) -> Array:
        """Return a code for each channel."""
        import numpy as np

        x = inputs[0].astype(np.float64) - self.input_zero
        count = x.size // max(len(x), 1) // x.shape[1 if self.operation.channels == "first" else -1]
        sums = nearest(self.operation.run([x], EXACT) * count)
        return self.requantization.codes(sums, rounding)


class Moves(NamedTuple):
    """Codes that another shape, order or selection has; places that are added have the code of their number."""

    operation: Moving

    def run(self, inputs: Sequence[Array], _: str) -> Array:
        """Return the codes moved."""
        return self.operation.run([inputs[0].astype("float64")], EXACT).astype("int8")


class Fixed(NamedTuple):
    """Codes that do not depend on the inputs, the same for each example."""

    values: Array

    def run(self, _: Sequence[Array], __: str) -> Array:
        """Return the codes of one example, which serve all."""
        return self.values[None]


class Added(NamedTuple):
    """The sum of inputs that have scales of their own, each shifted to the left by `SUM_SHIFT` and scaled before.

    `by` has a factor for each input, at most 1/2; where `negative` is true it is subtracted.
    """

    zeros: tuple[int, ...]
    by: Multipliers
    negative: tuple[bool, ...]
    requantization: Requantization

    def run(self, inputs: Sequence[Array], rounding: str) -> Array:
        """Return the codes of the sums."""
        import numpy as np

        total: Array = np.zeros((), np.int64)
        for place, codes in enumerate(inputs):
            by = Multipliers(*(each[place] for each in self.by))
            term = scaled((codes.astype(np.int64) - self.zeros[place]) << SUM_SHIFT, by, rounding)
            total = total - term if self.negative[place] else total + term
        return self.requantization.codes(total, rounding)


class Multiplied(NamedTuple):
    """The product of two inputs."""

    zeros: tuple[int, int]
    requantization: Requantization

    def run(self, inputs: Sequence[Array], rounding: str) -> Array:
        """Return the codes of the products."""
        import numpy as np

        first, second = (codes.astype(np.int64) - zero for codes, zero in zip(inputs, self.zeros, strict=True))
        return self.requantization.codes(first * second, rounding)


class Joined(NamedTuple):
    """Inputs brought to one scale, then joined along an axis counted from 1, or with `word` "maximum" or "minimum" compared.

    `rescaled` has None for an input that has the scale already, else its zero point and its requantisation.
    """

    word: str
    axis: int
    rescaled: tuple[tuple[int, Requantization] | None, ...]

    def run(self, inputs: Sequence[Array], rounding: str) -> Array:
        """Return the codes of all inputs."""
        import numpy as np

        made = [
            codes if each is None else each[1].codes(codes.astype(np.int64) - each[0], rounding)
            for codes, each in zip(inputs, self.rescaled, strict=True)
        ]
        if self.word == "concatenate":
            return np.concatenate(made, self.axis)
        found, *others = made
        for other in others:
            found = getattr(np, self.word)(found, other)
        return found


class Lookup(NamedTuple):
    """A function of each code by itself, from `table`: 256 codes from that of -128 on, or a row of them for each channel."""

    table: Array
    axis: int = 0

    def run(self, inputs: Sequence[Array], _: str) -> Array:
        """Return the codes from the table."""
        import numpy as np

        places = inputs[0].astype(np.int64) + 128
        if self.table.ndim == 1:
            return self.table[places]
        shape = [-1 if axis == self.axis else 1 for axis in range(places.ndim)]
        return self.table[np.arange(len(self.table)).reshape(shape), places]


class Shares(NamedTuple):
    """A softmax along an axis, counted from 1, with the scale 1/256 and the zero point -128.

    `powers` has `exp(-d * scale)` in units of 2^-20 for a code that is d below the greatest.
    """

    powers: Array
    axis: int

    def run(self, inputs: Sequence[Array], _: str) -> Array:
        """Return the codes of shares that add up to one."""
        import numpy as np

        x = inputs[0].astype(np.int64)
        powers = self.powers.astype(np.int64)[x.max(axis=self.axis, keepdims=True) - x]
        total = powers.sum(axis=self.axis, keepdims=True)
        return clipped((powers * 512 + total) // (total * 2) + LOWEST)
