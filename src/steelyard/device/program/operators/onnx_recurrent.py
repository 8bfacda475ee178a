"""ONNX's recurrent operators, which run over steps with the examples as the second axis.

X            (steps, examples, in), or with layout 1 (examples, steps, in)
W, R         (directions, gates * out, in or out); the gates of an LSTM are i o f g, those of a GRU z r n
B            (directions, 2 * gates * out): the biases of the input, then those of the state
Y            (steps, directions, examples, out)
Y_h          (directions, examples, out)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.device.program.operators.moving import permuted
from steelyard.device.program.operators.tensors import Call, Data, Unknown
from steelyard.device.program.recurrent import GATES, Recurrent
from steelyard.device.program.shaping import Concatenate, Reshape

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.program.operators.tensors import Tensor

_ORDERS = {"rnn": ("",), "lstm": ("i", "o", "f", "g"), "gru": ("z", "r", "n")}
_ACTIVATIONS = {"tanh": "tanh", "sigmoid": "sigmoid", "relu": "relu"}
_WAYS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def recurrent(call: Call) -> list[Tensor]:
    """Add both directions of a recurrent operator, and return its sequence, its last state, and that of its cell."""
    kind = call.operator.word.lower()
    ways = _WAYS.get(str(call.setting("direction", "forward") or "forward"))
    if ways is None or call.setting("clip") is not None or call.integer("input_forget", 0):
        call.refuse("has a direction, clip or input_forget that is not known")
    _check_states(call)
    data = call.data()
    if call.integer("layout", 0):
        data = permuted(call, data, (1, 0, 2))
    if data.batch != 1 or len(call.shape(data)) != 3:
        call.refuse(f"takes the examples as axis {data.batch}, where they must be the second")
    wanted = [bool(name) and call.uses.get(name, 0) > 0 for name in (*call.operator.outputs, "", "")[:2]]
    weights = [_direction(call, kind, place, len(ways), backward=way) for place, way in enumerate(ways)]
    sequence = _run(call, data, weights, "all") if wanted[0] else None
    state = _run(call, data, weights, "last") if wanted[1] else None
    if call.integer("layout", 0):
        sequence = sequence and permuted(call, sequence, (2, 0, 1, 3))
        state = state and permuted(call, state, (1, 0, 2))
    made: list[Tensor] = [sequence, state, Unknown("takes the state of the cells of an LSTM, which is not known")]
    return made[: len(call.operator.outputs)]


def _check_states(call: Call) -> None:
    """Refuse initial states that are not zeros, lengths of sequences, and peepholes."""
    for place, what in (
        (4, "lengths of sequences"),
        (5, "an initial state"),
        (6, "an initial state of its cells"),
        (7, "peepholes"),
    ):
        if call.has(place) and not (place in (5, 6, 7) and call.is_known(place) and not call.known(place).any()):
            if place != 4:
                call.refuse(f"has {what} other than zeros, which is not known")
            if not call.is_known(4):
                call.refuse(f"has {what}, which is not known")
            if set(call.lengths(4)) != {call.shape(call.data())[0]}:
                call.refuse(f"has {what}, which is not known")


def _run(call: Call, data: Data, weights: list[Recurrent], returns: str) -> Data:
    ends = [call.add(each._replace(returns=returns), data.place) for each in weights]
    shapes = call.building.shapes
    if len(ends) > 1 and returns == "all":
        joined = call.add(Concatenate(2), *ends)
    else:
        ends = [call.add(Reshape((1, *shapes[end])), end) for end in ends] if returns == "last" else ends
        joined = call.add(Concatenate(1), *ends) if len(ends) > 1 else ends[0]
    if returns == "last":
        return Data(joined, 1)
    steps, length = shapes[joined]
    return Data(call.add(Reshape((steps, len(ends), length // len(ends))), joined), 2)


def _direction(call: Call, kind: str, place: int, count: int, *, backward: bool) -> Recurrent:
    """Return one direction, with the gates in the order of programs."""
    import numpy as np

    order, gates = _ORDERS[kind], GATES[kind]
    size = call.integer("hidden_size", 0) or call.known(2).shape[-1]
    kernel, state = (_gates(call, at, place, count, (len(order), size)) for at in (1, 2))
    bias = call.weight(3) if call.has(3) else np.zeros((count, 2 * len(order) * size), "float32")
    if bias.shape != (count, 2 * len(order) * size):
        call.refuse(f"has a bias of shape {bias.shape}")
    own, of_state = bias[place].reshape(2, len(order), size)
    inner = kind == "gru" and bool(call.integer("linear_before_reset", 0))
    summed = own.astype(np.float64) + of_state
    if inner:
        summed[order.index("n")] = own[order.index("n")]
    places = [order.index(gate) for gate in gates]
    words = _words(call, kind, place, count)
    state_bias = of_state[order.index("n")] if inner else None
    return Recurrent(kind, kernel[places], state[places], summed[places], state_bias, *words, backward, "all")


def _gates(call: Call, at: int, place: int, count: int, gates: tuple[int, int]) -> Array:
    weight = call.weight(at)
    if weight.ndim != 3 or weight.shape[:2] != (count, gates[0] * gates[1]):
        call.refuse(f"has weights of shape {weight.shape}")
    own: Array = weight[place]
    return own.reshape(*gates, weight.shape[2])


def _words(call: Call, kind: str, place: int, count: int) -> tuple[str, str]:
    """Return the activations of the candidate and of the gates; ONNX lists f of the gates, g of the candidate, h of the cell."""
    if call.setting("activation_alpha") is not None or call.setting("activation_beta") is not None:
        call.refuse("has activations with settings, which is not known")
    each = {"rnn": 1, "lstm": 3, "gru": 2}[kind]
    given = call.setting("activations")
    listed = (
        given
        if isinstance(given, tuple) and given
        else ("Sigmoid", "Tanh", "Tanh")[3 - each if kind == "rnn" else 0 :][:each] * count
    )
    own = [_ACTIVATIONS.get(str(word).lower()) for word in listed[place * each : (place + 1) * each]]
    if None in own or len(own) != each or (kind == "lstm" and own[1] != own[2]):
        call.refuse(f"has the activations {listed}, which are not known")
    return (str(own[0]), "sigmoid") if kind == "rnn" else (str(own[1]), str(own[0]))
