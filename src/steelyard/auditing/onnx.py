"""ONNX and ORT: operators that are not ONNX's own, operators that run Python, and data outside the model's folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from steelyard.auditing.archives import leaves
from steelyard.auditing.findings import AuditFinding, Inside, Place
from steelyard.auditing.names import words
from steelyard.codecs.protobuf import BYTES, Field, message
from steelyard.errors import SteelyardError, UnsafeFileError, printable

if TYPE_CHECKING:
    from steelyard.codecs.flatbuffers import Table
    from steelyard.codecs.protobuf import Take
    from steelyard.storage.source import Source

_ORT = b"ORTM"
_INITIALIZER = 0x2A
"""The tag of an initializer in a graph."""
_FILE = b"location"
"""A word that each tensor has whose elements are in another file."""
_FIRST = tuple(bytes([byte]) for byte in (0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72, 0xA2, 0xCA, 0xD2))
"""The first bytes of a model: tags of its fields with one byte, or the first byte of a longer tag."""
_PYTHON = re.compile(
    r"Py(?:thon)?(?:Custom|Func|Script)?Op(?:Grad)?(?:_\w+)?|PyFunc\w*|Python\w*|\w*(?:Shell|Subprocess|Popen)\w*"
)
_OWN = frozenset(("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "ai.onnx.preview"))
_KNOWN = words(
    """
    com.microsoft com.microsoft.nchwc com.microsoft.experimental com.microsoft.dml com.ms.internal.nhwc
    com.microsoft.extensions ai.onnx.contrib ai.onnx.converters.sklearn org.pytorch.aten org.pytorch.torchvision
    org.openvinotoolkit com.nvidia trt.plugins onnx.brevitas qonnx.custom_op.general qonnx com.amd.quark com.qti.aisw
    ai.onnxruntime com.intel mmdeploy mmcv mlx pkg.onnxscript.torch_lib pkg.onnxscript.torch_lib.common pkg.torch
    """
)
_REMOTE = re.compile(r"(?:Azure|OpenAI)\w+")
"""Operators of onnxruntime-extensions that send data to an address."""
_PATHS = frozenset(("ep_cache_context", "model_uri", "library", "library_path", "dll", "filename", "file", "path", "url"))


def recognises(source: Source) -> bool:
    """Recognise the fields of a model of ONNX, or the identifier of ORT."""
    head = source.head(8)
    if head[4:] == _ORT:
        return True
    if head[:1] not in _FIRST or not (source.is_file or ".onnx" in source.name):
        return False
    from steelyard.formats.onnx import sniff

    return sniff(source)


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Name operators and files, each once."""
    is_ort = source.head(8)[4:] == _ORT
    local, found = set[str](), dict[tuple[str, str], None]()
    for rule, what in _of_ort(source) if is_ort else _of_model(source, local):
        found[rule, what] = None
    for rule, what in found:
        yield AuditFinding(rule, str(place), what)


# ModelProto: 7 graph, 20 training_info (1 initialization, 2 algorithm), 25 functions (7 node, 10 domain)
def _of_model(source: Source, local: set[str]) -> Iterator[tuple[str, str]]:
    """Walk through a model without recursion; its functions define the operators of their domains."""
    pending: list[tuple[str, Field]] = []
    silent = _INITIALIZER, _past_silent()
    leads_out = cache(lambda location: _leads_out(source, location))  # thousands of tensors may be in one file
    for field in message(source):
        if field.wire == BYTES and field.number in (7, 20, 25):
            pending.append(({7: "graph", 20: "training", 25: "function"}[field.number], field))
        if field.number == 25:
            local.update(inner.text() for inner in field.message() if inner.number == 10)
    while pending:
        kind, field = pending.pop()
        if kind == "node":
            yield from _of_node(field, local)
        inside = []
        for inner in field.message(alike=silent if kind == "graph" else None):
            word = _INSIDE[kind].get(inner.number)
            if word == "tensor":  # at once: a graph may have many, which the last page that was read holds
                if inner.mentions(_FILE):
                    yield from _of_tensor(inner, leads_out)
            elif word:
                inside.append((word, inner))
        pending += reversed(inside)


