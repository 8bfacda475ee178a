"""Count, range and moments, summed in float64 block by block; the sums of the blocks are added without rounding."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import frexp, fsum, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard.numerics import fast
from steelyard.numerics.exact_sums import fixed_point, product, root, root_of_ratio, rounded, square

if TYPE_CHECKING:
    from steelyard.core.weight import Array

CANCELLING = 0.9  # squared mean over mean square; above it, E[x^2] - E[x]^2 would cancel, so a second pass sums deviations
_LARGE = 300  # beyond this exponent, squares might overflow or underflow float64
_LOCAL = threading.local()


class Block(NamedTuple):
    """The sums of a block: of its numbers, their magnitudes and squares, and of squared deviations if these are needed.

    Its figures are those of `Moments`, to the last bit.
    """

    length: int
    plain: float
    magnitudes: float
    squares: float
    deviation: float | None

    @property
    def rms(self) -> float:
        """The root of the mean square."""
        top, below = self.squares.as_integer_ratio()
        return root_of_ratio(top, below * self.length)

    @property
    def std(self) -> float:
        """The root of the mean squared deviation from the mean."""
        if self.deviation is not None:
            top, below = self.deviation.as_integer_ratio()
            return root_of_ratio(top, below * self.length)
        square, one = self.squares.as_integer_ratio()
        plain, two = self.plain.as_integer_ratio()
        spread = square * self.length * two * two - plain * plain * one
        return root_of_ratio(max(spread, 0), one * two * two * self.length * self.length)


def is_moderate(squares: float) -> bool:
    """Whether the figures of a block follow from its sums without long integers."""
    return squares == 0 or 1e-100 < squares < 1e100


class Moments:
    """The count, range and moments of finite numbers; those of parts merge exactly, whatever the partition.

    `near_zeros` counts magnitudes up to `near`, including zeros. Without numbers, all but the counts are None.

    >>> one, two = Moments(), Moments()
    >>> one.add(np.array([1.0, 2.0])), two.add(np.array([6.0]))
    (None, None)
    >>> one.merge(two)
    >>> one.mean, one.l1, one.minimum
    (3.0, 9.0, 1.0)
    """

    __slots__ = (
        "_block",
        "_magnitudes",
        "_plain",
        "_spread",
        "_squares",
        "count",
        "maximum",
        "minimum",
        "near",
        "near_zeros",
        "zeros",
    )

    def __init__(self, near: float = 0.0) -> None:
        self.near = near
        self.count = self.zeros = self.near_zeros = 0
        self.minimum: float | None = None
        self.maximum: float | None = None
        self._plain = self._magnitudes = self._squares = 0
        self._spread = 0  # like the squares, but of a block with deviations these, and for each number the square of its mean
        self._block: Block | None = None  # the first block, until another is added: its own figures need no long integers

    @property
    def mean(self) -> float | None:
        """The mean, rounded once."""
        if self._block:
            return self._block.plain / self._block.length + 0.0
        return rounded(self._plain, self.count) if self.count else None

    @property
    def std(self) -> float | None:
        """The root of the mean squared deviation from the mean."""
        if not self.count:
            return None
        if self._block:
            return self._block.std
        return root(max(self._spread - product(self._plain, self._plain) // self.count, 0), self.count)

    @property
    def l1(self) -> float | None:
        """The sum of magnitudes."""
        if self._block:
            return self._block.magnitudes
        return rounded(self._magnitudes) if self.count else None

    @property
    def l2(self) -> float | None:
        """The root of the sum of squares."""
        if self._block:
            return sqrt(self._block.squares)
        return root(self._squares) if self.count else None

    @property
    def rms(self) -> float | None:
        """The root of the mean square."""
        if self._block:
            return self._block.rms
        return root(self._squares, self.count) if self.count else None

    def merge(self, other: Moments) -> None:
        """Add the numbers of other moments."""
        self._settle()
        if other._block:
            self._add_exactly(other._block)  # which is all that the other has
        else:
            self._plain += other._plain
            self._magnitudes += other._magnitudes
            self._squares += other._squares
            self._spread += other._spread
        self.count += other.count
        self.zeros += other.zeros
        self.near_zeros += other.near_zeros
        if other.minimum is not None and other.maximum is not None:
            self._widen(other.minimum, other.maximum)

    def add(self, values: Array, sums: fast.Sums | None = None) -> None:
        """Add finite numbers with one axis; `sums` are theirs, if known."""
        sums = sums or sums_of(values, values.min().item(), values.max().item())
        self._widen(sums.low, sums.high)
        self._take(values.size, sums[2:5], sums.power, CANCELLING, lambda mean: _deviation(values, sums, mean))
        if sums.least <= self.near:
            self.zeros += int(np.count_nonzero(values == 0))
            self.near_zeros += int(np.count_nonzero((values <= self.near) & (values >= -self.near)))

    def add_counted(self, values: Array, counts: Array) -> None:
        """Add numbers that occur `counts` times each; they have one or two bytes, so that the products are exact."""
        sizes = np.abs(values)
        self._widen(values.min().item(), values.max().item())
        self.zeros += int(counts[sizes == 0].sum())
        self.near_zeros += int(counts[sizes <= self.near].sum())
        sums = (fsum(values * counts), fsum(sizes * counts), fsum(values * values * counts))
        self._take(int(counts.sum()), sums, 0, 0.0, lambda mean: fsum((values - mean) * (values - mean) * counts))

    def _take(
        self, count: int, sums: tuple[float, float, float], power: int, least: float, deviation: Callable[[float], float]
    ) -> None:
        """Add the sums of one block, whose numbers were divided by two to this power.

        `deviation` returns the sum of squared deviations from a mean; it is called if the squared mean is more than `least`
        of the mean square, since their difference would lose its digits.
        """
        plain, magnitudes, squares = sums
        cancelling = plain * plain >= least * count * squares
        block = Block(count, plain, magnitudes, squares, deviation(plain / count) if cancelling else None)
        if self.count or power or not is_moderate(squares):
            self._settle()
            self._add_exactly(block, power)
        else:
            self._block = block
        self.count += count

    def begin(self, block: Block, low: float, high: float, zeros: int, near_zeros: int) -> None:
        """Take the first block, whose sums are known; its squares are moderate."""
        self._block, self.count, self.minimum, self.maximum = block, block.length, low, high
        self.zeros, self.near_zeros = zeros, near_zeros

    def _settle(self) -> None:
        block, self._block = self._block, None
        if block:
            self._add_exactly(block)

    def _add_exactly(self, block: Block, power: int = 0) -> None:
        """Add the sums of a block without rounding."""
        squares = fixed_point(block.squares, 2 * power)
        self._plain += fixed_point(block.plain, power)
        self._magnitudes += fixed_point(block.magnitudes, power)
        self._squares += squares
        if block.deviation is None:
            self._spread += squares
        else:
            self._spread += fixed_point(block.deviation, 2 * power) + square(block.plain, power, block.length)

    def _widen(self, low: float, high: float) -> None:
        self.minimum = low if self.minimum is None else min(low, self.minimum)
        self.maximum = high if self.maximum is None else max(high, self.maximum)


def _power(low: float, high: float) -> int:
    """Return the exponent by which to scale so that squares neither overflow nor underflow; zero for most numbers."""
    power = frexp(float(max(abs(low), abs(high))))[1]
    return power if abs(power) > _LARGE else 0


def sums_of(values: Array, low: float, high: float) -> fast.Sums:
    """Return the sums of finite numbers, by NumPy; `low` and `high` are their minimum and maximum."""
    power = _power(low, high)
    numbers = _scaled(values, power)
    plain = float(np.einsum("i->", numbers))
    magnitudes, least = abs(plain), min(abs(low), abs(high))
    if low < 0 < high:
        np.absolute(numbers, out=numbers)
        magnitudes = float(np.einsum("i->", numbers))
        least = float(np.ldexp(np.minimum.reduce(numbers), power))
    np.multiply(numbers, numbers, out=numbers)
    return fast.Sums(low, high, plain, magnitudes, float(np.einsum("i->", numbers)), least, power)


def _scaled(values: Array, power: int) -> Array:
    """Return numbers, divided by two to this power, as float64, in a buffer of this thread that the next call overwrites.

    Allocating one for each block would take longer than the sums.
    """
    if getattr(_LOCAL, "size", 0) < values.size:
        _LOCAL.size = values.size
        _LOCAL.numbers = np.empty(values.size)
    numbers: Array = _LOCAL.numbers[: values.size]
    np.copyto(numbers, values)
    if power:
        np.ldexp(numbers, -power, out=numbers)
    return numbers


def _deviation(values: Array, sums: fast.Sums, mean: float) -> float:
    """Return the sum of squared deviations of one block from its mean."""
    if sums.low == sums.high:
        return 0.0
    numbers = _scaled(values, sums.power)
    np.subtract(numbers, mean, out=numbers)
    np.multiply(numbers, numbers, out=numbers)
    return float(np.einsum("i->", numbers))
