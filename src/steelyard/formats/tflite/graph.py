"""The operators of a TensorFlow Lite model as layers, in the order of execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.graph import Graph, Layer, in_line, names_of_inputs

if TYPE_CHECKING:
    from steelyard.codecs.flatbuffers import Table
    from steelyard.core.graph import Settings
    from steelyard.core.weight import Weight

    Indexed = Mapping[tuple[int, int], Weight]


class Operator(NamedTuple):
    """An operator as a kind of layer, its name in the schema, and fields of its options.

    `fused` is the field of the fused activation, `steps` that of the padding, which strides follow, and `dilation` that of
    the dilation; each is 0 where the operator has none.
    """

    kind: str
    name: str
    fused: int = 0
    steps: int = 0
    dilation: int = 0


OPERATORS: dict[int, Operator] = {
    0: Operator("merge", "ADD", 4),
    1: Operator("pool", "AVERAGE_POOL_2D", 14, 4),
    2: Operator("merge", "CONCATENATION", 6),
    3: Operator("conv", "CONV_2D", 10, 4, 12),
    4: Operator("conv", "DEPTHWISE_CONV_2D", 12, 4, 14),
    7: Operator("embedding", "EMBEDDING_LOOKUP"),
    9: Operator("dense", "FULLY_CONNECTED", 4),
    14: Operator("activation", "LOGISTIC"),
    16: Operator("lstm", "LSTM", 4),
    17: Operator("pool", "MAX_POOL_2D", 14, 4),
    18: Operator("merge", "MUL", 4),
    19: Operator("activation", "RELU"),
    20: Operator("activation", "RELU_N1_TO_1"),
    21: Operator("activation", "RELU6"),
    22: Operator("reshape", "RESHAPE"),
    23: Operator("upsample", "RESIZE_BILINEAR"),
    24: Operator("rnn", "RNN", 4),
    25: Operator("softmax", "SOFTMAX"),
    27: Operator("other", "SVDF"),
    28: Operator("activation", "TANH"),
    34: Operator("pad", "PAD"),
    35: Operator("rnn", "UNIDIRECTIONAL_SEQUENCE_RNN", 6),
    36: Operator("embedding", "GATHER"),
    40: Operator("global pool", "MEAN"),
    41: Operator("merge", "SUB", 4),
    42: Operator("merge", "DIV", 4),
    44: Operator("lstm", "UNIDIRECTIONAL_SEQUENCE_LSTM", 4),
    46: Operator("rnn", "BIDIRECTIONAL_SEQUENCE_RNN", 6),
    50: Operator("softmax", "LOG_SOFTMAX"),
    52: Operator("lstm", "BIDIRECTIONAL_SEQUENCE_LSTM", 4),
    54: Operator("prelu", "PRELU"),
    60: Operator("pad", "PADV2"),
    67: Operator("conv transpose", "TRANSPOSE_CONV", 10, 4),
    97: Operator("upsample", "RESIZE_NEAREST_NEIGHBOR"),
    98: Operator("activation", "LEAKY_RELU"),
    100: Operator("pad", "MIRROR_PAD"),
    111: Operator("activation", "ELU"),
    117: Operator("activation", "HARD_SWISH"),
    126: Operator("dense", "BATCH_MATMUL"),
    132: Operator("conv", "CONV_3D", 12, 4, 14),
    141: Operator("conv transpose", "CONV_3D_TRANSPOSE", 12, 4, 14),
    150: Operator("activation", "GELU"),
}
"""The operators that are layers, by their codes; others pass their inputs on."""

_CONV_2D = 3
_ALWAYS = frozenset({"conv", "conv transpose", "dense", "embedding", "prelu", "rnn", "lstm"})
"""Kinds that are layers only with weights."""
_FUSED = {1: "relu", 2: "relu_n1_to_1", 3: "relu6", 4: "tanh", 5: "sign_bit"}
_WORDS = {"LOGISTIC": "sigmoid", "HARD_SWISH": "hard_silu"}
_STRIDES = {"CONV_3D": (6, 10, 8), "CONV_3D_TRANSPOSE": (6, 10, 8)}
"""The fields of the strides, from the first axis on, where the width's is not just before the height's."""


def graph_of(model: Table, weights: Indexed, layer_of: Callable[[str], str]) -> Graph:
    """Return the operators of all subgraphs as layers; the bodies of loops and branches come last.

    `weights` has the indices of subgraph and tensor as keys. The name of a layer is that of its weights, else
    `layer_of` the name of its output. The setting "weights" lists the weights that an operator takes.
    """
    codes = [max(code.number(4, "b"), code.number(10, "i")) for code in model.tables(6)]
    builder = _GraphBuilder(weights, layer_of)
    for place, subgraph in enumerate(model.tables(8)):
        builder.add(place, subgraph, codes)
    layers = list(builder.layers.values())
    names = builder.name_inputs()
    known = [tensor.shape[1:] for tensor in builder.inputs if tensor.shape]
    return Graph(
        layers,
        is_execution_order=not builder.has_inner,
        channels="last",
        input_names=names,
        input_shapes=tuple(known) if known and len(known) == len(names) else None,
        is_sequential=builder.is_covered and in_line(layers, names),
    )


class _Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]


class _GraphBuilder:
    """The layers so far, and the `inputs` of the outermost subgraph, which layers have by their places until they have names.

    `has_inner` becomes true when an operator of an inner subgraph takes weights, `is_covered` false when an operator is
    not a layer.
    """

    __slots__ = ("_layer_of", "_owners", "_weights", "has_inner", "inputs", "is_covered", "layers")

    def __init__(self, weights: Indexed, layer_of: Callable[[str], str]) -> None:
        self.layers: dict[str, Layer] = {}
        self.inputs: list[_Tensor] = []
        self.has_inner = False
        self.is_covered = True
        self._weights = dict(weights)
        self._layer_of = layer_of
        self._owners: dict[str, str] = {}

    def add(self, place: int, subgraph: Table, codes: Sequence[int]) -> None:
        """Add the layers of one subgraph."""
        tensors = [_Tensor(table.text(10), table.numbers(4, "i")) for table in subgraph.tables(4)]
        sources: dict[int, tuple[str, ...]] = {}
        if place == 0:
            given = [index for index in subgraph.numbers(6, "i") if 0 <= index < len(tensors)]
            self.inputs = [tensors[index] for index in given]
            sources |= {index: (_placeholder(nth),) for nth, index in enumerate(given)}
        for operator in subgraph.tables(10):
            number, inputs, outputs = operator.number(4, "I"), operator.numbers(6, "i"), operator.numbers(8, "i")
            feeding = tuple(layer for index in inputs for layer in sources.get(index, ()))
            count = len(self.layers)
            layer = self._layer(place, operator, codes[number] if number < len(codes) else -1, tensors, feeding)
            self.is_covered &= place == 0 and len(self.layers) > count
            for index in outputs:
                sources[index] = tuple(dict.fromkeys(feeding)) if layer is None else (layer.name,)
            for index in inputs if layer is None else ():  # a weight that is passed on is still the same weight
                weight = self._weights.get((place, index))
                if weight is not None and len(outputs) == 1:
                    self._weights[place, outputs[0]] = weight

    def name_inputs(self) -> tuple[str, ...]:
        """Put the names of the net's inputs in place of their places, and return them."""
        names = names_of_inputs([tensor.name for tensor in self.inputs], self.layers)
        named = {_placeholder(nth): name for nth, name in enumerate(names)}
        for layer in self.layers.values():
            layer.inputs = None if layer.inputs is None else tuple(named.get(name, name) for name in layer.inputs)
        return names

    def _layer(
        self, place: int, operator: Table, code: int, tensors: Sequence[_Tensor], feeding: tuple[str, ...]
    ) -> Layer | None:
        known = OPERATORS.get(code)
        inputs = operator.numbers(6, "i")
        taken = [weight for index in inputs if (weight := self._weights.get((place, index))) is not None]
        if known is None or (known.kind in _ALWAYS and not taken):
            return None
        self.has_inner = self.has_inner or bool(place and taken)
        if taken and taken[0].name in self._owners:
            again = self.layers[self._owners[taken[0].name]]
            again.calls += 1
            again.inputs = (again.inputs or ()) + tuple(n for n in dict.fromkeys(feeding) if n not in (again.inputs or ()))
            return again
        shapes = [tensors[index].shape for index in inputs if 0 <= index < len(tensors) and (place, index) not in self._weights]
        outputs = [tensors[index] for index in operator.numbers(8, "i") if 0 <= index < len(tensors)]
        kind = "other" if taken and known.kind not in _ALWAYS else known.kind
        layer = Layer("", kind, known.name, _settings(known, operator, taken), inputs=feeding)
        layer.input_shape, layer.output_shape = _shape(shapes), _shape([output.shape for output in outputs])
        if kind == "conv" and "groups" not in layer.settings and layer.input_shape:
            layer.settings["groups"] = layer.input_shape[-1] // _last(taken) if code == _CONV_2D else 1
        return self._put(layer, taken, outputs[0].name if outputs else known.name)

    def _put(self, layer: Layer, taken: Sequence[Weight], output: str) -> Layer:
        named = next((weight.layer for weight in taken if weight.layer), "")
        own = output if not taken else named or self._layer_of(output) or output
        names = (own, output, f"{own}:{len(self.layers)}")
        layer.name = next(name for name in names if name not in self.layers)
        if taken:
            layer.settings["weights"] = tuple(weight.name for weight in taken)
            self._owners.update((weight.name, layer.name) for weight in taken)
        self.layers[layer.name] = layer
        return layer


