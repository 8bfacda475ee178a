"""The nodes of an ONNX model as layers, in the order of execution, with the layers that feed each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from steelyard.core.graph import Graph, Layer, Shape, in_line, names_of_inputs
from steelyard.core.roles import layer_of
from steelyard.layers.kinds import padding_word

if TYPE_CHECKING:
    from steelyard.core.graph import Settings
    from steelyard.core.weight import Weight
    from steelyard.formats.onnx.messages import AttributeProto, NodeProto

    Nodes = Sequence[tuple[str, NodeProto]]
    Shapes = Mapping[str, Shape | None]
    """The shapes of tensors, with the batch axis."""

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
"""Operators that change no number."""
_RESHAPING = ("Reshape", "Squeeze", "Unsqueeze")
"""Operators that pass a weight on in another shape, for example to broadcast it over an image."""
_SLICING = ("Gather", "GatherElements", "GatherND", "Slice", "Split")
_BRANCHING = ("If", "Loop", "Scan", "SequenceMap")
"""Operators that run inner graphs. The origin of their outputs is not tracked."""
_BIASED = ("conv", "conv transpose", "dense")
_FOLLOWED = 16
"""Operators through which a tensor is traced back, at most."""
_EPSILON = {"LayerNormalization": 1e-5, "SkipLayerNormalization": 1e-12}


def graph_of(nodes: Nodes, weights: Mapping[str, Weight], inputs: Shapes, shapes: Shapes) -> Graph:
    """Return the layers of all graphs. `nodes` pairs each node with the path of its graph, blank for the outermost.

    `weights` maps the names of tensors that nodes take to weights, `inputs` and `shapes` are the shapes of the outermost graph's
    inputs and of all its tensors that have one. A layer has the name of its weights, else that of the
    node; its setting "weights" lists the weights that the operator takes. Nodes of branches and bodies come last, in no
    certain order. Where a transpose moved the channels of an image to the end just before a flattening, the setting
    "channels" is "last".
    """
    taken = {node.label() for _, node in nodes} | {layer_of(weight.name) for weight in weights.values()}
    names = dict(zip(inputs, names_of_inputs(inputs, taken), strict=True))
    builder = _GraphBuilder(nodes, weights, names, shapes)
    for path, node in nodes:
        builder.add(path, node)
    layers = list(builder.layers.values())
    known = [shape[1:] for shape in inputs.values() if shape]
    return Graph(
        layers,
        is_execution_order=not builder.has_inner,
        channels="first",
        input_names=names.values(),
        input_shapes=tuple(known) if known and len(known) == len(names) else None,
        is_sequential=builder.is_covered and in_line(layers, names.values()),
    )


class _GraphBuilder:
    """The layers so far, and the layers that each output of a node comes from.

    `has_inner` becomes true when a node of an inner graph takes weights, `is_covered` false when a node is not a layer.
    """

    __slots__ = ("_makers", "_owners", "_shapes", "_sources", "_takers", "_weights", "has_inner", "is_covered", "layers")

    def __init__(self, nodes: Nodes, weights: Mapping[str, Weight], inputs: Mapping[str, str], shapes: Shapes) -> None:
        self.layers: dict[str, Layer] = {}
        self.has_inner = False
        self.is_covered = True
        self._weights = weights
        self._makers = {output: node for _, node in nodes for output in node.outputs if output}
        self._takers: dict[str, list[NodeProto]] = {}
        for _, node in nodes:
            for name in node.inputs:
                self._takers.setdefault(name, []).append(node)
        self._shapes = shapes
        self._sources: dict[str, tuple[str, ...] | None] = {name: (own,) for name, own in inputs.items()}
        self._owners: dict[str, str] = {}

    def add(self, path: str, node: NodeProto) -> None:
        """Add a node as a layer, as part of the layer before it, or as an operator that passes its inputs on."""
        taken = self._taken(node)
        inputs = self._inputs(path, node)
        is_owned = any(weight.name in self._owners for weight in taken)
        layer = self._layer(path, node, taken, inputs)
        again = layer is not None and is_owned
        if layer is not None and again:
            _call_again(layer, inputs)
        elif layer is not None and not path:
            self._set_shapes(layer, node)
        self.is_covered &= not path and not again and (layer is not None or node.op in _SILENT)
        passed = None if node.op in _BRANCHING or inputs is None else tuple(dict.fromkeys(inputs))
        for output in filter(None, node.outputs):
            self._sources[output] = passed if layer is None else (layer.name,)

    def _inputs(self, path: str, node: NodeProto) -> tuple[str, ...] | None:
        """Return the layers whose outputs flow into a node, in order; None where the origin of an input is unknown."""
        every = [self._sources_of(path, name) for name in node.inputs]
        known = [each for each in every if each is not None]
        return tuple(name for each in known for name in each) if len(known) == len(every) else None

    def _set_shapes(self, layer: Layer, node: NodeProto) -> None:
        """Set the shape of the first input that is data, if it is the first node of a layer, and that of the output."""
        given = next((self._shapes.get(name) for name in node.inputs if name not in self._weights), None)
        made = next((self._shapes.get(name) for name in node.outputs), None)
        layer.input_shape = layer.input_shape or (given and given[1:]) or None
        layer.output_shape = (made and made[1:]) or layer.output_shape

    def _sources_of(self, path: str, name: str) -> tuple[str, ...] | None:
        """Return the layers that a tensor comes from; None where it is an input of a branch or a body."""
        if name in self._sources:
            return self._sources[name]
        # a blank name is an optional input that is left out
        given = not name or name in self._weights or not (path or name in self._makers)
        return () if given else None

    def _taken(self, node: NodeProto) -> list[Weight]:
        """Return the weights that a node takes, without the single numbers that any operator may take."""
        if node.domain == "ai.onnx.ml":  # these operators have weights as attributes
            names = [f"{node.label()}.{name}" for name in ("coefficients", "intercepts")]
            return [self._weights[name] for name in names if name in self._weights]
        # a single number may be an operand of any operator, such as the 2 of Pow
        taken = [weight for weight in map(self._weight_of, node.inputs) if weight is not None]
        return taken if node.op in KINDS or any(weight.size > 1 for weight in taken) else []

    def _layer(self, path: str, node: NodeProto, taken: list[Weight], inputs: tuple[str, ...] | None) -> Layer | None:
        if taken and node.op not in (*_PASSING, *_RESHAPING):
            self.has_inner = self.has_inner or bool(path)
            return self._owner(node, taken, inputs) or self._weighted(node, taken, inputs)
        if not taken and (node.op in ACTIVATIONS or node.op in PLAIN):
            kind = "activation" if node.op in ACTIVATIONS else PLAIN[node.op]
            return self._put(Layer(node.label(), kind, node.op, self._plain_settings(node), inputs=inputs))
        return None

    def _owner(self, node: NodeProto, taken: list[Weight], inputs: tuple[str, ...] | None) -> Layer | None:
        """Return the layer that owns these weights: one that runs again, or the one before to which a bias is added."""
        owner = self._owners.get(taken[0].name)
        if owner is not None:
            return self.layers[owner]
        distinct = set(inputs or ())
        before = self.layers.get(distinct.pop()) if len(distinct) == 1 else None
        if before is None or not (_takes_bias(before, node, taken[0]) or _continues(before, taken[0])):
            return None
        self._claim(before, taken)
        return before

    def _weighted(self, node: NodeProto, taken: list[Weight], inputs: tuple[str, ...] | None) -> Layer:
        kind = KINDS.get(node.op, "other")
        settings = _SETTINGS[kind](node, len(taken[0].shape)) if kind in _SETTINGS else {}
        if kind in ("rnn", "lstm", "gru") and (steps := self._steps_used(node)):
            settings["returns"] = steps
        named = next((layer_of(weight.name) for weight in taken if layer_of(weight.name)), "")
        layer = self._put(Layer(named or node.label(), kind, node.op, settings, inputs=inputs), node.label())
        self._claim(layer, taken)
        return layer

    def _put(self, layer: Layer, other: str = "") -> Layer:
        """Keep a layer under its name, or under another where that is taken."""
        names = (layer.name, other, f"{layer.name}:{len(self.layers)}")
        layer.name = next(name for name in names if name and name not in self.layers)
        self.layers[layer.name] = layer
        return layer

    def _claim(self, layer: Layer, taken: list[Weight]) -> None:
        names = [weight.name for weight in taken]
        layer.settings["weights"] = (*layer.weight_names, *names)
        self._owners.update(dict.fromkeys(names, layer.name))

    def _steps_used(self, node: NodeProto) -> str:
        """Return "all" if the sequence of a recurrent operator is used, "last" if it has only its states; blank if unknown.

        A sequence that no node takes may be an output of the net, and a slice may take any step.
        """
        sequence = node.outputs[0] if node.outputs else ""
        if not sequence:
            return "last"
        return "all" if any(each.op not in _SLICING for each in self._final_takers(sequence)) else ""

    def _final_takers(self, name: str) -> list[NodeProto]:
        """Return the nodes that take a tensor, directly or through operators that only pass it on or reshape it."""
        final, pending = [], [name] if name else []
        for _ in range(_FOLLOWED):
            takers = [taker for each in pending for taker in self._takers.get(each, ())]
            final += [taker for taker in takers if taker.op not in (*_PASSING, *_RESHAPING)]
            pending = [output for taker in takers if taker.op in (*_PASSING, *_RESHAPING) for output in taker.outputs]
        return final

    def _weight_of(self, name: str) -> Weight | None:
        """Return the weight that an input is, directly or through operators that pass it on; None where it is computed."""
        for _ in range(_FOLLOWED):
            maker = self._makers.get(name)
            if name in self._weights or maker is None or maker.op not in (*_PASSING, *_RESHAPING) or not maker.inputs:
                break
            name = maker.inputs[0]
        return self._weights.get(name)

    def _plain_settings(self, node: NodeProto) -> Settings:
        if node.op in ACTIVATIONS:
            return _activation(node)
        return self._transposed(node.inputs[0]) if node.op in ("Flatten", "Reshape") and node.inputs else {}

    def _transposed(self, name: str) -> Settings:
        """Return how a transpose just before ordered the axes of a tensor, counted from 1, the first after the batch."""
        maker = self._makers.get(name)
        order = tuple(maker.attributes["perm"].ints) if maker and maker.op == "Transpose" and "perm" in maker.attributes else ()
        if len(order) < 3 or order[0] != 0:
            return {}
        return {"channels": "last"} if order == (0, *range(2, len(order)), 1) else {"axes": order[1:]}


def _call_again(layer: Layer, inputs: tuple[str, ...] | None) -> None:
    """Record another run of a layer."""
    layer.calls += 1
    if inputs is None or layer.inputs is None:
        layer.inputs = None
    else:
        layer.inputs += tuple(name for name in dict.fromkeys(inputs) if name not in layer.inputs)


def _takes_bias(before: Layer, node: NodeProto, weight: Weight) -> bool:
    bare = before.kind in _BIASED and len(before.weight_names) == 1
    return bare and node.op == "Add" and len(weight.shape) == 1


def _continues(before: Layer, weight: Weight) -> bool:
    """Whether a weight belongs to the layer before by its name, as in a norm that is spelled out in operators."""
    return before.kind == "other" and layer_of(weight.name) == before.name


def _activation(node: NodeProto) -> Settings:
    word = ACTIVATIONS[node.op]
    if word == "gelu" and _text(node, "approximate") == "tanh":
        word = "gelu_tanh"
    settings: Settings = {"activation": word}
    if node.op == "LeakyRelu":
        return {**settings, "negative_slope": _real(node, "alpha", 0.01)}
    if node.op == "HardSigmoid":
        return {**settings, "alpha": _real(node, "alpha", 0.2), "beta": _real(node, "beta", 0.5)}
    return settings


def _convolution(node: NodeProto, rank: int) -> Settings:
    axes = max(rank - 2, 0)
    automatic, pads = _text(node, "auto_pad"), _ints(node, "pads")
    half = len(pads) // 2
    # pads are all beginnings, then all ends
    padding = padding_word(list(zip(pads[:half], pads[half:], strict=False)), axes)
    words = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}
    settings: Settings = {
        "strides": tuple(_ints(node, "strides")) or (1,) * axes,
        "padding": words.get(automatic, padding),
        "dilation": tuple(_ints(node, "dilations")) or (1,) * axes,
        "groups": _int(node, "group", 1),
    }
    extra = tuple(_ints(node, "output_padding"))
    return {**settings, "output_padding": extra} if any(extra) else settings


def _dense(node: NodeProto, rank: int) -> Settings:
    activation = {"LOGISTIC": "sigmoid", "SOFTMAX": "softmax"}.get(_text(node, "post_transform"))
    if activation:
        return {"activation": activation}
    factors = {name: _real(node, name, 1.0) for name in ("alpha", "beta")}
    return {name: factor for name, factor in factors.items() if factor != 1.0}


def _norm(node: NodeProto, rank: int) -> Settings:
    settings: Settings = {"epsilon": _real(node, "epsilon", _EPSILON.get(node.op, 1e-5))}
    if node.op == "BatchNormalization":
        settings["momentum"] = _real(node, "momentum", 0.9)
    return {**settings, "groups": _int(node, "num_groups", 0)} if node.op == "GroupNormalization" else settings


def _recurrent(node: NodeProto, rank: int) -> Settings:
    # activations are f, g (and h of an LSTM): f of the gates, g of the candidate
    usual = ["tanh"] if node.op == "RNN" else ["sigmoid", "tanh"]
    words = [text.lower() for text in node.attributes["activations"].texts] if "activations" in node.attributes else usual
    settings: Settings = {"activation": words[len(usual) - 1] if len(words) >= len(usual) else usual[-1]}
    if node.op != "RNN":
        settings["recurrent_activation"] = words[0]
    if node.op == "GRU":
        settings["reset_after"] = bool(_int(node, "linear_before_reset", 0))
    return {**settings, "direction": "backward"} if _text(node, "direction") == "reverse" else settings


_SETTINGS: dict[str, Callable[[NodeProto, int], Settings]] = {
    "conv": _convolution,
    "conv transpose": _convolution,
    "dense": _dense,
    **dict.fromkeys(("batch norm", "layer norm", "group norm", "instance norm", "rms norm"), _norm),
    **dict.fromkeys(("rnn", "lstm", "gru"), _recurrent),
}


def _attribute(node: NodeProto, name: str) -> AttributeProto | None:
    return node.attributes.get(name)


def _int(node: NodeProto, name: str, usual: int) -> int:
    attribute = _attribute(node, name)
    return usual if attribute is None or attribute.number is None else attribute.number


def _real(node: NodeProto, name: str, usual: float) -> float:
    """Return a float32 in the fewest digits that identify it, as it was written."""
    attribute = _attribute(node, name)
    return usual if attribute is None or attribute.real is None else float(f"{attribute.real:.7g}")


def _ints(node: NodeProto, name: str) -> list[int]:
    attribute = _attribute(node, name)
    return attribute.ints if attribute else []


def _text(node: NodeProto, name: str) -> str:
    attribute = _attribute(node, name)
    return attribute.text if attribute else ""
