"""Arithmetic on weights as a whole: the operators of `Weights`, `map` and `combine`.

`a + b`, `a - b`, `2 * a`, `a / 3`, `-a` and `sum([a, b])` are weights again. Nothing is read until their numbers are, and they
are computed block by block. The value of each result is rounded to its type, the smallest that holds the types of both operands;
a difference of 16-bit weights is float32, since 16 bits often cannot hold it. Integers, such as counters, are those of the first
operand. Both must have the same names and shapes; `combine` with `align` pairs others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weights import Weights


def add(one: Weights, other: object) -> Weights:
    """Return the sum of two weights; 0, with which `sum` begins, changes nothing."""
    from steelyard.core import arithmetic

    return arithmetic.added(one, other)


def subtract(one: Weights, other: object) -> Weights:
    """Return the difference of two weights; that of 16-bit ones is float32."""
    from steelyard.core import arithmetic

    return arithmetic.subtracted(one, other)


def multiply(one: Weights, factor: object) -> Weights:
    """Return weights times a number."""
    from steelyard.core import arithmetic

    return arithmetic.multiplied(one, factor)


def divide(one: Weights, divisor: object) -> Weights:
    """Return weights divided by a number."""
    from steelyard.core import arithmetic

    return arithmetic.divided(one, divisor)


def refuse_divisor(one: Weights, dividend: object) -> Weights:
    """Refuse to divide by weights."""
    from steelyard.core import arithmetic

    raise arithmetic.refusal(dividend, "/", one)


def negate(one: Weights) -> Weights:
    """Return weights with the opposite signs."""
    from steelyard.core import arithmetic

    return arithmetic.negated(one)


def map(one: Weights, function: Callable[[Any], Any], *, elementwise: bool | None = None) -> Weights:  # noqa: A001
    """Return weights with the numbers that `function` makes of each floating-point weight; integers stay as they are.

    `function` is called, when numbers are read, with a weight as an array in its shape, in float32 (or float64), and returns an
    array of that shape, which is rounded once to the weight's type. With `elementwise`, as for functions of NumPy such as
    `numpy.tanh`, it is called with blocks of one axis, so that a weight need not fit into memory. Raises `ShapeError` when a
    result of another shape is read.

    Examples:
        >>> import steelyard, numpy as np
        >>> w = steelyard.weights({"w": np.array([1.0, -4.0])})
        >>> w.map(np.abs)["w"].numpy().tolist(), w.map(lambda x: x / x.max())["w"].numpy().tolist()
        ([1.0, 4.0], [1.0, -4.0])
    """
    from steelyard.core import arithmetic

    return arithmetic.combined(function, (one,), elementwise=elementwise)


def combine(
    one: Weights,
    function: Callable[..., Any],
    *others: Weights,
    align: bool = False,
    exact: bool = False,
    elementwise: bool | None = None,
) -> Weights:
    """Return weights with the numbers that `function` makes of those of the same name in several weights.

    `function` is called as by `map`, with one array of each, in float32, or in float64 with `exact` or for float64 weights; its
    result is rounded once. Integers are those of the first. With `align`, weights of other names are paired as by
    `steelyard.diff`, across formats and frameworks, and turned into the layout of the first. Raises `ShapeError` for names or
    shapes that differ, naming both sides, and for packed weights, whose codes are not numbers of the net.

    Examples:
        >>> import steelyard, numpy as np
        >>> a, b = (steelyard.weights({"w": np.array(numbers)}) for numbers in ([1.0, 2.0], [3.0, 1.0]))
        >>> a.combine(np.maximum, b)["w"].numpy().tolist(), a.combine(lambda x, y: x * y, b)["w"].numpy().tolist()
        ([3.0, 2.0], [3.0, 2.0])
    """
    from steelyard.core import arithmetic

    return arithmetic.combined(function, (one, *others), align=align, exact=exact, elementwise=elementwise)
