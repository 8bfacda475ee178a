"""The roles and axes of tensors, by the operators that take them, directly or through operators that pass them on."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TYPE_CHECKING

from steelyard.core.weight import Role

if TYPE_CHECKING:
    from steelyard.formats.onnx.messages import GraphProto, NodeProto

    Fact = tuple[Role, str, str]
    """The role and the axes of a tensor, and the label of the operator that takes it."""

_SPATIAL = {0: "", 1: "k", 2: "kh kw", 3: "kd kh kw"}
_CONV = {1: (Role.KERNEL, "out in *"), 2: (Role.BIAS, "out")}
_QUANTISED = (Role.OTHER, "")
"""The scale or zero point of a quantised tensor, which is not a weight of a layer, whatever its name."""
_NORM = {1: (Role.SCALE, "channel"), 2: (Role.OFFSET, "channel")}


def _recurrent(gates: str) -> dict[int, tuple[Role, str]]:
    """W, R and B of a recurrent operator; B holds the biases of the input (i), then those of the hidden state (h)."""
    packed = f"[{gates}]*out" if gates else "out"
    return {
        1: (Role.KERNEL, f"dir {packed} in"),
        2: (Role.RECURRENT_KERNEL, f"dir {packed} in"),
        3: (Role.BIAS, f"dir [ih]*{packed}"),
    }


OPERATORS: dict[str, dict[int, tuple[Role, str]]] = {
    "BatchNormalization": {**_NORM, 3: (Role.MEAN, "channel"), 4: (Role.VARIANCE, "channel")},
    "Conv": _CONV,
    "ConvInteger": {1: _CONV[1]},
    "ConvTranspose": {1: (Role.KERNEL, "in out *"), 2: (Role.BIAS, "out")},
    "DeformConv": {1: _CONV[1], 3: _CONV[2]},
    "FusedConv": _CONV,
    "DequantizeLinear": {1: _QUANTISED, 2: _QUANTISED},
    "GRU": _recurrent("zrn"),
    "Gather": {0: (Role.EMBEDDING, "vocab out")},
    "Gemm": {1: (Role.KERNEL, "in out"), 2: (Role.BIAS, "out")},
    "GroupNormalization": _NORM,
    "InstanceNormalization": _NORM,
    "LSTM": _recurrent("iofg") | {7: (Role.OTHER, "dir [iof]*out")},
    "LayerNormalization": _NORM,
    "MatMul": {0: (Role.KERNEL, "out in"), 1: (Role.KERNEL, "in out")},
    "MatMulInteger": {1: (Role.KERNEL, "in out")},
    "PRelu": {1: (Role.OTHER, "channel")},
    "QLinearConv": dict.fromkeys((1, 2, 4, 5, 6, 7), _QUANTISED) | {3: _CONV[1], 8: _CONV[2]},
    "QLinearMatMul": dict.fromkeys((1, 2, 4, 5, 6, 7), _QUANTISED) | {3: (Role.KERNEL, "in out")},
    "QuantizeLinear": {1: _QUANTISED, 2: _QUANTISED},
    "RMSNormalization": {1: _NORM[1]},
    "RNN": _recurrent(""),
    "SimplifiedLayerNormalization": {1: _NORM[1]},
    "SkipLayerNormalization": {2: _NORM[1], 3: _NORM[2], 4: (Role.BIAS, "out")},
}
"""The operators with weights, and the inputs of each that are weights."""

_PASSING = ("Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Transpose")
_BIASED = ("Conv", "ConvTranspose", "FusedConv", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul")
_FOLLOWED = 32
"""Uses of one tensor that are considered."""


class Uses:
    """The operators that use each tensor of a model's graphs, and the roles that follow."""

    __slots__ = ("_facts", "_makers", "_nodes")

    def __init__(self, graphs: Iterable[tuple[str, GraphProto, bool]]) -> None:
        self._nodes: dict[str, list[tuple[str, NodeProto, int]]] = {}
        self._makers: dict[str, str] = {}
        self._facts: dict[tuple[str, str, int], Fact | None] = {}
        for path, graph, _ in graphs:
            for node in graph.nodes:
                for place, name in enumerate(node.inputs):
                    self._nodes.setdefault(name, []).append((path, node, place))
                self._makers.update(dict.fromkeys(node.outputs, node.op))

    @property
    def names(self) -> Container[str]:
        """The names of all tensors that a node takes."""
        return self._nodes.keys()

    def fact(self, path: str, name: str, ndim: int) -> Fact | None:
        """Return role, axes and label of the tensor `name` of the graph at `path`, which inner graphs may use too."""
        if name not in self._nodes:  # as most are not in a file of many
            return None
        key = (path, name, ndim)
        if key not in self._facts:
            self._facts[key] = None  # ends a cycle of operators that pass the tensor on
            self._facts[key] = self._found(path, name, ndim)
        return self._facts[key]

    def _found(self, path: str, name: str, ndim: int) -> Fact | None:
        near = [(node, place) for inner, node, place in self._nodes.get(name, ())[:_FOLLOWED] if inner.startswith(path)]
        for node, place in near:
            if known := self._direct(node, place, ndim):
                return known
        for node, place in near:
            if place == 0 and node.op in _PASSING and node.outputs:
                known = self.fact(path, node.outputs[0], ndim)
                if known:
                    return known if node.op != "Transpose" else _untransposed(known, node, ndim)
        return None

    def _direct(self, node: NodeProto, place: int, ndim: int) -> Fact | None:
        label = node.name
        if node.op == "Add" and any(self._makers.get(name) in _BIASED for name in node.inputs):
            return Role.BIAS, "out" if ndim == 1 else "", label
        role, axes = OPERATORS.get(node.op, {}).get(place, (None, ""))
        if role is None or (node.op == "Gather" and _number(node, "axis")):
            return None
        if node.op == "Gemm" and place == 1 and _number(node, "transB"):
            axes = "out in"
        if node.op == "PRelu" and ndim > 1:
            axes += " 1" * (ndim - 1)
        axes = axes.replace("*", _SPATIAL.get(ndim - 2, "")) if axes.endswith("*") else axes
        return role, axes if len(axes.split()) == ndim else "", label


def _number(node: NodeProto, attribute: str) -> int:
    value = node.attributes.get(attribute)
    return (value.number or 0) if value else 0


def _untransposed(known: Fact, node: NodeProto, ndim: int) -> Fact:
    """Return the axes before a Transpose."""
    role, axes, label = known
    words = axes.split()
    order = node.attributes["perm"].ints if "perm" in node.attributes else list(range(ndim))[::-1]
    if sorted(order) != list(range(len(words))):
        return role, "", label
    return role, " ".join(words[order.index(axis)] for axis in range(ndim)), label
