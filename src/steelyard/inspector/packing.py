"""Packs: JSON with arrays in it, as bytes. A page reads one without copying an array.

    offset              length      content
    0                   4           n, little-endian uint32
    4                   n           the JSON, in ASCII
    (4 + n) up to 8k    each 8m     the arrays, little-endian, each padded with zeros to a multiple of 8 bytes

In the JSON an array is `{"$": [offset, length, kind]}`: the offset in bytes from the first array, the number of elements,
and one of `KINDS`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.text.records import plain

if TYPE_CHECKING:
    from steelyard.core.weight import Array

KINDS = ("i1", "u1", "u2", "i4", "u4", "f4", "f8")
"""NumPy's words for the element types of JavaScript's typed arrays."""
ALIGNMENT = 8  # bytes: a typed array may view only numbers that are aligned to their size


def pack(value: object) -> bytes:
    r"""Return plain Python with arrays anywhere in it as bytes; the same array in two places is stored once.

    Outside of arrays, NaN and Inf become words, since JSON lacks them. Raises `TypeError` for any other element type.

    >>> pack({"a": np.array([1, 2], "u1")})
    b'\x16\x00\x00\x00{"a":{"$":[0,2,"u1"]}}\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00'
    """
    parts: list[bytes] = []
    known: dict[int, tuple[Array, dict[str, Any]]] = {}
    end = 0

    def placed(array: object) -> dict[str, Any]:
        nonlocal end
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{type(array).__name__} cannot be packed")
        if id(array) not in known:
            kind = f"{array.dtype.kind}{array.dtype.itemsize}"
            if kind not in KINDS:
                raise TypeError(f"an array of {array.dtype} cannot be packed")
            data = _padded(array.astype(f"<{kind}", copy=False).tobytes())
            known[id(array)] = array, {"$": [end, array.size, kind]}  # the reference keeps another array from reusing this id
            parts.append(data)
            end += len(data)
        return known[id(array)][1]

    text = json.dumps(plain(value), default=placed, allow_nan=False, separators=(",", ":")).encode()
    return b"".join([_padded(len(text).to_bytes(4, "little") + text), *parts])


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)
