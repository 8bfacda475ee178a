"""The weights of `CuDNNLSTM` and `CuDNNGRU`, which Keras 1 and 2 stored in the layout of cuDNN, as those of `LSTM` and `GRU`.

With u units, g gates (4 of an LSTM, 3 of a GRU) and n inputs:

    kernel             (n, g*u)   for each gate u*n numbers, row by row of its (u, n) matrix, written as (n, u)
    recurrent_kernel   (u, g*u)   for each gate its (u, u) matrix of outputs by inputs
    bias               (2*g*u,)   the biases of the input for all gates, then those of the state

Only the bias distinguishes them from the other layout, as Keras itself decides when it loads such a file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from steelyard.layers.keras.roles import ROLES

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight

    Layer = dict[str, Weight]
    """The weights of a layer by their leaf names."""

CUDNN = "cuDNN"
"""The encoding of weights in this layout."""
_KINDS = {4: ("CuDNNLSTM", "ifgo"), 3: ("CuDNNGRU", "zrn")}


def with_cudnn_facts(weights: Iterable[Weight]) -> list[Weight]:
    """Return weights with the encoding and the axes of those in the layout of cuDNN, whatever their layer is called."""
    listed = list(weights)
    facts = {
        weight.name: (CUDNN, role.role, role.axes)
        for layer in _layers(listed)
        for role in ROLES[_KINDS[_gates(layer)][0]]
        for weight in [layer[role.leaf]]
    }
    return [_explained(weight, *facts[weight.name]) if weight.name in facts else weight for weight in listed]


def plain_gates(weights: Iterable[Weight]) -> list[Weight]:
    """Return weights with the numbers and the axes of `LSTM` and `GRU` in place of those in the layout of cuDNN."""
    listed = list(weights)
    made = {weight.name: weight for layer in _layers(listed) for weight in _converted(layer)}
    return [made.get(weight.name, weight) for weight in listed]


def _explained(weight: Weight, encoding: str, role: object, axes: str) -> Weight:
    return weight.replace(encoding=encoding, role=role, axes=axes)


def _layers(weights: Iterable[Weight]) -> list[Layer]:
    """Return the layers in the layout of cuDNN."""
    leaves_of: dict[str, Layer] = {}
    for weight in weights:
        layer, _, leaf = weight.name.rpartition("/")
        if leaf in ("kernel", "recurrent_kernel", "bias"):
            leaves_of.setdefault(layer, {})[leaf] = weight
    return [layer for layer in leaves_of.values() if len(layer) == 3 and _gates(layer)]


def _gates(layer: Layer) -> int:
    """Return the number of gates of a layer in the layout of cuDNN; 0 for any other layer."""
    kernel, state, bias = (layer[leaf].shape for leaf in ("kernel", "recurrent_kernel", "bias"))
    if len(kernel) != 2 or len(state) != 2 or not state[0] or state[1] != kernel[1]:
        return 0
    gates = state[1] // state[0]
    return gates if gates in _KINDS and state[1] == gates * state[0] and bias == (2 * gates * state[0],) else 0


def _converted(layer: Layer) -> list[Weight]:
    gates = _gates(layer)
    kernel, state, bias = (layer[leaf] for leaf in ("kernel", "recurrent_kernel", "bias"))
    axes = f"[{_KINDS[gates][1]}]*out"

    def read_kernel(start: int, stop: int) -> Array:
        whole = kernel.numpy().reshape(kernel.shape[0], gates, -1).transpose(1, 0, 2)
        made = whole.reshape(gates, -1, kernel.shape[0]).transpose(2, 0, 1)
        flat: Array = made.reshape(-1)[start:stop]
        return flat

    def read_state(start: int, stop: int) -> Array:
        made = state.numpy().reshape(state.shape[0], gates, -1).transpose(2, 1, 0)
        flat: Array = made.reshape(-1)[start:stop]
        return flat

    return [
        kernel.replace(read=read_kernel, axes=f"in {axes}", encoding=CUDNN),
        state.replace(read=read_state, axes=f"in {axes}", encoding=CUDNN),
        bias.replace(shape=(2, bias.size // 2), axes=f"[ih] {axes}", encoding=CUDNN),
    ]
