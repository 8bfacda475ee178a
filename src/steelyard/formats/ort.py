"""ONNX Runtime: the initializers of a model that it has prepared (`.ort`), by their names.

    InferenceSession   6 model
    Model              10 producer, 18 graph
    Graph              4 initializers, 8 nodes
    Tensor             4 name, 8 length of each axis, 10 type of numbers as in ONNX, 12 numbers as bytes, 14 texts
    Node               14 operator, 20 inputs, 24 attributes {4: name, 12: integer}

Source: `ort.fbs` of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.flatbuffers import Table, root
from steelyard.codecs.limits import is_possible
from steelyard.core.roles import layer_of
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, is_floating, itemsize
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

    Meaning = tuple[Role, str]

SUFFIXES = (".ort",)

_MARK = b"ORTM"
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}
_TYPES |= {11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16"}
_TYPES |= {17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz"}
_DENSE: Mapping[int, Meaning] = {1: (Role.KERNEL, "in out"), 2: (Role.BIAS, "out")}
_OPERATORS: Mapping[str, Mapping[int, Meaning]] = {
    "MatMul": _DENSE,
    "Gemm": _DENSE,
    "FusedGemm": _DENSE,
    "Conv": {1: (Role.KERNEL, "out in kh kw"), 2: (Role.BIAS, "out")},
    "FusedConv": {1: (Role.KERNEL, "out in kh kw"), 2: (Role.BIAS, "out")},
    "ConvTranspose": {1: (Role.KERNEL, "in out kh kw"), 2: (Role.BIAS, "out")},
    "Gather": {0: (Role.EMBEDDING, "vocab out")},
}


def sniff(source: Source) -> bool:
    """Recognise the identifier of a prepared model."""
    return source.size > 32 and source.head(8)[4:] == _MARK


def read(source: Source, scope: Scope) -> Weights:
    """List the initializers in the order of the file; integers that no known operator takes only with scope "all"."""
    model = root(source).table(6)
    graph = model.table(18) if model else None
    if model is None or graph is None:
        raise FormatError(source.name, "is a file of ONNX Runtime without a graph")
    meanings = dict(_meanings(graph))
    listed: dict[str, Weight] = {}
    for tensor in graph.tables(4):
        weight = _weight(source, tensor, meanings)
        if weight.name in listed:
            raise FormatError(source.name, f"has two initializers of the name {printable(weight.name)}; the file is ambiguous")
        listed[weight.name] = weight
    is_all = scope == "all"
    kept = [w for w in listed.values() if is_all or w.role is not Role.OTHER or is_floating(w.dtype) or w.unreadable]
    producer = model.text(10)
    return Weights(kept, meta={"producer": producer} if producer else {})


def _weight(source: Source, tensor: Table, meanings: Mapping[str, Meaning]) -> Weight:
    name, shape, kind = tensor.text(4), tensor.numbers(8, "q"), tensor.number(10, "i")
    dtype = _TYPES.get(kind, UNKNOWN)
    start, length = tensor.vector(12, 1)
    if dtype == UNKNOWN or not is_possible(shape):
        why = f"is of the type {kind} and the shape {list(shape)}, which is not one of numbers"
    elif length != prod(shape) * itemsize(dtype):
        why = f"has the shape {list(shape)} of {dtype}, but {length:,} bytes are stored"
    else:
        role, axes = meanings.get(name, (Role.OTHER, ""))
        fits = len(axes.split()) == len(shape)
        read = source.numbers(start, dtype)
        return Weight(name=name, shape=shape, dtype=dtype, read=read, role=role, axes=axes if fits else "", layer=layer_of(name))
    refused = Refused(FormatError(source.name, f"{printable(name)} {why}", tensor.at))
    return Weight(name=name, shape=(), dtype=UNKNOWN, read=refused, layer=layer_of(name))


def _meanings(graph: Table) -> Iterator[tuple[str, Meaning]]:
    """Yield the names of what the known operators take, and what it is."""
    for node in graph.tables(8):
        known = _OPERATORS.get(node.text(14), {})
        if not known:
            continue
        turned = any(attribute.text(4) == "transB" and attribute.number(12, "q") for attribute in node.tables(24))
        for place, name in enumerate(node.texts(20)):
            if place in known:
                role, axes = known[place]
                yield name, (role, "out in" if turned and axes == "in out" else axes)