def _placeholder(nth: int) -> str:
    """Return a name for an input of the net that no layer of a file has."""
    return f"\0{nth}"


def _shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the shape of the first tensor without its batch; a tensor of one axis is the argument of a reshape."""
    first = next((shape for shape in shapes if len(shape) > 1), None)
    return None if first is None else first[1:]


def _last(taken: Sequence[Weight]) -> int:
    """Return the length of the last axis of a kernel, at least 1."""
    return max((1, *taken[0].shape[-1:]))


def _settings(known: Operator, operator: Table, taken: Sequence[Weight]) -> Settings:
    options = operator.table(12)
    settings: Settings = {}
    if known.kind == "activation":
        settings["activation"] = _activation(known, options)
        if known.name == "LEAKY_RELU":
            settings["negative_slope"] = _real(options, 4)
    if options is None:
        return settings
    if known.fused and (word := _FUSED.get(options.number(known.fused, "b"))):
        settings["activation"] = word
    if known.kind == "lstm":
        settings["recurrent_activation"] = "sigmoid"
    if known.steps:
        settings |= _steps(known, options)
    if known.name == "DEPTHWISE_CONV_2D" and taken:
        settings["groups"] = _last(taken) // max(options.number(10, "i"), 1)
    return settings


def _activation(known: Operator, options: Table | None) -> str:
    if known.name == "GELU" and options is not None and options.number(4, "B"):
        return "gelu_tanh"
    return _WORDS.get(known.name, known.name.lower())


def _real(options: Table | None, field: int) -> float:
    place = options.position(field, 4) if options is not None else 0
    if options is None or not place:
        return 0.0
    import struct

    number: float = struct.unpack("<f", options.data.read(place, 4))[0]
    return float(f"{number:.7g}")


def _steps(known: Operator, options: Table) -> Settings:
    strides = tuple(options.number(field, "i") for field in _STRIDES.get(known.name, (8, 6)))
    settings: Settings = {"padding": "valid" if options.number(known.steps, "b") else "same", "strides": strides}
    if known.dilation and len(strides) == 2:
        settings["dilation"] = tuple(options.number(field, "i", 1) for field in (known.dilation + 2, known.dilation))
    if known.dilation and len(strides) == 3:
        settings["dilation"] = tuple(options.number(known.dilation + shift, "i", 1) for shift in (0, 4, 2))
    return settings
