"""Signed integers of one to five bytes (LEB128): seven bits a byte, the low ones first; the last byte has its high bit clear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.dtypes import numpy_dtype
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.storage.source import Source

_STEP = 1 << 22
"""bytes that are decoded at a time"""
_WIDEST = 5
"""bytes of an integer of 32 bits"""


def decoded(source: Source, dtype: str) -> Array:
    """Return all integers of a source, of at most 32 bits. Raises `FormatError` for one that does not fit or is cut off.

    >>> from steelyard.storage.source import from_bytes
    >>> decoded(from_bytes(bytes([2, 0x7F, 0xC0, 0xBB, 0x78])), "int32").tolist()
    [2, -1, -123456]
    """
    import numpy as np

    runs, at = [np.empty(0, numpy_dtype(dtype))], 0
    while at < source.size:
        data = np.frombuffer(source.read(at, min(_STEP, source.size - at)), "u1")
        ends = np.flatnonzero(data < 128)
        if not len(ends):
            raise FormatError(source.name, "ends within an integer, or has one of too many bytes", at)
        runs.append(_integers(source, data, ends, dtype))
        at += int(ends[-1]) + 1
    return np.concatenate(runs)


def _integers(source: Source, data: Array, ends: Array, dtype: str) -> Array:
    import numpy as np

    widths = np.diff(ends, prepend=-1)
    if widths.max() > _WIDEST:
        raise FormatError(source.name, f"has an integer of {widths.max():,} bytes")
    values = np.zeros(len(ends), np.int64)
    for place in range(int(widths.max())):
        has = widths > place
        bits = data[(ends - widths + 1 + place)[has]].astype(np.int64) & 127
        values[has] |= bits << (7 * place)
    values -= np.where(data[ends] & 64, np.int64(1) << (7 * widths), 0)
    made = values.astype(numpy_dtype(dtype))
    if not np.array_equal(made, values):
        raise FormatError(source.name, f"has an integer that does not fit into {dtype}")
    return made
