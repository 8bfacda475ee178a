"""Unpack numbers of a few bits and scale them, for the block decoders.

Every function takes one block a row. Sums and products are taken in the order in which GGML's own Python code takes
them, so that results are equal to the last bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.weight import Array


def unpack(data: Array, bits: int, run: int) -> Array:
    """Unpack bytes into numbers of `bits` bits: the lowest bits of `run` bytes, then the next bits of the same bytes.

    >>> import numpy as np
    >>> unpack(np.array([[0x21, 0x43]], np.uint8), 4, 2).tolist()
    [[1, 3, 2, 4]]
    """
    import numpy as np

    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    return ((data.reshape(len(data), -1, 1, run) >> shifts) & np.uint8((1 << bits) - 1)).reshape(len(data), -1)


def halves(data: Array) -> Array:
    """Read float16 numbers as float32."""
    import numpy as np

    return np.ascontiguousarray(data).view("<f2").astype(np.float32)


def viewed(data: Array, dtype: str) -> Array:
    """Read bytes as numbers of the type `dtype`, as NumPy spells it."""
    import numpy as np

    return np.ascontiguousarray(data).view(dtype)


def scaled(scales: Array, numbers: Array, offsets: Array | None = None) -> Array:
    """Multiply each group of a block by its scale, and subtract its offset."""
    import numpy as np

    groups = numbers.astype(np.float32).reshape(*scales.shape, -1) * scales[..., None]
    if offsets is not None:
        groups = groups - offsets[..., None]
    return groups.reshape(len(numbers), -1)


def centred(values: Array, zero: int) -> Array:
    """Subtract the zero point from unsigned numbers."""
    import numpy as np

    return values.astype(np.int16) - np.int16(zero)
