"""CRC-32C, the checksum of TensorFlow's files, in NumPy: many lanes at once, joined at the end."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.core.weight import Array

POLYNOMIAL = 0x82F63B78
LANE = 512
"""Bytes of one lane: those of all lanes at one place are looked up together."""


def crc32c(data: bytes | memoryview, crc: int = 0) -> int:
    """Return the checksum of `data`, going on from the checksum `crc` of what came before it.

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


def unmasked(value: int) -> int:
    """Return the checksum that was kept masked, as LevelDB and TensorFlow do, so that it may be part of the data.

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
def _word_table() -> Any:
    """Return what two bytes at once make of a checksum."""
    import numpy as np

    table = np.array(_byte_table(), np.uint32)
    low = np.tile(table, 256)
    return table[(low & 0xFF) ^ np.repeat(np.arange(256, dtype=np.uint32), 256)] ^ (low >> np.uint32(8))


def _lanes(view: memoryview, crc: int) -> int:
    """Run over all lanes side by side, the first one from `crc` on, and join them left to right."""
    import numpy as np

    columns = np.ascontiguousarray(np.frombuffer(view, "<u2").reshape(-1, LANE // 2).T)
    table = _word_table()
    state = np.zeros(columns.shape[1], np.uint32)
    state[0] = crc
    for column in columns:
        state = table[(state ^ column) & 0xFFFF] ^ (state >> np.uint32(16))
    return _joined(state)


def _joined(state: Array) -> int:
    """Join the checksums of lanes pairwise: each round doubles the length of a lane."""
    import numpy as np

    length = LANE
    while len(state) > 1:
        head = state[: len(state) % 2]
        odd = bool(len(head))
        # an odd one out at the front stands for a shorter lane: zeros before it change nothing
        pairs = np.concatenate((np.zeros(1, np.uint32), state)) if odd else state
        state = _shifted(pairs[0::2], length) ^ pairs[1::2]
        length *= 2
    return int(state[0])


def _shifted(state: Array, length: int) -> Array:
    """Return each checksum as it is after `length` more bytes of zero; a power of two."""
    tables = _shift_tables(length)
    shifted: Array = (
        tables[0][state & 0xFF] ^ tables[1][(state >> 8) & 0xFF] ^ tables[2][(state >> 16) & 0xFF] ^ tables[3][state >> 24]
    )
    return shifted


@lru_cache(maxsize=64)
def _shift_tables(length: int) -> Any:
    """Return four tables, one for each byte of a checksum, of what `length` bytes of zero make of it."""
    import numpy as np

    if length == 1:
        table = np.array(_byte_table(), np.uint32)
        byte = np.arange(256, dtype=np.uint32)
        return [table, byte, byte << np.uint32(8), byte << np.uint32(16)]
    half = length // 2
    once = _shift_tables(half)
    return [_shifted(table, half) for table in once]
