"""The tensors of a model that are listed: initializers, constants, and the attributes of nodes, by the names of their weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from steelyard.core.weight import Role
from steelyard.errors import FormatError, quoted
from steelyard.formats.onnx.messages import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, every_graph
from steelyard.formats.onnx.tensor_records import FLOATS, LONGS, TensorProto
from steelyard.formats.onnx.tensors import count, count_integers

if TYPE_CHECKING:
    from steelyard.storage.source import Source

_ML = "ai.onnx.ml"
_LINEAR = ("LinearClassifier", "LinearRegressor")
_SUPPORT = ("SVMClassifier", "SVMRegressor")
_ROLES = {"coefficients": Role.KERNEL, "intercepts": Role.BIAS, "rho": Role.BIAS, "offset": Role.OFFSET, "scale": Role.SCALE}


class ListedTensor:
    """A tensor that is listed as `name`; `own` is its name in its graph, whose path is `path`.

    `kind` is "weight", "constant" (a node's output, which may be a weight) or "attribute" (listed in scope "all" only).
    `role` is set where the tensor's own node determines it.
    """

    __slots__ = ("axes", "kind", "name", "own", "path", "role", "tensor")

    def __init__(
        self, name: str, tensor: TensorProto | SparseTensorProto, kind: str, role: Role | None = None, axes: str = ""
    ) -> None:
        self.name = self.own = name
        self.path = ""
        self.tensor = tensor
        self.kind = kind
        self.role = role
        self.axes = axes

    @property
    def values(self) -> TensorProto:
        """The tensor with the stored elements."""
        return self.tensor.values if isinstance(self.tensor, SparseTensorProto) else self.tensor


def listed_of(decoded: ModelProto, source: Source) -> dict[str, ListedTensor]:
    """Return every tensor by the name of its weight."""
    others = others_of(decoded, source)
    return {tensor.name: ListedTensor(tensor.name, tensor, "weight") for tensor in decoded.graph.initializers} | others


def others_of(decoded: ModelProto, source: Source) -> dict[str, ListedTensor]:
    """Return every tensor but the initializers of the outermost graph, which precede them, by the name of its weight."""
    first = decoded.graph.initializers
    paths, others, seen = dict.fromkeys(first.names, ""), dict[str, ListedTensor](), set[str]()
    for name in first.names if len(paths) < len(first.names) else ():
        if name in seen:
            raise _ambiguous(source, name)
        seen.add(name)
    for path, graph, training in every_graph(decoded):
        held = () if graph is decoded.graph else (ListedTensor(each.name, each, "weight") for each in graph.initializers)
        for entry in chain(held, _tensors(graph, source)):
            entry.path = path
            # the graphs of training hold gradients and optimizer state
            entry.kind = "attribute" if training else entry.kind
            if paths.get(entry.name, path) != path:
                entry.name = f"{path}/{entry.name}"
            if entry.name in paths:
                raise _ambiguous(source, entry.name)
            paths[entry.name], others[entry.name] = path, entry
    return others


def _ambiguous(source: Source, name: str) -> FormatError:
    return FormatError(source.name, f"duplicate tensor name {quoted(name)}; the model is ambiguous")


def _tensors(graph: GraphProto, source: Source) -> Iterator[ListedTensor]:
    for sparse in graph.sparse:
        yield ListedTensor(sparse.values.name, sparse, "weight")
    for node in graph.nodes:
        if node.domain == _ML:
            yield from _linear(node)
        for attribute in node.attributes.values():
            yield from _constants(node, attribute, source)


def _constants(node: NodeProto, attribute: AttributeProto, source: Source) -> Iterator[ListedTensor]:
    """List the tensors of an attribute; the value of a Constant has the name of the node's output."""
    constant = node.op == "Constant" and node.domain in ("", "ai.onnx") and bool(node.outputs)
    name, kind = (node.outputs[0], "constant") if constant else (f"{node.label()}.{attribute.name}", "attribute")
    if constant and attribute.name in ("value_float", "value_floats", "value_int", "value_ints") and attribute.elements:
        yield ListedTensor(name, _from_numbers(attribute, source), kind)
    held: list[TensorProto | SparseTensorProto] = [*attribute.tensors, *attribute.sparse]
    for place, tensor in enumerate(held):
        yield ListedTensor(f"{name}.{place}" if len(held) > 1 else name, tensor, kind)


def _from_numbers(attribute: AttributeProto, source: Source) -> TensorProto:
    """Make a tensor of an attribute with one number or a list of numbers."""
    tensor = TensorProto()
    tensor.name, tensor.elements = attribute.name, attribute.elements
    # fields of AttributeProto: 2 f, 7 floats; 3 i, 8 ints
    real = attribute.elements[0].number in (2, 7)
    tensor.kind = 1 if real else 7
    for run in tensor.elements:
        run.field = FLOATS if real else LONGS
    if attribute.name.endswith("s"):
        tensor.dims = [sum(map(count, tensor.elements)) if real else count_integers(tensor.elements, source)]
    return tensor


def _linear(node: NodeProto) -> Iterator[ListedTensor]:
    """List the weights of a linear model, a support vector machine or a scaler, with one row for each output."""
    if node.op not in (*_LINEAR, *_SUPPORT, "Scaler"):
        return
    # the coefficients of a curved kernel multiply support vectors, not inputs
    curved = node.op in _SUPPORT and _text(node, "kernel_type") not in ("", "LINEAR")
    held = {name: _floats(node.attributes[name]) for name in _ROLES if _has_floats(node, name)}
    rows = held["intercepts"].dims[0] if "intercepts" in held else _rows(node)
    for name, tensor in held.items():
        if name == "coefficients" and node.op in _LINEAR and rows and tensor.dims[0] % rows == 0:
            tensor.dims = [rows, tensor.dims[0] // rows]
        axes = "out in" if len(tensor.dims) == 2 else "out" if name == "intercepts" else ""
        kind = "attribute" if curved or node.op == "Scaler" else "weight"
        yield ListedTensor(f"{node.label()}.{name}", tensor, kind, Role.OTHER if curved else _ROLES[name], axes)


def _has_floats(node: NodeProto, name: str) -> bool:
    return name in node.attributes and bool(node.attributes[name].elements) and node.attributes[name].elements[0].number == 7


def _floats(attribute: AttributeProto) -> TensorProto:
    tensor = TensorProto()
    tensor.name, tensor.elements, tensor.kind = attribute.name, attribute.elements, 1
    for run in tensor.elements:
        run.field = FLOATS
    tensor.dims = [sum(map(count, tensor.elements))]
    return tensor


def _rows(node: NodeProto) -> int:
    targets = node.attributes.get("targets")
    return (targets.number or 0) if targets else 1


def _text(node: NodeProto, name: str) -> str:
    return node.attributes[name].text if name in node.attributes else ""
