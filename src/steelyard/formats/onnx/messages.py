"""ONNX's messages as plain records: a model, its graphs, their nodes and tensors. Elements stay in the file.

The comment above each function lists the fields of its message that are read, by their numbers in `onnx.proto`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.protobuf import Field, message
from steelyard.errors import FormatError
from steelyard.formats.onnx.initializers import INITIALIZER, Alike, Initializers
from steelyard.formats.onnx.tensor_records import NODE_COST, Elements, TensorProto, extend, pair, small_tensor, tensor_of

if TYPE_CHECKING:
    from steelyard.storage.source import Source


class AttributeProto:
    """An attribute of a node: all values that may be weights or settings."""

    __slots__ = ("elements", "graphs", "ints", "name", "number", "real", "sparse", "tensors", "text", "texts")

    def __init__(self) -> None:
        self.name = ""
        self.number: int | None = None
        self.real: float | None = None
        self.text = ""
        self.texts: list[str] = []
        self.ints: list[int] = []
        self.elements: list[Elements] = []
        self.tensors: list[TensorProto] = []
        self.sparse: list[SparseTensorProto] = []
        self.graphs: list[GraphProto] = []


class NodeProto:
    """A node: its operator, inputs, outputs and attributes."""

    __slots__ = ("attributes", "domain", "inputs", "name", "op", "outputs")

    def __init__(self) -> None:
        self.name = self.op = self.domain = ""
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.attributes: dict[str, AttributeProto] = {}

    def label(self) -> str:
        """Return the name of the node, or of its first output where it has none."""
        return self.name or next(filter(None, self.outputs), self.op)


class SparseTensorProto:
    """A sparse tensor: the elements that are stored, their indices, and the dense shape."""

    __slots__ = ("dims", "indices", "values")

    def __init__(self) -> None:
        self.values, self.indices = TensorProto(), TensorProto()
        self.dims: list[int] = []


class GraphProto:
    """A graph, or the body of a function. `value_info` decodes the others, of which `values` has the outputs too."""

    __slots__ = ("arguments", "initializers", "inputs", "name", "nodes", "outputs", "sparse", "values")

    def __init__(self) -> None:
        self.name = ""
        self.arguments: list[str] = []  # of a function
        self.nodes: list[NodeProto] = []
        self.initializers = Initializers()
        self.sparse: list[SparseTensorProto] = []
        self.inputs: list[Field] = []
        self.outputs: list[Field] = []
        self.values: list[Field] = []


class ModelProto:
    """A model. `facts` has its producer and versions, `opset` the version of each operator set."""

    __slots__ = ("facts", "functions", "graph", "metadata", "opset", "training")

    def __init__(self) -> None:
        self.graph = GraphProto()
        self.functions: list[GraphProto] = []
        self.training: list[GraphProto] = []
        self.facts: dict[str, str | int] = {}
        self.opset: dict[str, int] = {}
        self.metadata: dict[str, str] = {}

    def meta(self) -> dict[str, object]:
        """Return the model's description of itself."""
        return {"opset": self.opset, "metadata": self.metadata, **self.facts}


def model(source: Source) -> ModelProto:
    """Decode a model. Raises `FormatError` if it violates the wire format or has no graph."""
    return _Decoder(source).model()


# ValueInfoProto: 1 name, 2 type
# TypeProto: 1 tensor_type; in that: 2 shape. TensorShapeProto: 1 dim, repeated; in that: 1 its length
def value_info(field: Field) -> tuple[str, tuple[int | None, ...] | None]:
    """Return the name and the shape of a described tensor; an open length is None, as is a shape that is not known."""
    name, dims = "", None
    for inner in field.message():
        if inner.number == 1:
            name = inner.text()
        elif inner.number == 2:
            shapes = [shape for kind in inner.message() if kind.number == 1 for shape in kind.message() if shape.number == 2]
            dims = [_length(dim) for dim in shapes[0].message() if dim.number == 1] if shapes else None
    return name, None if dims is None or len(dims) > limits.RANK else tuple(dims)


def _length(dim: Field) -> int | None:
    length = next((inner.signed() for inner in dim.message() if inner.number == 1), None)
    return None if length is None or length < 0 else length


