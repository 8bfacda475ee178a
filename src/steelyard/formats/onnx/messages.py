"""ONNX's messages as plain records: a model, its graphs, their nodes and tensors; numbers stay where they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.protobuf import BYTES, Field, message
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.storage.source import Source


RAW, FLOATS, INTS, LONGS, DOUBLES, UNSIGNED = 9, 4, 5, 7, 10, 11
"""The numbers of the fields in which a tensor may keep its elements."""


class Run:
    """Elements of a repeated field, from the first tag at `begin` to `end`: one packed run, or single ones.

    `number` is the field's own; `field` that of a tensor which holds such elements.
    """

    __slots__ = ("begin", "end", "field", "number", "offset", "packed")

    def __init__(self, field: Field) -> None:
        self.field = self.number = field.number
        self.packed = field.wire == BYTES
        self.begin = field.begin
        self.offset = field.offset
        self.end = field.offset + field.length

    def takes(self, field: Field) -> bool:
        """Go on over the next single element, if it is one and lies there."""
        fits = not self.packed and field.wire != BYTES and field.number == self.number and field.begin == self.end
        if fits:
            self.end = field.offset + field.length
        return fits


class Tensor:
    """A TensorProto: its name, type and shape, and where its elements are."""

    __slots__ = ("begin", "dims", "external", "kind", "name", "runs", "strings")

    def __init__(self) -> None:
        self.name = ""
        self.kind = 0
        self.dims: list[int] = []
        self.runs: list[Run] = []
        self.external: dict[str, str] | None = None
        self.strings = False
        self.begin = 0


class Attribute:
    """An AttributeProto, as far as weights may lie in it."""

    __slots__ = ("graphs", "ints", "name", "number", "real", "runs", "sparse", "tensors", "text", "texts")

    def __init__(self) -> None:
        self.name = ""
        self.number: int | None = None
        self.real: float | None = None
        self.text = ""
        self.texts: list[str] = []
        self.ints: list[int] = []
        self.runs: list[Run] = []
        self.tensors: list[Tensor] = []
        self.sparse: list[Sparse] = []
        self.graphs: list[Graph] = []


class Node:
    """A NodeProto: what it does, to what, and how."""

    __slots__ = ("attributes", "domain", "inputs", "name", "op", "outputs")

    def __init__(self) -> None:
        self.name = self.op = self.domain = ""
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.attributes: dict[str, Attribute] = {}

    def label(self) -> str:
        """Return a name for the node: its own, or that of what it makes."""
        return self.name or next(filter(None, self.outputs), self.op)


class Sparse:
    """A SparseTensorProto: the elements that are not zero, where they stand, and the whole's shape."""

    __slots__ = ("dims", "indices", "values")

    def __init__(self) -> None:
        self.values, self.indices = Tensor(), Tensor()
        self.dims: list[int] = []


class Graph:
    """A GraphProto, or the body of a function."""

    __slots__ = ("initializers", "name", "nodes", "sparse")

    def __init__(self) -> None:
        self.name = ""
        self.nodes: list[Node] = []
        self.initializers: list[Tensor] = []
        self.sparse: list[Sparse] = []


class Model:
    """A ModelProto: `meta` is what it says of itself."""

    __slots__ = ("functions", "graph", "meta", "training")

    def __init__(self) -> None:
        self.graph = Graph()
        self.functions: list[Graph] = []
        self.training: list[Graph] = []
        self.meta: dict[str, Any] = {"opset": {}, "metadata": {}}


def model(source: Source) -> Model:
    """Walk a model. Raises `FormatError` where it does not follow the wire format, or has no graph."""
    return _Decoder(source).model()


