"""The nodes of an ONNX model as layers: they stand in the order in which they run, and say all that they depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.core.graph import Graph, Layer, in_line
from steelyard.core.roles import layer_of
from steelyard.layers.jax import padding_word

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.formats.onnx.messages import Attribute, Node

    Nodes = Sequence[tuple[str, Node]]

KINDS: dict[str, str] = {
    **dict.fromkeys(("Conv", "ConvInteger", "FusedConv", "QLinearConv"), "conv"),
    "ConvTranspose": "conv transpose",
    **dict.fromkeys(("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "LinearClassifier", "LinearRegressor"), "dense"),
    "Gather": "embedding",
    "BatchNormalization": "batch norm",
    **dict.fromkeys(("LayerNormalization", "SkipLayerNormalization"), "layer norm"),
    "GroupNormalization": "group norm",
    "InstanceNormalization": "instance norm",
    **dict.fromkeys(("RMSNormalization", "SimplifiedLayerNormalization"), "rms norm"),
    "PRelu": "prelu",
    "RNN": "rnn",
    "LSTM": "lstm",
    "GRU": "gru",
}
"""Operators that have weights."""

PLAIN: dict[str, str] = {
    "Flatten": "flatten",
    "Reshape": "reshape",
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool"), "pool"),
    **dict.fromkeys(("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"), "global pool"),
    "Pad": "pad",
    **dict.fromkeys(("Resize", "Upsample"), "upsample"),
    **dict.fromkeys(("Add", "Concat", "Div", "Max", "Min", "Mul", "Sub", "Sum"), "merge"),
    "Dropout": "dropout",
    **dict.fromkeys(("LogSoftmax", "Softmax"), "softmax"),
}
"""Operators that are layers without weights."""

ACTIVATIONS = {
    **{op: op.lower() for op in ("Celu", "Elu", "Exp", "Mish", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh")},
    "Gelu": "gelu",
    "HardSigmoid": "hard_sigmoid",
    "HardSwish": "hard_silu",
    "LeakyRelu": "leaky_relu",
    "ThresholdedRelu": "thresholded_relu",
}
_PASSING = ("Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Transpose")
_SILENT = ("Cast", "Constant", "Identity")
"""What changes no number."""
_RESHAPING = ("Reshape", "Squeeze", "Unsqueeze")
"""What passes a weight on in another shape, as to add it to an image."""
_BRANCHING = ("If", "Loop", "Scan", "SequenceMap")
"""What runs graphs inside of it; what comes out of those is not followed."""
_BIASED = ("conv", "conv transpose", "dense")
_FOLLOWED = 16
"""Operators through which a tensor is followed back."""
_EPSILON = {"LayerNormalization": 1e-5, "SkipLayerNormalization": 1e-12}


def graph_of(nodes: Nodes, weights: Mapping[str, Weight]) -> Graph:
    """Return the layers of the nodes of all graphs, each with the path of its graph; the outermost has none.

    `weights` are known by the names of the tensors that nodes take. A layer's name is that of its weights, else the
    node's own; the setting "weights" names those that an operator takes, whatever they are called. Branches and
    bodies come last, and in no certain order. Where a flattened image had its channels moved to the end just before,
    the setting "channels" is "last".
    """
    made = _Graph(nodes, weights)
    for path, node in nodes:
        made.add(path, node)
    layers = list(made.layers.values())
    return Graph(layers, is_execution_order=not made.inner, channels="first", is_sequential=made.whole and in_line(layers))


class _Graph:
    """The layers that are found so far, and which of them the outputs of nodes come from."""

    __slots__ = ("_makers", "_owners", "_sources", "_weights", "inner", "layers", "whole")

    def __init__(self, nodes: Nodes, weights: Mapping[str, Weight]) -> None:
        self.layers: dict[str, Layer] = {}
        self.inner = False
        self.whole = True
        self._weights = weights
        self._makers = {output: node for _, node in nodes for output in node.outputs if output}
        self._sources: dict[str, tuple[str, ...] | None] = {}
        self._owners: dict[str, str] = {}

    def add(self, path: str, node: Node) -> None:
        """Put a node down as a layer, as part of the one before it, or as what only passes on."""
        taken = self._taken(node)
        after = self._after(path, node)
        known = set(self._owners)
        layer = self._layer(path, node, taken, after)
        again = layer is not None and any(weight.name in known for weight in taken)
        self.whole &= not path and not again and (layer is not None or node.op in _SILENT)
        behind = None if node.op in _BRANCHING else after
        for output in filter(None, node.outputs):
            self._sources[output] = behind if layer is None else (layer.name,)

    def _after(self, path: str, node: Node) -> tuple[str, ...] | None:
        """Return the layers whose outputs flow into a node, None where one of its inputs is not known."""
        every = [self._sources_of(path, name) for name in node.inputs]
        known = [each for each in every if each is not None]
        return tuple(dict.fromkeys(name for each in known for name in each)) if len(known) == len(every) else None

    def _sources_of(self, path: str, name: str) -> tuple[str, ...] | None:
        """Return the layers that a tensor comes from; what goes into a branch or a body is not known."""
        if name in self._sources:
            return self._sources[name]
        given = not name or name in self._weights or not (path or name in self._makers)
        return () if given else None

    def _taken(self, node: Node) -> list[Weight]:
        """Return the weights that a node takes; single numbers that any operator may take are none."""
        if node.domain == "ai.onnx.ml":  # which keeps them in its attributes
            names = [f"{node.label()}.{name}" for name in ("coefficients", "intercepts")]
            return [self._weights[name] for name in names if name in self._weights]
        found = [weight for weight in map(self._weight_of, node.inputs) if weight is not None]
        return found if node.op in KINDS or any(weight.size > 1 for weight in found) else []

    def _layer(self, path: str, node: Node, taken: list[Weight], after: tuple[str, ...] | None) -> Layer | None:
        if taken and node.op not in (*_PASSING, *_RESHAPING):
            self.inner = self.inner or bool(path)
            return self._joined(node, taken, after) or self._weighted(node, taken, after)
        if not taken and (node.op in ACTIVATIONS or node.op in PLAIN):
            kind = "activation" if node.op in ACTIVATIONS else PLAIN[node.op]
            return self._put(Layer(node.label(), kind, node.op, self._plain_settings(node), inputs=after))
        return None

    def _joined(self, node: Node, taken: list[Weight], after: tuple[str, ...] | None) -> Layer | None:
        """Return the layer that these weights belong to already: used again, or a bias that is added behind it."""
        owner = self._owners.get(taken[0].name)
        if owner is not None:
            return self.layers[owner]
        before = self.layers[after[0]] if after and len(after) == 1 else None
        if before is None or not (_takes_bias(before, node, taken[0]) or _goes_on(before, taken[0])):
            return None
        self._claim(before, taken)
        return before

    def _weighted(self, node: Node, taken: list[Weight], after: tuple[str, ...] | None) -> Layer:
        kind = KINDS.get(node.op, "other")
        settings = _SETTINGS[kind](node, len(taken[0].shape)) if kind in _SETTINGS else {}
        named = next((layer_of(weight.name) for weight in taken if layer_of(weight.name)), "")
        layer = self._put(Layer(named or node.label(), kind, node.op, settings, inputs=after), node.label())
        self._claim(layer, taken)
        return layer

    def _put(self, layer: Layer, other: str = "") -> Layer:
        """Keep a layer under its name, or another one where that is taken."""
        names = (layer.name, other, f"{layer.name}:{len(self.layers)}")
        layer.name = next(name for name in names if name and name not in self.layers)
        self.layers[layer.name] = layer
        return layer

    def _claim(self, layer: Layer, taken: list[Weight]) -> None:
        names = [weight.name for weight in taken]
        layer.settings["weights"] = (*layer.settings.get("weights", ()), *names)
        self._owners.update(dict.fromkeys(names, layer.name))

    def _weight_of(self, name: str) -> Weight | None:
        """Return the weight that an input is, directly or through what only passes it on; None where it is computed."""
        for _ in range(_FOLLOWED):
            maker = self._makers.get(name)
            if name in self._weights or maker is None or maker.op not in (*_PASSING, *_RESHAPING) or not maker.inputs:
                break
            name = maker.inputs[0]
        return self._weights.get(name)

    def _plain_settings(self, node: Node) -> dict[str, Any]:
        if node.op in ACTIVATIONS:
            return _activation(node)
        return self._moved(node.inputs[0]) if node.op in ("Flatten", "Reshape") and node.inputs else {}

    def _moved(self, name: str) -> dict[str, Any]:
        """Say in which order the axes of a tensor were put just before, counted from one behind the batch."""
        maker = self._makers.get(name)
        order = tuple(maker.attributes["perm"].ints) if maker and maker.op == "Transpose" and "perm" in maker.attributes else ()
        if len(order) < 3 or order[0] != 0:
            return {}
        return {"channels": "last"} if order == (0, *range(2, len(order)), 1) else {"axes": order[1:]}


def _takes_bias(before: Layer, node: Node, weight: Weight) -> bool:
    bare = before.kind in _BIASED and len(before.settings["weights"]) == 1
    return bare and node.op == "Add" and len(weight.shape) == 1


def _goes_on(before: Layer, weight: Weight) -> bool:
    """Tell whether a weight has the name of the layer in front, as those of a norm that is spelled out in operators."""
    return before.kind == "other" and layer_of(weight.name) == before.name


def _activation(node: Node) -> dict[str, Any]:
    word = ACTIVATIONS[node.op]
    if word == "gelu" and _text(node, "approximate") == "tanh":
        word = "gelu_tanh"
    said: dict[str, Any] = {"activation": word}
    if node.op == "LeakyRelu":
        return {**said, "negative_slope": _real(node, "alpha", 0.01)}
    if node.op == "HardSigmoid":
        return {**said, "alpha": _real(node, "alpha", 0.2), "beta": _real(node, "beta", 0.5)}
    return said


def _convolution(node: Node, rank: int) -> dict[str, Any]:
    axes = max(rank - 2, 0)
    automatic, pads = _text(node, "auto_pad"), _ints(node, "pads")
    half = len(pads) // 2
    padding = padding_word(list(zip(pads[:half], pads[half:], strict=False)), axes)
    words = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}
    said = {
        "strides": tuple(_ints(node, "strides")) or (1,) * axes,
        "padding": words.get(automatic, padding),
        "dilation": tuple(_ints(node, "dilations")) or (1,) * axes,
        "groups": _int(node, "group", 1),
    }
    extra = tuple(_ints(node, "output_padding"))
    return {**said, "output_padding": extra} if any(extra) else said


def _dense(node: Node, rank: int) -> dict[str, Any]:
    after = {"LOGISTIC": "sigmoid", "SOFTMAX": "softmax"}.get(_text(node, "post_transform"))
    if after:
        return {"activation": after}
    factors = {name: _real(node, name, 1.0) for name in ("alpha", "beta")}
    return {name: factor for name, factor in factors.items() if factor != 1.0}


def _norm(node: Node, rank: int) -> dict[str, Any]:
    said: dict[str, Any] = {"epsilon": _real(node, "epsilon", _EPSILON.get(node.op, 1e-5))}
    if node.op == "BatchNormalization":
        said["momentum"] = _real(node, "momentum", 0.9)
    return {**said, "groups": _int(node, "num_groups", 0)} if node.op == "GroupNormalization" else said


def _recurrent(node: Node, rank: int) -> dict[str, Any]:
    usual = ["tanh"] if node.op == "RNN" else ["sigmoid", "tanh"]
    words = [text.lower() for text in node.attributes["activations"].texts] if "activations" in node.attributes else usual
    said: dict[str, Any] = {"activation": words[len(usual) - 1] if len(words) >= len(usual) else usual[-1]}
    if node.op != "RNN":
        said["recurrent_activation"] = words[0]
    if node.op == "GRU":
        said["reset_after"] = bool(_int(node, "linear_before_reset", 0))
    return {**said, "direction": "backward"} if _text(node, "direction") == "reverse" else said


_SETTINGS: dict[str, Callable[[Any, int], dict[str, Any]]] = {
    "conv": _convolution,
    "conv transpose": _convolution,
    "dense": _dense,
    **dict.fromkeys(("batch norm", "layer norm", "group norm", "instance norm", "rms norm"), _norm),
    **dict.fromkeys(("rnn", "lstm", "gru"), _recurrent),
}


def _attribute(node: Node, name: str) -> Attribute | None:
    return node.attributes.get(name)


def _int(node: Node, name: str, usual: int) -> int:
    found = _attribute(node, name)
    return usual if found is None or found.number is None else found.number


def _real(node: Node, name: str, usual: float) -> float:
    """Return a number as it was written: what a float32 holds, in the fewest digits that tell it."""
    found = _attribute(node, name)
    return usual if found is None or found.real is None else float(f"{found.real:.7g}")


def _ints(node: Node, name: str) -> list[int]:
    found = _attribute(node, name)
    return found.ints if found else []


def _text(node: Node, name: str) -> str:
    found = _attribute(node, name)
    return found.text if found else ""
