"""The bound of a recurrent layer, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.device.forward.bound.bounded import Bounded, Roundings, product, total
from steelyard.device.forward.bound.curves import curved

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.program.recurrent import Recurrent


def recurrent(operation: Recurrent, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of one level in one direction."""
    import numpy as np

    (x,) = inputs
    count, steps = x.value.shape[:2]
    zero: Array = np.zeros((count, operation.kernel.shape[1]))
    state = cell = Bounded(zero, zero)
    made = []
    for step in reversed(range(steps)) if operation.backward else range(steps):
        given = Bounded(x.value[:, step], x.error[:, step])
        state, cell = _STEPS[operation.kind](operation, given, state, cell, roundings)
        made.append(state)
    if operation.returns == "last":
        return state
    made = made[::-1] if operation.backward and operation.returns == "all" else made
    return Bounded(*(np.stack(each, axis=1) for each in zip(*made, strict=True)))


def _rnn(operation: Recurrent, x: Bounded, state: Bounded, cell: Bounded, roundings: Roundings) -> tuple[Bounded, Bounded]:
    return _act(operation, _sums(operation, 0, x, state, roundings), roundings), cell


def _lstm(operation: Recurrent, x: Bounded, state: Bounded, cell: Bounded, roundings: Roundings) -> tuple[Bounded, Bounded]:
    i, f, g, o = (_sums(operation, gate, x, state, roundings) for gate in range(4))
    i, f, o = (_gate(operation, each, roundings) for each in (i, f, o))
    kept = product(f, cell, roundings.numbers)
    cell = total(kept, product(i, _act(operation, g, roundings), roundings.numbers), roundings.numbers)
    return product(o, _act(operation, cell, roundings), roundings.numbers), cell


def _gru(operation: Recurrent, x: Bounded, state: Bounded, cell: Bounded, roundings: Roundings) -> tuple[Bounded, Bounded]:
    unit = roundings.numbers
    r, z = (_gate(operation, _sums(operation, gate, x, state, roundings), roundings) for gate in (0, 1))
    if operation.state_bias is None:
        n = _sums(operation, 2, x, product(r, state, unit), roundings)
    else:
        bias, kernel = operation.state_bias, operation.recurrent_kernel[2]
        inner = _plus(_products(kernel, state, roundings), bias, len(kernel) + 1, roundings)
        outer = _plus(_products(operation.kernel[2], x, roundings), operation.bias[2], x.value.shape[-1] + 1, roundings)
        n = total(outer, product(r, inner, unit), unit)
    n = _act(operation, n, roundings)
    rest = Bounded(1 - z.value, z.error + unit * (1 + z.reach))
    return total(product(rest, n, unit), product(z, state, unit), unit), cell


def _sums(operation: Recurrent, gate: int, x: Bounded, state: Bounded, roundings: Roundings) -> Bounded:
    """Return the sum of both products and the bias of a gate, which are added one by one, in any order."""
    first = _products(operation.kernel[gate], x, roundings)
    second = _products(operation.recurrent_kernel[gate], state, roundings)
    both = tuple(a + b for a, b in zip(first, second, strict=True))
    return _plus(both, operation.bias[gate], x.value.shape[-1] + state.value.shape[-1] + 1, roundings)


def _products(kernel: Array, x: Bounded, roundings: Roundings) -> tuple[Array, Array, Array]:
    """Return the sums of products with a kernel (out, in), how far they spread errors, and the sums of absolute values."""
    import numpy as np

    wide = kernel.astype(np.float64).T
    reach = x.reach @ np.abs(wide)
    return x.value @ wide, x.error @ np.abs(wide) + roundings.cast(kernel) * reach, reach


def _plus(sums: tuple[Array, ...], bias: Array, count: int, roundings: Roundings) -> Bounded:
    import numpy as np

    value, spread, reach = sums
    shift = np.abs(bias.astype(np.float64))
    error = spread + roundings.summed(count) * (reach + shift) + roundings.cast(bias) * shift + count * roundings.tiny
    return Bounded(value + bias, error)


def _act(operation: Recurrent, x: Bounded, roundings: Roundings) -> Bounded:
    return curved(operation.activation, {}, x, roundings)


def _gate(operation: Recurrent, x: Bounded, roundings: Roundings) -> Bounded:
    settings = {"alpha": 1 / 6, "beta": 0.5} if operation.recurrent_activation == "hard_sigmoid" else {}
    return curved(operation.recurrent_activation, settings, x, roundings)


_STEPS = {"rnn": _rnn, "lstm": _lstm, "gru": _gru}
