"""GGML's blocks, byte for byte those of the gguf package; a weight is its bytes, and its `encoding` the name of the type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.core.effective import Derivation, derived
from steelyard.core.readers import by_rows
from steelyard.errors import ShapeError
from steelyard.formats.gguf.encoding import ENCODERS, encoded
from steelyard.formats.gguf.quantisation import QUANTS
from steelyard.numerics import grids
from steelyard.numerics.packed import flattened, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Array, Weight
    from steelyard.editing.quantizing.request import Request


def left(weight: Weight, request: Request) -> str | None:
    """Return why a weight stays as it is; None where it is quantised."""
    if request.axis not in ("out", 0):
        raise ShapeError("GGML's blocks are parts of rows; leave axis out")
    size = QUANTS[request.kind.upper()][0]
    if len(weight.shape) > 4:
        return "has more than four axes"
    return f"its rows of {weight.shape[-1]:,} are not whole blocks of {size}" if weight.shape[-1] % size else None


def pieces(weight: Weight, request: Request) -> list[Weight]:
    """Return the bytes of a quantised weight."""
    word = request.kind.upper()
    size, width, _ = QUANTS[word]
    flat = flattened(weight)

    def part(first: int, last: int) -> Array:
        values = grids.floats(flat, first, last)
        return encoded(word, values.reshape(-1, size), weight.name).reshape(last - first, -1)

    shape = (*weight.shape[:-1], weight.shape[-1] // size * width)
    read = by_rows((flat.shape[0], shape[-1]), part)
    return [weight.replace(shape=shape, dtype="uint8", encoding=word, read=read, overlaps=None)]


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights whose bytes are blocks of a known type."""
    for name in list(pieces):
        stored = pieces.get(name)
        if stored is None or stored.dtype != "uint8" or stored.encoding not in ENCODERS or not stored.shape:
            continue
        size, width, decode = QUANTS[stored.encoding]
        flat = flattened(stored)
        shape = (*stored.shape[:-1], stored.shape[-1] // width * size)

        def decoded(first: int, last: int, flat: Weight = flat, width: int = width, decode: object = decode) -> Array:
            import numpy as np

            data = np.ascontiguousarray(rows(flat, first, last)).reshape(-1, width)
            return decode(data).reshape(last - first, -1)  # type: ignore[operator, no-any-return]

        facts = Derivation(f"GGML {stored.encoding}", (name,))
        read = by_rows((flat.shape[0], shape[-1]), decoded)
        yield derived(name, shape, read, facts, role=stored.role, axes=stored.axes)
