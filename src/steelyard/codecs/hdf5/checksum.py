"""The two checksums of HDF5: Jenkins' lookup3 over structures, and Fletcher's over chunks.

lookup3 is "hashlittle" of Bob Jenkins' public-domain lookup3.c (2006), with the initial value 0.
"""

from __future__ import annotations

from struct import Struct

_MASK = 0xFFFFFFFF
_WORDS = Struct("<III")


def lookup3(data: bytes) -> int:
    """Return the checksum of a structure.

    >>> hex(lookup3(b"Four score and seven years ago"))
    '0x17770551'
    """
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    if not data:
        return c
    last = (len(data) - 1) // 12 * 12
    for at in range(0, last, 12):
        x, y, z = _WORDS.unpack_from(data, at)
        a, b, c = _mixed(a + x & _MASK, b + y & _MASK, c + z & _MASK)
    x, y, z = _WORDS.unpack(data[last:].ljust(12, b"\0"))
    return _final(a + x & _MASK, b + y & _MASK, c + z & _MASK)


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    # each step subtracts, mixes in a rotation, and adds; the rotations are those of lookup3.c
    a = ((a - c) ^ (c << 4 | c >> 28)) & _MASK
    c = c + b & _MASK
    b = ((b - a) ^ (a << 6 | a >> 26)) & _MASK
    a = a + c & _MASK
    c = ((c - b) ^ (b << 8 | b >> 24)) & _MASK
    b = b + a & _MASK
    a = ((a - c) ^ (c << 16 | c >> 16)) & _MASK
    c = c + b & _MASK
    b = ((b - a) ^ (a << 19 | a >> 13)) & _MASK
    a = a + c & _MASK
    c = ((c - b) ^ (b << 4 | b >> 28)) & _MASK
    b = b + a & _MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = (c ^ b) - (b << 14 | b >> 18) & _MASK
    a = (a ^ c) - (c << 11 | c >> 21) & _MASK
    b = (b ^ a) - (a << 25 | a >> 7) & _MASK
    c = (c ^ b) - (b << 16 | b >> 16) & _MASK
    a = (a ^ c) - (c << 4 | c >> 28) & _MASK
    b = (b ^ a) - (a << 14 | a >> 18) & _MASK
    return (c ^ b) - (b << 24 | b >> 8) & _MASK


def fletcher32(data: bytes) -> tuple[int, int]:
    """Return the two sums of a chunk's 16-bit words, big-endian ones, each modulo 65,535; an odd last byte is a high one.

    >>> fletcher32(bytes([0, 1, 0, 2]))
    (3, 4)
    """
    import numpy as np

    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2")
    first = second = 0
    for start in range(0, len(words), 1 << 16):
        block = words[start : start + (1 << 16)].astype(np.uint64)
        second += first * len(block) + int((block * np.arange(len(block), 0, -1, dtype=np.uint64)).sum())
        first += int(block.sum())
    return first % 65535, second % 65535
