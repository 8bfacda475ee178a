"""Replaces the numbers of an ONNX model's tensors in the fields and the files that hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs.original import copied
from steelyard.codecs.protobuf import BYTES, FIXED32, VARINT, Replacement, packed, tag, varint
from steelyard.codecs.subbyte import BITS, packed_bytes
from steelyard.core.readers import raw_chunks
from steelyard.formats.onnx.tensor_records import DOUBLES, FLOATS, RAW, Elements, TensorProto
from steelyard.formats.onnx.tensors import KINDS, stored_bytes, widened

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source


def replacements(tensor: TensorProto, weight: Weight) -> Iterator[Replacement]:
    """Yield the changes that give `tensor` the numbers of `weight`, which has the same shape and dtype."""
    raw = [run for run in tensor.elements if run.field == RAW]
    if raw:
        yield _whole(raw[-1], stored_bytes(tensor, weight.dtype), weight)
        return
    field = KINDS[tensor.kind][2]
    runs = [run for run in tensor.elements if run.field == field]
    for place, run in enumerate(runs):
        if place:
            yield Replacement(run.begin, run.end, 0, lambda: ())
        elif field in (FLOATS, DOUBLES):
            yield _whole(run, weight.nbytes, weight)
        else:
            yield _varints(run, weight)


def _whole(run: Elements, size: int, weight: Weight) -> Replacement:
    """Replace the elements by one packed run of `size` bytes."""
    alone = run.number == 2  # `f` of an AttributeProto, a single float
    head = tag(run.number, FIXED32) if alone else tag(run.number, BYTES) + varint(size)

    def chunks() -> Iterator[bytes | memoryview]:
        yield head
        yield from stored_chunks(weight)

    return Replacement(run.begin, run.end, len(head) + size, chunks)


def _varints(run: Elements, weight: Weight) -> Replacement:
    data = packed(widened(weight))
    alone = run.number == 3  # `i` of an AttributeProto, a single integer
    field = tag(run.number, VARINT) + data if alone else tag(run.number, BYTES) + varint(len(data)) + data
    return Replacement(run.begin, run.end, len(field), lambda: (field,))


def stored_chunks(weight: Weight) -> Iterator[bytes | memoryview]:
    """Yield the elements as a file stores them: little-endian, those of less than a byte packed."""
    if weight.dtype not in BITS:
        yield from (bytes(chunk) for chunk in raw_chunks(weight))
        return
    for block in weight.blocks():
        yield packed_bytes(block, weight.dtype)


def spliced(source: Source, weights: dict[tuple[int, int], Weight]) -> Iterator[bytes | memoryview]:
    """Yield a file with new numbers in the ranges (offset, length) that are the keys of `weights`."""
    at = 0
    for (offset, length), weight in sorted(weights.items(), key=lambda item: item[0]):
        yield from copied(source, at, offset)
        yield from stored_chunks(weight)
        at = offset + length
    yield from copied(source, at, source.size)
