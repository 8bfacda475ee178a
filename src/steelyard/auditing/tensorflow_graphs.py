"""TensorFlow's graphs: SavedModels, frozen graphs and meta graphs, by the names of their operators; and Keras' metadata.

SavedModel    1 saved_model_schema_version, 2 meta_graphs
MetaGraphDef  2 graph_def, 6 asset_file_def (2 filename), 7 object_graph_def
GraphDef      1 node, 2 library (1 function)
FunctionDef   1 signature (1 name), 3 node_def
NodeDef       1 name, 2 op, 5 attr (1 key, 2 value: 2 bytes)
object graph  1 nodes: 4 user_object (3 metadata: JSON of Keras)
keras_metadata.pb  1 nodes: 5 metadata (JSON)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.archives import leaves
from steelyard.auditing.findings import AuditFinding, Inside, Place
from steelyard.auditing.keras_names import SAVED_METADATA
from steelyard.auditing.tensorflow_ops import rule_of_op
from steelyard.codecs import limits
from steelyard.codecs.protobuf import BYTES, VARINT, Field, message
from steelyard.errors import FormatError, printable, quoted
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from steelyard.storage.source import Source

_TEXT_OP = re.compile(rb'\bop:\s*"([\w>]+)"')
_METADATA = "keras_metadata.pb"
_SAVING = re.compile(r"save|restore", re.IGNORECASE)


def recognises(source: Source) -> bool:
    """Recognise a graph by its name: protocol buffers have no magic number."""
    name = _file_name(source)
    return name.endswith((".pb", ".pbtxt", ".meta", ".graphdef")) and name != "fingerprint.pb" and not source.is_folder


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Name operators that reach out, and look into the configs of Keras. Raises `FormatError` for a damaged SavedModel."""
    name = _file_name(source)
    if name.endswith("txt"):
        text = source.read(0, min(source.size, limits.JSON))
        ops = [("save", op.decode(), "") for op in _TEXT_OP.findall(text)]
        yield from _judged(ops, place)
    elif name == _METADATA:
        yield from _configs(_contents(message(source), 1, 5), source, place)
    elif name == "saved_model.pb":
        yield from _saved_model(source, place)
    else:
        try:
            yield from _judged(_any_nodes(source, name), place)
        except FormatError:
            return  # not a graph: the suffix has other uses


def _file_name(source: Source) -> str:
    return source.name.replace("\\", "/").rpartition("/")[2].rpartition(":")[2].lower()


def _saved_model(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    for model in _inside(message(source), 2):
        yield from _judged(_of_meta_graph(model.message()), place)
        for field in model.message():
            if field.number == 6:
                yield from _assets(field, place)
            elif field.number == 7:
                objects = _inside(_inside_of(field.message(), 1), 4)
                yield from _configs((each for made in objects for each in _inside(made.message(), 3)), source, place)


def _any_nodes(source: Source, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield the nodes of a graph, a meta graph or a SavedModel, as the first fields show."""
    first = next(message(source), None)
    if first is not None and first.number == 1 and first.wire == VARINT:
        for model in _inside(message(source), 2):
            yield from _of_meta_graph(model.message())
    elif name.endswith(".meta"):
        yield from _of_meta_graph(message(source))
    else:
        yield from _of_graph(message(source))


def _of_meta_graph(fields: Iterable[Field]) -> Iterator[tuple[str, str, str]]:
    for graph in _inside(fields, 2):
        yield from _of_graph(graph.message())


def _of_graph(fields: Iterable[Field]) -> Iterator[tuple[str, str, str]]:
    """Yield what owns each node, its operator, and its texts."""
    for field in fields:
        if field.number == 1 and field.wire == BYTES:
            yield _node(field, "")
        elif field.number == 2 and field.wire == BYTES:
            for function in _inside(field.message(), 1):
                yield from _of_function(function)


def _of_function(function: Field) -> Iterator[tuple[str, str, str]]:
    name = "".join(each.text() for each in _inside(_inside_of(function.message(), 1), 1))
    for node in _inside(function.message(), 3):
        yield _node(node, name)


def _node(field: Field, owner: str) -> tuple[str, str, str]:
    name = op = target = ""
    for inner in field.message():
        if inner.number == 1:
            name = inner.text()
        elif inner.number == 2:
            op = inner.text()
        elif inner.number == 5 and op in ("PrintV2", "ImmutableConst"):
            pair = [*inner.message()]
            key = next((each.text() for each in pair if each.number == 1), "")
            value = next((each for each in pair if each.number == 2), None)
            if key == "output_stream" and value:
                target = "".join(each.text() for each in value.message() if each.number == 2)
    return f"{owner}/{name}", op, target


def _judged(nodes: Iterable[tuple[str, str, str]], place: Place) -> Iterator[AuditFinding]:
    known: set[tuple[str, str]] = set()
    for owner, op, target in nodes:
        rule = rule_of_op(op, "save" if _SAVING.search(owner) else owner)
        rule = "tf-outside" if op == "PrintV2" and target.startswith("file:") else rule
        if rule and (rule, op) not in known and len(known) < limits.FINDINGS:
            known.add((rule, op))
            where = printable(owner.strip("/"), 200)
            yield AuditFinding(rule, str(place), f"has the operator {printable(op)}, as {where}{_WORDS[rule]}")


_WORDS = {
    "tf-python": ": it calls a function of Python, by its number",
    "tf-outside": ": it reaches files or the network",
    "tf-custom-op": ": an operator of a library, which has to be loaded",
}


def _assets(field: Field, place: Place) -> Iterator[AuditFinding]:
    for name in _inside(field.message(), 2):
        if leaves(name.text()):
            yield AuditFinding("path-traversal", str(place), f"names the asset {quoted(name.text(), 200)}, outside its folder")


def _configs(held: Iterable[Field], source: Source, place: Place) -> Iterator[Inside]:
    for field in held:
        content = field.data(limits.JSON)
        if content[:1] == b"{" and b"class_name" in content:
            yield Inside(from_bytes(content, SAVED_METADATA, within=source), Place("Keras' metadata", place))


def _contents(fields: Iterable[Field], outer: int, inner: int) -> Iterator[Field]:
    for field in _inside(fields, outer):
        yield from _inside(field.message(), inner)


def _inside(fields: Iterable[Field], number: int) -> Iterator[Field]:
    return (field for field in fields if field.number == number and field.wire == BYTES)


def _inside_of(fields: Iterable[Field], number: int) -> Iterator[Field]:
    """Yield the fields of all messages with a number."""
    for field in _inside(fields, number):
        yield from field.message()
