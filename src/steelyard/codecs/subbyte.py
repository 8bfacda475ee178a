"""Numbers of less than a byte, which are packed in files. In memory, each takes a byte.

2 bits   4 numbers a byte, the first in the lowest bits
4 bits   2 numbers a byte, the first in the low nibble
6 bits   4 numbers in 3 bytes, little-endian, the first in the lowest bits
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.dtypes import itemsize, numpy_dtype

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

BITS = {"uint2": 2, "int2": 2, "uint4": 4, "int4": 4, "float4_e2m1fn": 4, "float6_e2m3fn": 6, "float6_e3m2fn": 6}
"""The types of less than a byte, and their bits."""

_GROUPS = {2: (4, 1), 4: (2, 1), 6: (4, 3)}
"""By the number of bits, the numbers and the bytes of a group."""


def bytes_of(count: int, dtype: str) -> int:
    """Return the bytes of `count` packed numbers.

    >>> bytes_of(3, "int4"), bytes_of(3, "float32")
    (2, 12)
    """
    return -(-count * BITS.get(dtype, itemsize(dtype) * 8) // 8)


def decoded(raw: Source, dtype: str) -> Reader:
    """Return a reader of the numbers in a source, packed or not."""
    bits = BITS.get(dtype)
    if bits is None:
        return raw.numbers(0, dtype)
    count, width = _GROUPS[bits]

    def read(start: int, stop: int) -> Array:
        import numpy as np

        first, last = start // count, -(-stop // count)
        data = raw.read(first * width, min(last * width, raw.size) - first * width)
        block = np.frombuffer(data.ljust((last - first) * width, b"\0"), np.uint8).reshape(-1, width)
        words = (block.astype(np.uint32) << np.arange(0, 8 * width, 8, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
        fields = words[:, None] >> np.arange(0, bits * count, bits, dtype=np.uint32) & np.uint32((1 << bits) - 1)
        run = fields.astype(np.uint8).reshape(-1)[start - first * count : stop - first * count]
        return _typed(run, dtype, bits)

    return read


def _typed(values: Array, dtype: str, bits: int) -> Array:
    """Return unpacked numbers, one a byte, in their type."""
    import numpy as np

    if dtype.startswith("float"):
        return values.view(numpy_dtype(dtype))
    if dtype.startswith("int"):
        sign = np.int8(1 << (bits - 1))
        return ((values.view(np.int8) ^ sign) - sign).astype(numpy_dtype(dtype))
    return values.astype(numpy_dtype(dtype))


def packed_bytes(values: Array, dtype: str) -> bytes:
    """Pack numbers of less than a byte: the inverse of `decoded`."""
    import numpy as np

    bits = BITS[dtype]
    count, width = _GROUPS[bits]
    small = (values.view(np.uint8) if dtype.startswith("float") else values.astype(np.int8).view(np.uint8)).reshape(-1)
    filled = np.pad(small & np.uint8((1 << bits) - 1), (0, -len(small) % count)).reshape(-1, count).astype(np.uint32)
    words = (filled << np.arange(0, bits * count, bits, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
    block = (words[:, None] >> np.arange(0, 8 * width, 8, dtype=np.uint32)).astype(np.uint8)
    return bytes(block.reshape(-1)[: bytes_of(len(small), dtype)])
