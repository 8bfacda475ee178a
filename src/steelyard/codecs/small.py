"""Numbers smaller than a byte: several lie in one, the first in its lowest bits; in memory each has a byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.core.dtypes import itemsize, numpy_dtype

if TYPE_CHECKING:
    from steelyard.core.source import Source
    from steelyard.core.weight import Array, Reader

BITS = {"uint4": 4, "int4": 4, "float4_e2m1fn": 4, "uint2": 2, "int2": 2}
"""The bits of the types of which several share a byte."""


def bytes_of(count: int, dtype: str) -> int:
    """Return how many bytes a file keeps for so many numbers.

    >>> bytes_of(3, "int4"), bytes_of(3, "float32")
    (2, 12)
    """
    return -(-count * BITS.get(dtype, itemsize(dtype) * 8) // 8)


def decoded(raw: Source, dtype: str) -> Reader:
    """Return a reader of the numbers that lie in a source, packed or not."""
    bits = BITS.get(dtype)
    if bits is None:
        return raw.numbers(0, dtype)
    per = 8 // bits

    def read(start: int, stop: int) -> Array:
        import numpy as np

        first = start // per
        block = np.frombuffer(raw.read(first, -(-stop // per) - first), np.uint8)
        parts = (block[:, None] >> np.arange(0, 8, bits, dtype=np.uint8)) & np.uint8((1 << bits) - 1)
        return _typed(parts.reshape(-1)[start - first * per : stop - first * per], dtype, bits)

    return read


def _typed(values: Array, dtype: str, bits: int) -> Array:
    """Give numbers of a few bits, each in a byte of its own, their type."""
    import numpy as np

    if dtype.startswith("float"):
        return values.view(numpy_dtype(dtype))
    if dtype.startswith("int"):
        sign = np.int8(1 << (bits - 1))
        return ((values.view(np.int8) ^ sign) - sign).astype(numpy_dtype(dtype))
    return values.astype(numpy_dtype(dtype))


def packed_bytes(values: Array, dtype: str) -> bytes:
    """Return numbers of a few bits in the bytes that a file keeps of them."""
    import numpy as np

    bits = BITS[dtype]
    small = values.view(np.uint8) if dtype.startswith("float") else values.astype(np.int8).view(np.uint8)
    small = np.concatenate([small & np.uint8((1 << bits) - 1), np.zeros(-len(small) % (8 // bits), np.uint8)])
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return bytes(np.bitwise_or.reduce(small.reshape(-1, 8 // bits) << shifts, axis=1).astype(np.uint8))
