"""Numbers of Core ML that are stored as codes: of a scale and a bias, of a palette, or of blocks with their own scales.

In a neural network, the first code is in the highest bits of a byte, in a program in the lowest.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.dtypes import numpy_dtype
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source


class Codes(NamedTuple):
    """What decodes the numbers of a layer: bits of a code, readers of scales, biases and a palette, and how many these have."""

    bits: int
    scale: Reader | None
    bias: Reader | None
    palette: Reader | None
    counts: tuple[int, ...]
    is_signed: bool


class Value(NamedTuple):
    """A value: its shape, our word for its type, how many bits a small one takes, a reader, and the bytes that are stored."""

    shape: tuple[int, ...]
    dtype: str
    bits: int
    read: Reader
    stored: int


def bits_at(source: Source, place: tuple[int, int], bits: int, *, highest_first: bool) -> Reader:
    """Return a reader of unsigned codes of up to eight bits, packed without gaps in the bytes at an offset.

    >>> from steelyard.storage.source import from_bytes
    >>> bits_at(from_bytes(bytes([0b11100100])), (0, 1), 2, highest_first=False)(0, 4).tolist()
    [0, 1, 2, 3]
    """

    def read(start: int, stop: int) -> Array:
        import numpy as np

        first, last = start * bits // 8, min(-(-stop * bits // 8), place[1])
        data = np.frombuffer(source.read(place[0] + first, max(last - first, 0)), np.uint8)
        if bits == 8:
            return data.copy()
        flat = np.unpackbits(data, bitorder="big" if highest_first else "little")[start * bits - 8 * first :]
        if len(flat) < (stop - start) * bits:
            raise FormatError(source.name, "has fewer codes than its shape has numbers", place[0])
        digits = flat[: (stop - start) * bits].reshape(-1, bits)
        weights = 1 << np.arange(bits)[:: -1 if highest_first else 1]
        found: Array = (digits * weights).sum(axis=1).astype(np.uint8)
        return found

    return read


def dequantised(source: Source, place: tuple[int, int], codes: Codes, shape: tuple[int, ...], axis: int) -> Reader:
    """Return a reader of the float32 numbers of a layer; a scale and a bias belong to an index of the axis, or to all numbers."""
    packed = bits_at(source, place, codes.bits, highest_first=True)

    @cache
    def tables() -> list[Array | None]:
        held = zip((codes.scale, codes.bias, codes.palette), codes.counts, strict=True)
        return [read(0, count) if read else None for read, count in held]

    def read(start: int, stop: int) -> Array:
        import numpy as np

        scale, bias, palette = tables()
        found = packed(start, stop)
        if palette is not None:
            return picked(source, palette, found)
        values = found.view(np.int8).astype(np.float64) if codes.is_signed else found.astype(np.float64)
        for table, is_scale in ((scale, True), (bias, False)):
            if table is None:
                continue
            if len(table) not in (1, shape[axis] if shape else 1):
                raise FormatError(source.name, f"has {len(table):,} scales for the shape {list(shape)}", place[0])
            own = table[(np.arange(start, stop) // prod(shape[axis + 1 :])) % len(table)] if len(table) > 1 else table[0]
            values = values * own if is_scale else values + own
        return values.astype(np.float32)

    return read


def picked(source: Source, palette: Array, codes: Array) -> Array:
    """Return the entries of a palette; raises `FormatError` for a code that it does not have."""
    if len(codes) and int(codes.max()) >= len(palette):
        raise FormatError(source.name, f"has the code {int(codes.max())}, and a palette of {len(palette)}")
    return palette[codes]


def computed(shape: Sequence[int], dtype: str, make: Callable[[], Array]) -> Reader:
    """Return a reader of numbers that are decoded as a whole, at the first read, and kept."""

    @cache
    def whole() -> Array:
        import numpy as np

        return np.ascontiguousarray(np.broadcast_to(make(), shape)).astype(numpy_dtype(dtype)).reshape(-1)

    return lambda start, stop: whole()[start:stop].copy()
