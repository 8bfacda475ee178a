"""New numbers for the tensors of an ONNX model, in the fields and the files that hold the old ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs.protobuf import BYTES, FIXED32, VARINT, Patch, packed, tag, varint
from steelyard.codecs.subbyte import BITS, packed_bytes
from steelyard.core.readers import raw_chunks
from steelyard.formats.onnx.messages import DOUBLES, FLOATS, RAW, Run, Tensor
from steelyard.formats.onnx.tensors import KINDS, stored_bytes, widened

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source


def patches(tensor: Tensor, weight: Weight) -> Iterator[Patch]:
    """Yield what to change in the model for `tensor` to have the numbers of `weight`, of the same shape and dtype."""
    raw = [run for run in tensor.runs if run.field == RAW]
    if raw:
        yield _whole(raw[-1], stored_bytes(tensor, weight.dtype), weight)
        return
    field = KINDS[tensor.kind][2]
    runs = [run for run in tensor.runs if run.field == field]
    for place, run in enumerate(runs):
        if place:
            yield Patch(run.begin, run.end, 0, lambda: ())
        elif field in (FLOATS, DOUBLES):
            yield _whole(run, weight.nbytes, weight)
        else:
            yield _varints(run, weight)


def _whole(run: Run, size: int, weight: Weight) -> Patch:
    """Put the elements in one packed run, as bytes."""
    alone = run.number == 2  # the attribute that is a single float
    head = tag(run.number, FIXED32) if alone else tag(run.number, BYTES) + varint(size)

    def chunks() -> Iterator[bytes | memoryview]:
        yield head
        yield from stored_chunks(weight)

    return Patch(run.begin, run.end, len(head) + size, chunks)


def _varints(run: Run, weight: Weight) -> Patch:
    data = packed(widened(weight))
    alone = run.number == 3  # the attribute that is a single whole number
    field = tag(run.number, VARINT) + data if alone else tag(run.number, BYTES) + varint(len(data)) + data
    return Patch(run.begin, run.end, len(field), lambda: (field,))


def stored_chunks(weight: Weight) -> Iterator[bytes | memoryview]:
    """Yield the elements as a file keeps them: little-endian, small ones several in a byte."""
    if weight.dtype not in BITS:
        yield from (bytes(chunk) for chunk in raw_chunks(weight))
        return
    for block in weight.blocks():
        yield packed_bytes(block, weight.dtype)


def spliced(source: Source, weights: dict[tuple[int, int], Weight]) -> Iterator[bytes | memoryview]:
    """Yield a file with new numbers in the places (offset, length) that `weights` names; the last one wins."""
    at = 0
    for (offset, length), weight in sorted(weights.items(), key=lambda item: item[0]):
        yield from _copied(source, at, offset)
        yield from stored_chunks(weight)
        at = offset + length
    yield from _copied(source, at, source.size)


def _copied(source: Source, begin: int, end: int) -> Iterator[bytes]:
    for start in range(begin, end, 1 << 20):
        yield source.read(start, min(1 << 20, end - start))
