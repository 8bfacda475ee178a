"""The operators of a TensorFlow Lite model as layers: they stand in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.graph import Graph, Layer, in_line

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.formats.tflite.flatbuffers import Table

    Places = Mapping[tuple[int, int], Weight]


class Operator(NamedTuple):
    """What an operator is: a kind of layer, its name in the schema, and where its options say what they do.

    `fused` is the slot of the activation that it applies at once, `steps` that of the padding, which strides follow;
    `dilation` that of the dilation; each 0 where there is none.
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
"""The operators that are layers, by the number of their code; others only pass on what they get."""

_CONV_2D = 3
_ALWAYS = frozenset({"conv", "conv transpose", "dense", "embedding", "prelu", "rnn", "lstm"})
"""Kinds that are layers with weights only."""
_FUSED = {1: "relu", 2: "relu_n1_to_1", 3: "relu6", 4: "tanh", 5: "sign_bit"}
_WORDS = {"LOGISTIC": "sigmoid", "HARD_SWISH": "hard_silu"}
_STRIDES = {"CONV_3D": (6, 10, 8), "CONV_3D_TRANSPOSE": (6, 10, 8)}
"""Where the strides stand in the options, first that of the first axis; else the width's stands before the height's."""


def graph_of(model: Table, weights: Places, layer_of: Callable[[str], str]) -> Graph:
    """Return the layers of the operators of all subgraphs; the bodies of loops and branches come last.

    `weights` are known by the numbers of subgraph and tensor. A layer's name is that of its weights, else what
    `layer_of` makes of the name of its output. The setting "weights" names the weights that an operator takes.
    """
    codes = [max(code.number(4, "b"), code.number(10, "i")) for code in model.tables(6)]
    made = _Graph(weights, layer_of)
    for place, subgraph in enumerate(model.tables(8)):
        made.add(place, subgraph, codes)
    layers = list(made.layers.values())
    return Graph(layers, is_execution_order=not made.inner, channels="last", is_sequential=made.whole and in_line(layers))


class _Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]


class _Graph:
    """The layers that are found so far."""

    __slots__ = ("_layer_of", "_owners", "_weights", "inner", "layers", "whole")

    def __init__(self, weights: Places, layer_of: Callable[[str], str]) -> None:
        self.layers: dict[str, Layer] = {}
        self.inner = False
        self.whole = True
        self._weights = dict(weights)
        self._layer_of = layer_of
        self._owners: dict[str, str] = {}

    def add(self, place: int, subgraph: Table, codes: Sequence[int]) -> None:
        """Put down the layers of one subgraph."""
        tensors = [_Tensor(table.text(10), table.numbers(4, "i")) for table in subgraph.tables(4)]
        sources: dict[int, tuple[str, ...]] = {}
        for operator in subgraph.tables(10):
            number, inputs, outputs = operator.number(4, "I"), operator.numbers(6, "i"), operator.numbers(8, "i")
            after = tuple(dict.fromkeys(layer for index in inputs for layer in sources.get(index, ())))
            count = len(self.layers)
            layer = self._layer(place, operator, codes[number] if number < len(codes) else -1, tensors, after)
            self.whole &= place == 0 and len(self.layers) > count
            for index in outputs:
                sources[index] = after if layer is None else (layer.name,)
            for index in inputs if layer is None else ():  # a weight that is only passed on is still that weight
                weight = self._weights.get((place, index))
                if weight is not None and len(outputs) == 1:
                    self._weights[place, outputs[0]] = weight

    def _layer(self, place: int, operator: Table, code: int, tensors: Sequence[_Tensor], after: tuple[str, ...]) -> Layer | None:
        known = OPERATORS.get(code)
        inputs = operator.numbers(6, "i")
        taken = [weight for index in inputs if (weight := self._weights.get((place, index))) is not None]
        if known is None or (known.kind in _ALWAYS and not taken):
            return None
        self.inner = self.inner or bool(place and taken)
        if taken and taken[0].name in self._owners:
            return self.layers[self._owners[taken[0].name]]
        shapes = [tensors[index].shape for index in inputs if 0 <= index < len(tensors) and (place, index) not in self._weights]
        outputs = [tensors[index] for index in operator.numbers(8, "i") if 0 <= index < len(tensors)]
        kind = "other" if taken and known.kind not in _ALWAYS else known.kind
        layer = Layer("", kind, known.name, _settings(known, operator, taken), inputs=after)
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


def _shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the shape of the first tensor without its batch; one that only tells a shape has a single axis."""
    first = next((shape for shape in shapes if len(shape) > 1), None)
    return None if first is None else first[1:]


def _last(taken: Sequence[Weight]) -> int:
    """Return the length of the last axis of a kernel, at least 1."""
    return max((1, *taken[0].shape[-1:]))


def _settings(known: Operator, operator: Table, taken: Sequence[Weight]) -> dict[str, Any]:
    options = operator.table(12)
    said: dict[str, Any] = {}
    if known.kind == "activation":
        said["activation"] = _activation(known, options)
        if known.name == "LEAKY_RELU":
            said["negative_slope"] = _real(options, 4)
    if options is None:
        return said
    if known.fused and (word := _FUSED.get(options.number(known.fused, "b"))):
        said["activation"] = word
    if known.kind == "lstm":
        said["recurrent_activation"] = "sigmoid"
    if known.steps:
        said |= _steps(known, options)
    if known.name == "DEPTHWISE_CONV_2D" and taken:
        said["groups"] = _last(taken) // max(options.number(10, "i"), 1)
    return said


def _activation(known: Operator, options: Table | None) -> str:
    if known.name == "GELU" and options is not None and options.number(4, "B"):
        return "gelu_tanh"
    return _WORDS.get(known.name, known.name.lower())


def _real(options: Table | None, slot: int) -> float:
    place = options.place(slot, 4) if options is not None else 0
    if options is None or not place:
        return 0.0
    import struct

    number: float = struct.unpack("<f", options.data.read(place, 4))[0]
    return float(f"{number:.7g}")


def _steps(known: Operator, options: Table) -> dict[str, Any]:
    strides = tuple(options.number(slot, "i") for slot in _STRIDES.get(known.name, (8, 6)))
    said: dict[str, Any] = {"padding": "valid" if options.number(known.steps, "b") else "same", "strides": strides}
    if known.dilation and len(strides) == 2:
        said["dilation"] = tuple(options.number(slot, "i", 1) for slot in (known.dilation + 2, known.dilation))
    if known.dilation and len(strides) == 3:
        said["dilation"] = tuple(options.number(known.dilation + shift, "i", 1) for shift in (0, 4, 2))
    return said
