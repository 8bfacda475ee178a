"""The steps of layers on sequences: recurrent layers, one for each level and direction, and attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from steelyard.device.program.activations import CURVES
from steelyard.device.program.attention import MASKED, Attention, MatMul
from steelyard.device.program.building import Node, integers, refuse
from steelyard.device.program.linear import Dense
from steelyard.device.program.recurrent import GATES, Recurrent
from steelyard.device.program.shaping import Combine, Concatenate, Constant, Scale

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_SETTINGS = ("activation", "recurrent_activation", "reset_after", "returns", "direction", "layers", "bidirectional", "merge_mode")


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


def attention(node: Node) -> int:
    """Add the projections of query, key and value, the attention, and the projection of its output."""
    node.only("heads", "key_heads", "causal")
    node.has("q", "k", "v", "out", "q bias", "k bias", "v bias", "out bias")
    settings, inputs = node.layer.settings, node.inputs
    heads, key_heads = (integers(node.layer, settings.get(word), 1)[0] for word in ("heads", "key_heads"))
    if node.layer.class_name != "MultiheadAttention":  # those of Keras take query, value and, by default the value, key
        inputs = (inputs[0], inputs[-1], inputs[1]) if len(inputs) in (2, 3) else ()
    if len(inputs) != 3:
        refuse(node.layer, f"has {len(node.inputs)} inputs, where query, key and value are known")
    shapes = [node.building.shapes[place] for place in inputs]
    if any(len(shape) != 2 for shape in shapes):
        refuse(node.layer, f"takes inputs of shapes {shapes}, where steps and features are known")
    projected = []
    for word, place in zip("qkv", inputs, strict=True):
        kernel = node.needed(word)
        node.fits(kernel.shape[1], node.building.shapes[place][-1], "features")
        projected.append(node.add(Dense(kernel, node.array(f"{word} bias")), place))
    made = _attended(node, Attention(heads, key_heads, _is_causal(node)), projected)
    return node.add(Dense(node.needed("out"), node.array("out bias")), made)


def dot_product_attention(node: Node) -> int:
    """Add PyTorch's function, whose inputs have an axis of heads."""
    node.only("causal", "scale")
    shapes = [node.building.shapes[place] for place in node.inputs]
    ranks = {len(shape) for shape in shapes}
    if len(shapes) != 3 or ranks not in ({2}, {3}) or (ranks == {3} and len({shape[0] for shape in shapes}) > 1):
        refuse(node.layer, f"takes inputs of shapes {shapes}, where heads, steps and features are known")
    heads, (query, *rest) = int(ranks == {2}), node.inputs
    scale = node.layer.settings.get("scale")
    if isinstance(scale, (int, float)):  # the usual one is 1 / sqrt(dim)
        query = node.add(Scale("multiply", scale * math.sqrt(shapes[0][-1])), query)
    return _attended(node, Attention(heads, heads, _is_causal(node)), [query, *rest])


def product(node: Node) -> int:
    """Add a product of matrices of each example; one with a weight is a dense layer."""
    node.only()
    if len(node.inputs) != 2:
        refuse(node.layer, f"has {len(node.inputs)} inputs, where two are known")
    kernel = node.building.known(node.inputs[1])
    if kernel is not None and kernel.ndim == 2:
        return node.add(Dense(node.building.shared(kernel.T), None), node.inputs[0])
    shapes = [node.building.shapes[place] for place in node.inputs]
    if len(shapes[0]) != len(shapes[1]) or len(shapes[0]) < 2:
        refuse(node.layer, f"multiplies inputs of shapes {shapes}, where matrices of each example are known")
    return node.add(MatMul(), *node.inputs)


def masked(node: Node) -> int:
    """Add one number in the places of a constant mask; minus infinity, which a softmax follows, becomes a large number."""
    import numpy as np

    node.only("value")
    value, mask = node.layer.settings.get("value"), node.building.known(node.inputs[-1])
    if len(node.inputs) != 2 or mask is None or not isinstance(value, (int, float)) or np.isnan(value):
        refuse(node.layer, "fills places that are not those of a constant mask with a number")
    made, shape = node.inputs[0], mask.shape[1:] if mask.ndim > 1 and mask.shape[0] == 1 else mask.shape
    rank = len(node.building.shapes[made])
    flags = mask.reshape((1,) * (rank - len(shape)) + shape) != 0
    if value > MASKED:
        made = node.add(Combine("multiply"), made, node.add(Constant((~flags).astype("float32"))))
    filled = np.where(flags, np.float32(max(value, MASKED)), np.float32(0))
    return node.add(Combine("add"), made, node.add(Constant(filled)))


def _is_causal(node: Node) -> bool:
    """Whether attention is masked, by the graph if that shows it."""
    known = node.layer.settings.get("causal")
    return node.building.causal if known is None else bool(known)


def _attended(node: Node, operation: Attention, inputs: list[int]) -> int:
    if "causal" not in node.layer.settings:
        node.assume("it attends to all steps" if not operation.causal else "it attends to the steps before")
    return node.add(operation, *inputs)


def _returned(node: Node) -> str:
    word = node.layer.settings.get("returns")
    if word not in ("last", "all"):
        refuse(node.layer, "returns one step or all of them, which is not known")
    is_backward = node.weights and node.weights[0].direction == "backward"
    if word == "all" and is_backward and "merge_mode" in node.layer.settings:
        return "all"  # Keras turns the steps of the second direction
    if word == "all" and is_backward:
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
