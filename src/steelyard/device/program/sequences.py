"""The steps of recurrent layers: one for each level and direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.device.program.activations import CURVES
from steelyard.device.program.building import Node, refuse
from steelyard.device.program.recurrent import GATES, Recurrent
from steelyard.device.program.shaping import Concatenate

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_SETTINGS = ("activation", "recurrent_activation", "reset_after", "returns", "direction", "layers", "bidirectional")


def recurrent(node: Node) -> int:
    """Add all levels and directions of a recurrent layer.

    A layer of PyTorch gives its whole sequence, from which another layer may select; one of Keras gives what it returns.
    """
    node.only(*_SETTINGS)
    node.has("kernel", "recurrent kernel", "bias", "input bias", "recurrent bias")
    settings = node.layer.settings
    if len(node.shape) != 2 or node.layer.class_name.startswith("Conv") or node.layer.class_name.endswith("Cell"):
        refuse(node.layer, f"takes an input of shape {node.shape}, where steps and features are known")
    node.fits(node.needed("kernel", GATES[node.layer.kind][0]).shape[1], node.shape[1], "features")
    if "layers" not in settings:
        return node.add(_one(node, 0, _returned(node)), node.input)
    directions = 2 if settings.get("bidirectional") else 1
    made = node.input
    for level in range(0, len(node.weights), directions):
        ends = tuple(node.add(_one(node, level + way, "all"), made) for way in range(directions))
        made = node.add(Concatenate(2), *ends) if directions > 1 else ends[0]
    return made


def _returned(node: Node) -> str:
    word = node.layer.settings.get("returns")
    if word not in ("last", "all"):
        refuse(node.layer, "returns one step or all of them, which is not known")
    if word == "all" and node.weights and node.weights[0].direction == "backward":
        inside = "backward" in node.layer.name
        node.assume(f"its steps are {'turned back into' if inside else 'in reverse of'} the order of its input")
        return "all" if inside else "all reversed"
    return str(word)


def _one(node: Node, place: int, returns: str) -> Recurrent:
    """Return one level in one direction."""
    layer, settings, kind = node.weights[place], node.layer.settings, node.layer.kind
    words = str(settings.get("activation") or "tanh"), str(settings.get("recurrent_activation") or "sigmoid")
    for word in words:
        if word not in CURVES or word in ("leaky_relu", "elu", "celu", "softplus"):
            refuse(node.layer, f"has the activation {word!r}, which is not known in a recurrent layer")
    kernel, state = (_gates(node, purpose, place) for purpose in ("kernel", "recurrent kernel"))
    inner = kind == "gru" and bool(settings.get("reset_after"))
    biases = [_bias(node, gate, place, inner=inner and gate == "n") for gate in GATES[kind]]
    bias, state_bias = _stacked([each for each, _ in biases]), biases[-1][1] if inner else None
    return Recurrent(kind, kernel, state, bias, state_bias, *words, layer.direction == "backward", returns)


def _gates(node: Node, purpose: str, place: int) -> Array:
    return _stacked([node.needed(purpose, gate, place) for gate in GATES[node.layer.kind]])


def _bias(node: Node, gate: str, place: int, *, inner: bool) -> tuple[Array, Array]:
    """Return the bias of a gate, and the one inside the product with the reset gate; others are summed in float64."""
    import numpy as np

    own = [node.array(purpose, gate, place) for purpose in ("bias", "input bias")]
    state = node.array("recurrent bias", gate, place)
    zero: Array = np.zeros(len(node.needed("kernel", gate, place)), "float32")
    given = [each for each in (*own, None if inner else state) if each is not None]
    total = given[0] if len(given) == 1 else np.sum([zero, *given], axis=0, dtype=np.float64)
    return np.asarray(total), zero if state is None else state


def _stacked(arrays: list[Array]) -> Array:
    import numpy as np

    return np.stack(arrays)