def _past_silent() -> Take:
    """Return what passes over initializers on a page that names no file: a graph may have hundreds of thousands."""
    searched, names_file = b"", True

    def after(page: bytes, _base: int, place: int, end: int) -> int:
        nonlocal searched, names_file
        if page is not searched:
            searched, names_file = page, _FILE in page
        while not names_file and place + 2 < end and page[place] == _INITIALIZER:
            begin, length = place + 2, page[place + 1]
            if length > 0x7F:
                begin, length = place + 3, length + (page[place + 2] - 1 << 7)
            if begin + length > end:  # it ends on another page, as all do whose length has three bytes
                break
            place = begin + length
        return place

    return after


# GraphProto: 1 node, 5 initializer, 15 sparse_initializer     NodeProto: 5 attribute
# AttributeProto: 5 t, 6 g, 10 tensors, 11 graphs, 22 sparse_tensor, 23 sparse_tensors
_INSIDE: dict[str, dict[int, str]] = {
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}


# NodeProto: 4 op_type, 5 attribute (1 name, 4 s), 7 domain
def _of_node(field: Field, local: set[str]) -> Iterator[tuple[str, str]]:
    op = domain = ""
    settings: list[tuple[str, str]] = []
    for inner in field.message():
        if inner.number == 4:
            op = inner.text()
        elif inner.number == 7:
            domain = inner.text()
        elif inner.number == 5:
            texts = {each.number: each for each in inner.message() if each.number in (1, 4)}
            if len(texts) == 2 and texts[4].length < 4096:
                settings.append((texts[1].text(), texts[4].text()))
    yield from _judged(op, domain, settings, local)


def _judged(op: str, domain: str, settings: list[tuple[str, str]], local: set[str]) -> Iterator[tuple[str, str]]:
    shown = printable(f"{domain or 'ai.onnx'}::{op}", 200)
    if _PYTHON.fullmatch(op) and domain not in _OWN:
        yield "onnx-python", f"has the operator {shown}, which runs Python, a program or a library"
    elif _REMOTE.fullmatch(op) and domain not in _OWN:
        yield "onnx-outside", f"has the operator {shown}, which sends data to an address"
    elif domain in _KNOWN - {"com.microsoft", "com.microsoft.nchwc"}:
        yield "onnx-known-domain", f"has operators of the library {printable(domain)}"
    elif domain not in _OWN and domain not in _KNOWN and domain not in local:
        yield "onnx-custom-domain", f"has the operator {shown}, which only a library of its own can run"
    for key, value in settings:
        is_path = key in _PATHS and (leaves(value) or value.endswith((".so", ".dll", ".dylib")))
        if domain not in _OWN and (is_path or re.match(r"[a-z][a-z0-9+.-]+://", value)):
            yield "onnx-outside", f"names {printable(value, 200)} as {printable(key)} of the operator {shown}"


# TensorProto: 8 name, 13 external_data, repeated: 1 key, 2 value
def _of_tensor(field: Field, leads_out: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    name = location = ""
    for inner in field.message():
        if inner.number == 8:
            name = inner.text()
        elif inner.number == 13:
            pair = {each.number: each.text() for each in inner.message() if each.number in (1, 2)}
            location = pair.get(2, "") if pair.get(1) == "location" else location
    if location and leads_out(location):
        yield (
            "onnx-outside",
            f"names the file {printable(location, 200)} for the numbers of {printable(name)}, outside its folder",
        )


def _leads_out(source: Source, location: str) -> bool:
    """Whether a location is an address, or outside the folder of the model, be it through a link."""
    if leaves(location) or "://" in location:
        return True
    if source.path is None:
        return False
    try:
        source.beside(location)
    except UnsafeFileError:
        return True
    except SteelyardError:
        return False  # it is missing
    return False


# InferenceSession: 6 model. Model: 18 graph. Graph: 8 nodes. Node: 8 domain, 14 op_type, 24 attributes
# Attribute: 4 name, 12 s (text), 18 g (graph), 28 graphs
def _of_ort(source: Source) -> Iterator[tuple[str, str]]:
    """Walk through the graphs of an ORT model without recursion."""
    from steelyard.codecs.flatbuffers import root

    model = root(source).table(6)
    graph = model.table(18) if model else None
    pending: list[Table] = [graph] if graph else []
    while pending:
        for node in pending.pop().tables(8):
            settings = []
            for attribute in node.tables(24):
                settings.append((attribute.text(4), attribute.text(14)[:4096]))
                inner = attribute.table(18)
                pending += [inner] if inner else []
                pending += attribute.tables(28)
            yield from _judged(node.text(14), node.text(8), settings, set())
