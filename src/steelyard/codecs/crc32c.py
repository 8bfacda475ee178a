"""CRC-32C (Castagnoli), the checksum of TensorFlow and TensorStore, in NumPy: many lanes at once, combined at the end.

A checksum is linear over the data: that of a lane, shifted by the bytes that follow it, is combined by XOR with that of
the rest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.weight import Array

POLYNOMIAL = 0x82F63B78
LANE = 512  # bytes of one lane; the bytes at the same place of all lanes are looked up together


def crc32c(data: bytes | memoryview, crc: int = 0) -> int:
    """Return the checksum of `data`, continued from the checksum `crc` of the data before it.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    >>> crc32c(b"6789", crc32c(b"12345")) == crc32c(b"123456789")
    True
    """
    view = memoryview(data).cast("B")
    crc ^= 0xFFFFFFFF
    whole = len(view) // LANE * LANE
    if whole >= 4 * LANE:
        crc = _lanes(view[:whole], crc)
        view = view[whole:]
    table = _byte_table()
    for byte in view:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


# Mask of a stored checksum: rotated right by 15 bits, plus 0xA282EAD8, modulo 2 ** 32
def unmasked(value: int) -> int:
    """Remove the mask of a checksum. LevelDB and TensorFlow mask checksums that are stored among the data.

    >>> hex(unmasked(0xC78AB0E5))
    '0xe3069283'
    """
    rotated = (value - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


@lru_cache
def _byte_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


@lru_cache
def _word_table() -> Array:
    """Return the table that advances a checksum by two bytes at a time."""
    import numpy as np

    table = np.array(_byte_table(), np.uint32)
    low = np.tile(table, 256)
    words: Array = table[(low & 0xFF) ^ np.repeat(np.arange(256, dtype=np.uint32), 256)] ^ (low >> np.uint32(8))
    return words


def _lanes(view: memoryview, crc: int) -> int:
    """Return the checksum of all lanes, which advance side by side. The first one continues `crc`."""
    import numpy as np

    columns = np.ascontiguousarray(np.frombuffer(view, "<u2").reshape(-1, LANE // 2).T)
    table = _word_table()
    state = np.zeros(columns.shape[1], np.uint32)
    state[0] = crc
    for column in columns:
        state = table[(state ^ column) & 0xFFFF] ^ (state >> np.uint32(16))
    return _combined(state)


def _combined(state: Array) -> int:
    """Combine the checksums of adjacent lanes pairwise: each round doubles the length of a lane."""
    import numpy as np

    length = LANE
    while len(state) > 1:
        head = state[: len(state) % 2]
        odd = bool(len(head))
        # of an odd number the first lane pairs with zeros, which change no checksum that starts at 0
        pairs = np.concatenate((np.zeros(1, np.uint32), state)) if odd else state
        state = _shifted(pairs[0::2], length) ^ pairs[1::2]
        length *= 2
    return int(state[0])


def _shifted(state: Array, length: int) -> Array:
    """Return each checksum after `length` more zero bytes, a power of two."""
    tables = _shift_tables(length)
    shifted: Array = (
        tables[0][state & 0xFF] ^ tables[1][(state >> 8) & 0xFF] ^ tables[2][(state >> 16) & 0xFF] ^ tables[3][state >> 24]
    )
    return shifted


@lru_cache(maxsize=64)
def _shift_tables(length: int) -> list[Array]:
    """Return the tables that advance the four bytes of a checksum by `length` zero bytes."""
    import numpy as np

    if length == 1:
        table = np.array(_byte_table(), np.uint32)
        byte = np.arange(256, dtype=np.uint32)
        return [table, byte, byte << np.uint32(8), byte << np.uint32(16)]
    half = length // 2
    once = _shift_tables(half)
    return [_shifted(table, half) for table in once]
