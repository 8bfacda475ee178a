"""A tensor of PaddlePaddle.

    u32 0         version
    u64           levels of lengths of sequences, of which weights have none; for each: u64 bytes, and the lengths
    u32 0         version of the tensor
    i32           bytes of the description
    TensorDesc    1 type of numbers, 2 length of each axis
    numbers       row-major, little-endian

Source: `SerializeToStream` of `lod_tensor.cc` and `tensor_util.cc`.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.protobuf import message
from steelyard.core.weight import Weight
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, SteelyardError, cut_off, printable

if TYPE_CHECKING:
    from steelyard.storage.source import Source

TYPES = {0: "bool", 1: "int16", 2: "int32", 3: "int64", 4: "float16", 5: "float32", 6: "float64", 20: "uint8", 21: "int8"}
TYPES |= {22: "bfloat16", 23: "complex64", 24: "complex128", 32: "float8_e4m3fn", 33: "float8_e5m2"}
_LEVELS = 16
_LONGEST = 1024
"""bytes of a description, which has at most 64 axes"""


def begins_tensor(source: Source) -> bool:
    """Whether a source begins with a tensor whose numbers are all there."""
    head = source.head(16)
    if len(head) < 16 or any(head[:4]) or any(head[5:12]):
        return False
    try:
        tensor_at(source, 0)
    except SteelyardError as error:
        return "ends at byte" in str(error) or "cut off" in str(error)
    return True


def tensor_at(source: Source, at: int) -> tuple[Weight, int]:
    """Return the tensor at an offset, without a name, and the offset behind it. Raises `FormatError` for anything else."""
    begin = at
    if source.read(at, 4) != bytes(4):
        raise FormatError(source.name, "is no tensor of PaddlePaddle, or of a version that is not known", at)
    levels = int.from_bytes(source.read(at + 4, 8), "little")
    at += 12
    if levels > _LEVELS:
        raise FormatError(source.name, f"has a tensor of {levels:,} levels of lengths (damaged?)", begin)
    for _ in range(levels):
        at += 8 + int.from_bytes(source.read(at, 8), "little")
    if source.read(at, 4) != bytes(4):
        raise FormatError(source.name, "has a tensor of a version that is not known", at)
    length = int.from_bytes(source.read(at + 4, 4), "little")
    if not 2 <= length <= _LONGEST:
        raise FormatError(source.name, f"has a description of {length:,} bytes (damaged?)", at)
    dtype, shape = _described(source, at + 8, at + 8 + length)
    start = at + 8 + length
    end = start + prod(shape) * itemsize(dtype)
    if end > source.size:
        raise cut_off(source.name, source.size, end)
    return Weight(name="", shape=shape, dtype=dtype, read=source.numbers(start, dtype)), end


def _described(source: Source, begin: int, end: int) -> tuple[str, tuple[int, ...]]:
    source.read(end - 1, 1)  # the whole description must be there
    kind, dims = -1, list[int]()
    for field in message(source, begin, end):
        if field.number == 1:
            kind = field.unsigned()
        elif field.number == 2:
            dims += field.integers()
    if kind not in TYPES or not limits.is_possible(dims):
        what = f"has a tensor of the type {kind} and the shape {printable(dims)}, which is not known or not possible"
        raise FormatError(source.name, what, begin)
    return TYPES[kind], tuple(dims)
