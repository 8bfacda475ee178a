"""Puts quantised initializers into a model: X_quantized, X_scale and X_zero_point, and a DequantizeLinear that makes X of them.

Weights that are written so have the facts of each X in their meta under `QDQ`: the axis of the scales, and how many numbers
along it share one (0 for all of them). The nodes come first, so that the order of nodes stays that of the data.

GraphProto 1 node, 5 initializer, 11 input     NodeProto 1 input, 2 output, 3 name, 4 op_type, 5 attribute
AttributeProto 1 name, 3 i, 20 type            TensorProto 1 dims, 2 data_type, 8 name, 9 raw_data
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.original import copied
from steelyard.codecs.protobuf import BYTES, VARINT, Replacement, message, tag, varint
from steelyard.codecs.subbyte import bytes_of
from steelyard.errors import FormatError, quoted
from steelyard.formats.onnx.tensors import KINDS
from steelyard.formats.onnx.writing import stored_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from steelyard.codecs.protobuf import Field
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

QDQ = "dequantised_by"
"""The key in `meta` with the axis and the block of the scales of each quantised initializer."""
ENDS = ("_quantized", "_scale", "_zero_point")
_KINDS = {dtype: kind for kind, (_, dtype, _) in KINDS.items()}
_LARGEST = 1 << 31
"""bytes of a protocol buffer"""


def places(source: Source) -> tuple[dict[str, tuple[int, int]], tuple[int, int] | None]:
    """Return where the initializers of the outer graph are, without those that are inputs too, and where its first node is."""
    tensors: dict[str, tuple[int, int]] = {}
    first: tuple[int, int] | None = None
    inputs: set[str] = set()
    for field in message(source):
        for inner in field.message() if field.number == 7 else ():
            place = (inner.begin, inner.offset + inner.length)
            if inner.number == 5:
                tensors[_text(inner, 8)] = place
            elif inner.number == 1:
                first = first or place
            elif inner.number == 11:
                inputs.add(_text(inner, 1))
    return {name: place for name, place in tensors.items() if name not in inputs}, first


def _text(field: Field, number: int) -> str:
    return next((inner.text() for inner in field.message() if inner.number == number), "")


def facts_of(weights: Weights) -> Mapping[str, tuple[int, int]]:
    """Return the axis and block of each quantised initializer that these weights have."""
    said = weights.meta.get(QDQ)
    found = {name: (axis, block) for name, (axis, block) in said.items()} if isinstance(said, dict) else {}
    return {name: fact for name, fact in found.items() if f"{name}{ENDS[0]}" in weights and f"{name}{ENDS[1]}" in weights}


def qdq_replacements(weights: Weights, source: Source, path: str) -> list[Replacement]:
    """Return the changes of a model that quantise its initializers. Raises `FormatError` for a model that would be too large."""
    facts = facts_of(weights)
    if not facts:
        return []
    tensors, first = places(source)
    made, nodes, total = [], b"", source.size
    for name, (axis, block) in facts.items():
        if name not in tensors or first is None:
            raise FormatError(path, f"the original model has no initializer called {quoted(name)}")
        parts = [weights[f"{name}{end}"] for end in ENDS if f"{name}{end}" in weights]
        replacement = _in_place(tensors[name], parts)
        made.append(replacement)
        total += replacement.size - (replacement.end - replacement.begin)
        nodes += _field(1, _node(name, [part.name for part in parts], axis, block))
    if total >= _LARGEST:
        raise FormatError(path, f"the model would take {total:,} bytes, more than a protocol buffer can have")
    begin, end = first if first is not None else (0, 0)
    return [*made, Replacement(begin, end, len(nodes) + end - begin, lambda: [nodes, *copied(source, begin, end)])]


def _in_place(place: tuple[int, int], parts: list[Weight]) -> Replacement:
    heads = [_head(part) for part in parts]
    size = sum(len(head) + _size(part) for head, part in zip(heads, parts, strict=True))

    def chunks() -> Iterator[bytes | memoryview]:
        for head, part in zip(heads, parts, strict=True):
            yield head
            yield from stored_chunks(part)

    return Replacement(*place, size, chunks)


def _size(weight: Weight) -> int:
    return bytes_of(weight.size, weight.dtype)


def _head(weight: Weight) -> bytes:
    """Return an initializer up to its raw data."""
    facts = b"".join(tag(1, VARINT) + varint(length) for length in weight.shape)
    facts += tag(2, VARINT) + varint(_KINDS[weight.dtype]) + _field(8, weight.name.encode("utf-8", "surrogatepass"))
    facts += tag(9, BYTES) + varint(_size(weight))
    return tag(5, BYTES) + varint(len(facts) + _size(weight)) + facts


def _node(name: str, inputs: list[str], axis: int, block: int) -> bytes:
    made = b"".join(_field(1, each.encode("utf-8", "surrogatepass")) for each in inputs)
    text = name.encode("utf-8", "surrogatepass")
    made += _field(2, text) + _field(3, text + b"_DequantizeLinear") + _field(4, b"DequantizeLinear")
    made += _field(5, _integer(b"axis", axis))
    return made + (_field(5, _integer(b"block_size", block)) if block else b"")


def _integer(name: bytes, value: int) -> bytes:
    return _field(1, name) + tag(3, VARINT) + varint(value) + tag(20, VARINT) + varint(2)


def _field(number: int, content: bytes) -> bytes:
    return tag(number, BYTES) + varint(len(content)) + content


def without(weights: Weights) -> Weights:
    """Return the weights that are no part of a quantised initializer."""
    parts = {f"{name}{end}" for name in facts_of(weights) for end in ENDS}
    return weights.with_weights(weight for name, weight in weights.items() if name not in parts) if parts else weights
