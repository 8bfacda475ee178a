"""Tensors that TensorFlow keeps in slices: their extents, their keys, and readers that join them."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.core.readers import by_rows
from steelyard.dtypes import numpy_dtype
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.protobuf import Field
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

Extent = tuple[int, int]


# TensorShapeProto: 2 dim, repeated (1 size); 3 unknown_rank
def shape_of(fields: Iterator[Field]) -> tuple[tuple[int, ...], str]:
    """Return a shape, and what is wrong with it."""
    shape, wrong = [], ""
    for field in fields:
        if field.number == 2:
            shape.append(next((inner.signed() for inner in field.message() if inner.number == 1), 0))
        elif field.number == 3 and field.unsigned():
            wrong = "has an unknown number of axes"
    return tuple(shape), wrong


# TensorSliceProto: 1 extent, repeated (1 start, 2 length)
def extents_of(field: Field) -> tuple[Extent, ...]:
    """Return start and length of a slice along each axis; the length -1 is the whole axis."""
    return tuple(_extent(inner.message()) for inner in field.message() if inner.number == 1)


def _extent(fields: Iterator[Field]) -> Extent:
    values = {1: 0, 2: -1}
    values |= {field.number: field.signed() for field in fields if field.number in values}
    return values[1], values[2]


def box_of(extents: tuple[Extent, ...], shape: tuple[int, ...]) -> list[Extent] | None:
    """Return start and length of a slice along each axis; None where it does not fit the shape."""
    if len(extents) != len(shape):
        return None
    box = [(start, size if length == -1 else length) for (start, length), size in zip(extents, shape, strict=True)]
    fits = all(start >= 0 and length >= 0 and start + length <= size for (start, length), size in zip(box, shape, strict=True))
    return box if fits else None


def joined(source: Source, name: str, shape: tuple[int, ...], dtype: str, slices: list[tuple[list[Extent], Reader]]) -> Reader:
    """Return a reader of a tensor in slices, which reads from each the rows that it needs.

    Raises `FormatError` unless the slices cover the shape exactly once.
    """
    if sum(prod(n for _, n in box) for box, _ in slices) != prod(shape) or _overlap([box for box, _ in slices]):
        raise FormatError(source.name, f"the slices of {printable(name)} do not cover its shape exactly once")
    return by_rows(shape, lambda first, last: _rows(slices, (shape, dtype), first, last))


def _overlap(boxes: list[list[Extent]]) -> bool:
    """Whether two slices hold the same element."""
    return any(
        all(a < b + m and b < a + n for (a, n), (b, m) in zip(one, other, strict=True))
        for place, one in enumerate(boxes)
        for other in boxes[:place]
    )


def _rows(slices: list[tuple[list[Extent], Reader]], whole: tuple[tuple[int, ...], str], first: int, last: int) -> Array:
    import numpy as np

    (shape, dtype) = whole
    block = np.empty((last - first, *shape[1:]), numpy_dtype(dtype))
    for box, read in slices:
        (begin, count), rest = box[0], box[1:]
        low, high = max(first, begin), min(last, begin + count)
        if low < high:
            width = prod(n for _, n in rest)
            run = read((low - begin) * width, (high - begin) * width).reshape(high - low, *(n for _, n in rest))
            block[(slice(low - first, high - first), *(slice(start, start + n) for start, n in rest))] = run
    return block


# Key of a slice, in TensorFlow's OrderedCode, whose bytes sort as the values do
# 0 as a number   0x00
# name            0x00 becomes 0x00 0xFF, 0xFF becomes 0xFF 0x00; ends with 0x00 0x01
# number of axes  one byte for the length, then as many bytes, big-endian
# extents         start and length along each axis, see `_ordered`
def slice_key(name: bytes, extents: tuple[Extent, ...]) -> bytes:
    """Return the key of a slice of the tensor `name`."""
    text = name.replace(b"\xff", b"\xff\x00").replace(b"\x00", b"\x00\xff") if b"\0" in name or b"\xff" in name else name
    numbers = b"".join(_ordered(number) for extent in extents for number in extent)
    count = len(extents).to_bytes((len(extents).bit_length() + 7) // 8, "big")
    return b"\0" + text + b"\0\1" + bytes([len(count)]) + count + numbers


def _ordered(number: int) -> bytes:
    """Encode a signed number, big-endian: as many leading ones as it has bytes (inverted for negative numbers)."""
    length = (number if number >= 0 else ~number).bit_length() // 7 + 1
    if length > 8:
        raise ValueError(number)
    mask = (0xFF00 >> length & 0xFF) << 8 * (length - 1)
    return ((number & ((1 << 8 * length) - 1)) ^ mask).to_bytes(length, "big")
