"""Recurrent operations: one level in one direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.program.activations import activated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Array
    from steelyard.device.program.arithmetic import Arithmetic

GATES = {"rnn": ("",), "lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}
"""The gates of each kind in the order of a program's arrays."""


class Recurrent(NamedTuple):
    """A recurrent layer that begins with zeros, over the first axis of an example.

    `kind` is "rnn", "lstm" or "gru". The arrays have the gates of `GATES` as their first axis: `kernel` (gates, out, in),
    `recurrent_kernel` (gates, out, out), `bias` (gates, out). `state_bias` (out) is the bias of a GRU that is inside the
    product with its reset gate, None if the gate is applied to the state before the kernel:

    rnn     h = act(W x + U h + b)
    lstm    i, f, o = rec(W x + U h + b);  g = act(W x + U h + b);  c = f * c + i * g;  h = o * act(c)
    gru     r, z = rec(W x + U h + b);  n = act(W x + b + r * (U h + state_bias)), or act(W x + b + U (r * h));
            h = (1 - z) * n + z * h

    `backward` runs from the last step to the first. `returns` is "last", "all" (in the order of the input's steps), or
    "all reversed" (in the order in which they were computed).
    """

    kind: str
    kernel: Array
    recurrent_kernel: Array
    bias: Array
    state_bias: Array | None
    activation: str
    recurrent_activation: str
    backward: bool
    returns: str

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the last step, or all of them."""
        import numpy as np

        x = arithmetic.widened(inputs[0])
        count, steps = x.shape[:2]
        state = cell = arithmetic.cast(np.zeros((count, self.kernel.shape[1])))
        sums = arithmetic.started((*x.shape[:2], *self.bias.shape), self.bias)
        add_products(sums, x, arithmetic.widened(self.kernel))
        made = []
        for step in reversed(range(steps)) if self.backward else range(steps):
            state, cell = self._step(sums[:, step], state, cell, arithmetic)
            made.append(state)
        if self.returns == "last":
            return state
        turned = self.backward and self.returns == "all"
        return np.stack(made[::-1] if turned else made, axis=1)

    def _step(self, sums: Array, state: Array, cell: Array, arithmetic: Arithmetic) -> tuple[Array, Array]:
        if self.kind == "gru":
            return self._gru(sums, state, arithmetic), cell
        add_products(sums, arithmetic.widened(state), arithmetic.widened(self.recurrent_kernel))
        if self.kind == "rnn":
            return self._act(sums[:, 0], arithmetic), cell
        i, f, o = (self._gate(sums[:, gate], arithmetic) for gate in (0, 1, 3))
        cell = f * cell + i * self._act(sums[:, 2], arithmetic)
        return o * self._act(cell, arithmetic), cell

    def _gru(self, sums: Array, state: Array, arithmetic: Arithmetic) -> Array:
        kernel = arithmetic.widened(self.recurrent_kernel)
        add_products(sums[:, :2], arithmetic.widened(state), kernel[:2])
        r, z = (self._gate(sums[:, gate], arithmetic) for gate in (0, 1))
        if self.state_bias is None:
            add_products(sums[:, 2:], arithmetic.widened(r * state), kernel[2:])
            n = self._act(sums[:, 2], arithmetic)
        else:
            inner = arithmetic.started((len(state), 1, len(self.state_bias)), self.state_bias)
            add_products(inner, arithmetic.widened(state), kernel[2:])
            n = self._act(arithmetic.cast(sums[:, 2]) + r * arithmetic.cast(inner[:, 0]), arithmetic)
        made: Array = (1 - z) * n + z * state
        return made

    def _act(self, x: Array, arithmetic: Arithmetic) -> Array:
        return activated(self.activation, {}, x, arithmetic)

    def _gate(self, x: Array, arithmetic: Arithmetic) -> Array:
        settings = {"alpha": 1 / 6, "beta": 0.5} if self.recurrent_activation == "hard_sigmoid" else {}
        return activated(self.recurrent_activation, settings, x, arithmetic)


def add_products(sums: Array, x: Array, kernel: Array) -> None:
    """Add the products of x (..., in) and a kernel (gates, out, in) to sums (..., gates, out), one term after another."""
    for place in range(kernel.shape[2]):
        sums += x[..., place, None, None] * kernel[:, :, place]
