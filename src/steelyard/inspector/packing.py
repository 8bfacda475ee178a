"""Packing what a page is told into bytes: JSON for what is said, raw numbers for what is drawn.

A pack is the length of the JSON as a little-endian uint32, the JSON in ASCII, zeros up to a multiple of 8, then the
arrays, little-endian, each filled up to a multiple of 8. In the JSON an array is `{"$": [offset, length, kind]}`: bytes from
where the arrays begin, numbers, and one of `KINDS`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.text.records import plain

if TYPE_CHECKING:
    from steelyard.core.weight import Array

KINDS = ("i1", "u1", "u2", "i4", "u4", "f4", "f8")
"""The types that a typed array of a browser may have, as NumPy calls them."""
UNIT = 8
"""Bytes to whose multiple everything is filled up, so that a typed array can lie where its numbers are."""


def pack(value: Any) -> bytes:
    r"""Return plain Python, in which arrays may stand anywhere, as bytes; an array that stands in two places is kept once.

    Numbers that are not finite become words outside of arrays. Raises `TypeError` for an array of another type.

    >>> pack({"a": np.array([1, 2], "u1")})
    b'\x16\x00\x00\x00{"a":{"$":[0,2,"u1"]}}\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00'
    """
    parts: list[bytes] = []
    known: dict[int, tuple[Array, dict[str, Any]]] = {}
    end = 0

    def placed(array: Any) -> dict[str, Any]:
        nonlocal end
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{type(array).__name__} cannot be packed")
        if id(array) not in known:
            kind = f"{array.dtype.kind}{array.dtype.itemsize}"
            if kind not in KINDS:
                raise TypeError(f"an array of {array.dtype} cannot be packed")
            data = _filled(array.astype(f"<{kind}", copy=False).tobytes())
            known[id(array)] = array, {"$": [end, array.size, kind]}  # kept, so that no other array takes its id
            parts.append(data)
            end += len(data)
        return known[id(array)][1]

    text = json.dumps(plain(value), default=placed, allow_nan=False, separators=(",", ":")).encode()
    return b"".join([_filled(len(text).to_bytes(4, "little") + text), *parts])


def _filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % UNIT)
