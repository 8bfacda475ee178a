"""Parts of stored matrices, and the fields of bits in their words, for weights that are made of packed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.core.readers import ByColumns

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight

_WORD = 32


def rows(weight: Weight, first: int, last: int) -> Array:
    """Read the rows [first, last) of a weight, which keep its other axes.

    >>> import numpy as np
    >>> from steelyard.core.readers import from_array
    >>> rows(from_array("w", np.arange(6).reshape(3, 2)), 1, 2).tolist()
    [[2, 3]]
    """
    width = weight.size // max(weight.shape[0], 1)
    return weight.read(first * width, last * width).reshape(last - first, *weight.shape[1:])


def transposed(weight: Weight) -> Weight:
    """Return a stored matrix with its axes exchanged, so that `rows` reads its columns; bands of them are kept for the next.

    >>> import numpy as np
    >>> from steelyard.core.readers import from_array
    >>> rows(transposed(from_array("w", np.arange(6).reshape(3, 2))), 1, 2).tolist()
    [[1, 3, 5]]
    """
    shape = weight.shape[::-1]
    return weight.replace(shape=shape, read=ByColumns(weight.read, shape))


def fields(words: Array, bits: int) -> Array:
    """Return the unsigned fields of `bits` bits in each row of words of 32 bits, which is one stream, the lowest bits first.

    A field may begin in one word and end in the next. Bits that are left at the end of a row are no field.

    >>> import numpy as np
    >>> fields(np.array([[0x76543210]], np.uint32), 4).tolist()
    [[0, 1, 2, 3, 4, 5, 6, 7]]
    >>> int(fields(np.array([[1 << 30, 1]], np.uint32), 3)[0, 10])
    5
    """
    import numpy as np

    stream = np.ascontiguousarray(words).astype("<i4" if words.dtype.kind == "i" else "<u4", copy=False)
    if bits in (1, 2, 4, 8):
        return low_first(stream.view(np.uint8), bits)
    begin = np.arange(stream.shape[-1] * _WORD // bits) * bits
    padded = np.concatenate([stream.view("<u4"), np.zeros((*stream.shape[:-1], 1), "<u4")], axis=-1).astype(np.uint64)
    pairs = padded[..., :-1] | padded[..., 1:] << np.uint64(_WORD)
    shifted = pairs[..., begin // _WORD] >> (begin % _WORD).astype(np.uint64)
    return (shifted & np.uint64((1 << bits) - 1)).astype(np.uint8 if bits <= 8 else np.uint32)


def low_first(stored: Array, bits: int) -> Array:
    """Return the unsigned fields of 1, 2, 4 or 8 bits in the bytes of the last axis, the lowest bits of a byte first."""
    return _of_bytes(stored, bits, [*range(0, 8, bits)])


def high_first(stored: Array, bits: int) -> Array:
    """Return the unsigned fields of 1, 2, 4 or 8 bits in the bytes of the last axis, the highest bits of a byte first."""
    return _of_bytes(stored, bits, [*range(8 - bits, -1, -bits)])


def _of_bytes(stored: Array, bits: int, shifts: list[int]) -> Array:
    import numpy as np

    data = stored.view(np.uint8)
    if bits == 8:
        return data
    unpacked = np.empty((*data.shape, len(shifts)), np.uint8)
    for place, shift in enumerate(shifts):
        np.right_shift(data, shift, out=unpacked[..., place])
    unpacked &= np.uint8((1 << bits) - 1)
    return unpacked.reshape(*data.shape[:-1], data.shape[-1] * len(shifts))


def repeated(values: Array, axis: int, group: int, length: int) -> Array:
    """Repeat each value along an axis for the `group` numbers that it is for, up to a length, which the last group may end.

    >>> import numpy as np
    >>> repeated(np.array([[1, 2]]), 1, 2, 3).tolist()
    [[1, 1, 2]]
    """
    import numpy as np

    full = np.repeat(values, group, axis)
    return full[(slice(None),) * axis + (slice(length),)]


E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""The numbers of float4 E2M1 by their four bits."""


def powers_of_two(exponents: Array) -> Array:
    """Return the scales of E8M0 bytes in float32: 2^(byte - 127), NaN for 255."""
    import numpy as np
    from ml_dtypes import float8_e8m0fnu

    scales: Array = exponents.view(np.uint8).view(float8_e8m0fnu).astype(np.float32)
    return scales