class _Decoder:
    """The walk through one model; it counts what it meets, since two bytes of a file may make a node."""

    __slots__ = ("left", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.left = {"nodes": limits.OBJECTS, "attributes": limits.OBJECTS, "tensors": limits.OBJECTS}

    def count(self, what: str, field: Field) -> None:
        self.left[what] -= 1
        if self.left[what] < 0:
            raise field.error(f"is one of more than {limits.OBJECTS:,} {what}")

    def model(self) -> Model:
        found, graphs = Model(), 0
        for field in message(self.source):
            number = field.number
            if number == 7:
                self.graph(field, found.graph)  # a graph that comes in two parts is one, as protocol buffers merge it
                graphs += 1
            elif number == 25:
                found.functions.append(self.function(field))
            elif number == 20:
                found.training += [self.graph(part, Graph()) for part in field.message() if part.number in (1, 2)]
            else:
                _tell(found.meta, field)
        if not graphs:
            raise FormatError(self.source.name, "is an ONNX model without a graph")
        return found

    def graph(self, field: Field, found: Graph) -> Graph:
        for part in field.message():
            if part.number == 1:
                found.nodes.append(self.node(part))
            elif part.number == 2:
                found.name = part.text()
            elif part.number == 5:
                found.initializers.append(self.tensor(part))
            elif part.number == 15:
                found.sparse.append(self.sparse(part))
        return found

    def function(self, field: Field) -> Graph:
        found = Graph()
        for part in field.message():
            if part.number == 1:
                found.name = part.text()
            elif part.number == 7:
                found.nodes.append(self.node(part))
        return found

    def node(self, field: Field) -> Node:
        self.count("nodes", field)
        found = Node()
        for part in field.message():
            if part.number == 1:
                found.inputs.append(part.text())
            elif part.number == 2:
                found.outputs.append(part.text())
            elif part.number == 3:
                found.name = part.text()
            elif part.number == 4:
                found.op = part.text()
            elif part.number == 7:
                found.domain = part.text()
            elif part.number == 5:
                attribute = self.attribute(part)
                found.attributes[attribute.name] = attribute
        return found

    def attribute(self, field: Field) -> Attribute:
        self.count("attributes", field)
        found = Attribute()
        for part in field.message():
            number = part.number
            if number in (1, 4, 9):
                _tell_text(found, part)
            elif number in (5, 10):
                found.tensors.append(self.tensor(part))
            elif number in (6, 11):
                found.graphs.append(self.graph(part, Graph()))
            elif number in (2, 3, 7, 8):
                _extend(found.runs, part)
                _tell_number(found, part)
            elif number in (22, 23):
                found.sparse.append(self.sparse(part))
        return found

    def sparse(self, field: Field) -> Sparse:
        found = Sparse()
        for part in field.message():
            if part.number == 1:
                found.values = self.tensor(part)
            elif part.number == 2:
                found.indices = self.tensor(part)
            elif part.number == 3:
                found.dims += part.integers()
        return found

    def tensor(self, field: Field) -> Tensor:
        self.count("tensors", field)
        found, entries, external = Tensor(), {}, False
        found.begin = field.offset
        for part in field.message():
            number = part.number
            if number == 1:
                found.dims += part.integers()
            elif number == 2:
                found.kind = part.signed()
            elif number == 6:
                found.strings = True
            elif number == 8:
                found.name = part.text()
            elif number in (RAW, FLOATS, INTS, LONGS, DOUBLES, UNSIGNED):
                _extend(found.runs, part)
            elif number == 13:
                key, value = _entry(part)
                entries[key] = value
            elif number == 14:
                external = part.unsigned() == 1
        found.external = entries if external else None
        return found


def _tell_text(found: Attribute, field: Field) -> None:
    """Keep the name of an attribute, or a text of it that may be a word."""
    if field.number == 1:
        found.name = field.text()
    elif field.length < 100 and field.number == 4:
        found.text = field.text()
    elif field.length < 100 and len(found.texts) < 100:
        found.texts.append(field.text())


def _tell_number(found: Attribute, field: Field) -> None:
    if field.number == 2:
        found.real = field.real()
    elif field.number == 3:
        found.number = field.signed()
    elif field.number == 8 and len(found.ints) < 1000:
        found.ints += field.integers(1 << 30)


def _extend(runs: list[Run], field: Field) -> None:
    if not (runs and runs[-1].takes(field)):
        runs.append(Run(field))


def _entry(field: Field) -> tuple[str, str]:
    """Return the key and the value of a StringStringEntryProto."""
    texts = {part.number: part.text(1 << 16) for part in field.message() if part.number in (1, 2)}
    return texts.get(1, ""), texts.get(2, "")


def _tell(meta: dict[str, Any], field: Field) -> None:
    """Put down what a field of the model says of it."""
    if field.number in _WORDS:
        key, word = _WORDS[field.number]
        meta[key] = word(field)
    elif field.number == 8:
        parts = {part.number: part for part in field.message()}
        domain = parts[1].text() if 1 in parts else ""
        meta["opset"][domain or "ai.onnx"] = parts[2].signed() if 2 in parts else 0
    elif field.number == 14:
        key, value = _entry(field)
        meta["metadata"][key] = value


_WORDS: dict[int, tuple[str, Callable[[Field], Any]]] = {
    1: ("ir_version", Field.signed),
    2: ("producer", Field.text),
    3: ("producer_version", Field.text),
    4: ("domain", Field.text),
    5: ("model_version", Field.signed),
    6: ("description", Field.text),
}


def every_graph(found: Model) -> Iterator[tuple[str, Graph, bool]]:
    """Yield the path of each graph, itself, and whether it is a part of training only; the inner ones after the outer."""
    todo = [(f"training.{place}", graph, True) for place, graph in enumerate(found.training)]
    todo += [(function.name, function, False) for function in found.functions]
    todo = [*reversed(todo), ("", found.graph, False)]
    while todo:
        path, graph, training = todo.pop()
        yield path, graph, training
        todo += reversed([(inner, body, training) for inner, body in _bodies(path, graph.nodes)])


def _bodies(path: str, nodes: Iterable[Node]) -> Iterator[tuple[str, Graph]]:
    for node in nodes:
        for attribute in node.attributes.values():
            for place, body in enumerate(attribute.graphs):
                number = f".{place}" if place else ""
                yield f"{path}/{node.label()}.{attribute.name}{number}", body