class _Decoder:
    """Decodes one model, and charges its nodes, attributes and tensors: two bytes of a file are enough for a node."""

    __slots__ = ("alike", "budget", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.budget = Budget(source)
        self.alike = Alike(self.budget)

    # ModelProto
    # 1 ir_version     2 producer_name   3 producer_version   4 domain
    # 5 model_version  6 doc_string      7 graph              8 opset_import, repeated
    # 14 metadata_props, repeated        20 training_info: 1 initialization, 2 algorithm (graphs)
    # 25 functions, repeated
    def model(self) -> ModelProto:
        model, graphs = ModelProto(), 0
        for field in message(self.source):
            number = field.number
            if number == 7:
                self.graph(field, model.graph)  # two graph fields are one graph, as protocol buffers merge them
                graphs += 1
            elif number == 25:
                model.functions.append(self.function(field))
            elif number == 20:
                model.training += [self.graph(inner, GraphProto()) for inner in field.message() if inner.number in (1, 2)]
            else:
                _set_meta(model, field)
        if not graphs:
            raise FormatError(self.source.name, "is an ONNX model without a graph")
        return model

    # GraphProto: 1 node, 5 initializer, 11 input, 12 output, 13 value_info, 15 sparse_initializer, all repeated; 2 name
    def graph(self, field: Field, graph: GraphProto) -> GraphProto:
        for inner in field.message(alike=(INITIALIZER, self.alike.taking(graph.initializers))):
            if inner.number == 1:
                graph.nodes.append(self.node(inner))
            elif inner.number == 2:
                graph.name = inner.text()
            elif inner.number == 5:
                graph.initializers.append(self.tensor(inner))
            elif inner.number == 15:
                graph.sparse.append(self.sparse(inner))
            elif inner.number in (11, 12, 13):
                self.budget.spend(NODE_COST, inner.offset)
                (graph.inputs if inner.number == 11 else graph.values).append(inner)
                graph.outputs += [inner] if inner.number == 12 else []
        return graph

    # FunctionProto: 1 name; 4 input, 7 node, both repeated
    def function(self, field: Field) -> GraphProto:
        self.budget.spend(NODE_COST, field.offset)
        function = GraphProto()
        for inner in field.message():
            if inner.number == 1:
                function.name = inner.text()
            elif inner.number == 4:
                function.arguments.append(inner.text())
            elif inner.number == 7:
                function.nodes.append(self.node(inner))
        return function

    # NodeProto: 1 input, 2 output, 5 attribute, all repeated; 3 name, 4 op_type, 7 domain
    def node(self, field: Field) -> NodeProto:
        self.budget.spend(NODE_COST, field.offset)
        node = NodeProto()
        for inner in field.message():
            if inner.number == 1:
                node.inputs.append(inner.text())
            elif inner.number == 2:
                node.outputs.append(inner.text())
            elif inner.number == 3:
                node.name = inner.text()
            elif inner.number == 4:
                node.op = inner.text()
            elif inner.number == 7:
                node.domain = inner.text()
            elif inner.number == 5:
                attribute = self.attribute(inner)
                node.attributes[attribute.name] = attribute
        return node

    # AttributeProto
    # 1 name   2 f   3 i   4 s   5 t   6 g   22 sparse_tensor
    #          7 floats   8 ints   9 strings   10 tensors   11 graphs   23 sparse_tensors, all repeated
    def attribute(self, field: Field) -> AttributeProto:
        self.budget.spend(NODE_COST, field.offset)
        attribute = AttributeProto()
        for inner in field.message():
            number = inner.number
            if number in (1, 4, 9):
                _set_text(attribute, inner)
            elif number in (5, 10):
                attribute.tensors.append(self.tensor(inner))
            elif number in (6, 11):
                attribute.graphs.append(self.graph(inner, GraphProto()))
            elif number in (2, 3, 7, 8):
                extend(attribute.elements, inner, self.budget)
                _set_number(attribute, inner)
            elif number in (22, 23):
                attribute.sparse.append(self.sparse(inner))
        return attribute

    # SparseTensorProto: 1 values, 2 indices (tensors), 3 dims, repeated
    def sparse(self, field: Field) -> SparseTensorProto:
        sparse = SparseTensorProto()
        for inner in field.message():
            if inner.number == 1:
                sparse.values = self.tensor(inner)
            elif inner.number == 2:
                sparse.indices = self.tensor(inner)
            elif inner.number == 3:
                sparse.dims += inner.integers()
        return sparse

    def tensor(self, field: Field) -> TensorProto:
        self.budget.spend(NODE_COST, field.offset)
        data = field.held()
        if data is not None and (small := small_tensor(data, field.offset)) is not None:
            self.budget.spend(NODE_COST * max(len(small.elements) - 1, 0), field.offset)
            return small
        return tensor_of(field.message(), field.offset, self.budget)


def _set_text(attribute: AttributeProto, field: Field) -> None:
    """Keep the name of an attribute, or a text of it that is short enough to be a setting."""
    if field.number == 1:
        attribute.name = field.text()
    elif field.length < 100 and field.number == 4:
        attribute.text = field.text()
    elif field.length < 100 and len(attribute.texts) < 100:
        attribute.texts.append(field.text())


def _set_number(attribute: AttributeProto, field: Field) -> None:
    if field.number == 2:
        attribute.real = field.real()
    elif field.number == 3:
        attribute.number = field.signed()
    elif field.number == 8 and len(attribute.ints) < 1000:
        attribute.ints += field.integers(1 << 30)


# OperatorSetIdProto: 1 domain, 2 version
def _set_meta(model: ModelProto, field: Field) -> None:
    if field.number in _WORDS:
        key, value = _WORDS[field.number]
        model.facts[key] = value(field)
    elif field.number == 8:
        fields = {inner.number: inner for inner in field.message()}
        domain = fields[1].text() if 1 in fields else ""
        model.opset[domain or "ai.onnx"] = fields[2].signed() if 2 in fields else 0
    elif field.number == 14:
        key, text = pair(field)
        model.metadata[key] = text


_WORDS: dict[int, tuple[str, Callable[[Field], str | int]]] = {
    1: ("ir_version", Field.signed),
    2: ("producer", Field.text),
    3: ("producer_version", Field.text),
    4: ("domain", Field.text),
    5: ("model_version", Field.signed),
    6: ("description", Field.text),
}


def every_graph(model: ModelProto) -> Iterator[tuple[str, GraphProto, bool]]:
    """Yield the path of each graph, the graph, and whether only training uses it; an outer graph before those inside."""
    todo = [(f"training.{place}", graph, True) for place, graph in enumerate(model.training)]
    todo += [(function.name, function, False) for function in model.functions]
    todo = [*reversed(todo), ("", model.graph, False)]
    while todo:
        path, graph, training = todo.pop()
        yield path, graph, training
        todo += reversed([(inner, body, training) for inner, body in _bodies(path, graph.nodes)])


def _names(field: Field) -> Iterator[str]:
    return (inner.text() for inner in field.message() if inner.number == 1)


def undefined_inputs(model: ModelProto) -> list[tuple[str, str]]:
    """Return the inputs of nodes that no graph defines, each with a node that takes it; blank inputs are left out on purpose."""
    defined, wanted = {""}, {}
    if not model.graph.inputs:  # then its own inputs cannot be distinguished from tensors that are missing
        return []
    for _, graph, _ in every_graph(model):
        defined.update(graph.arguments, *map(_names, graph.inputs))
        defined.update(graph.initializers.names, (s.values.name for s in graph.sparse))
        for node in graph.nodes:
            defined.update(node.outputs)
            wanted.update(dict.fromkeys(node.inputs, node))
    return [(name, node.label()) for name, node in wanted.items() if name not in defined]


def _bodies(path: str, nodes: Iterable[NodeProto]) -> Iterator[tuple[str, GraphProto]]:
    for node in nodes:
        for attribute in node.attributes.values():
            for place, body in enumerate(attribute.graphs):
                number = f".{place}" if place else ""
                yield f"{path}/{node.label()}.{attribute.name}{number}", body
