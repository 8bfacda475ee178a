"""Writing weights as a named list that plain `readRDS` reads, without Python.

The file is of version 3 (R 3.5 and later), big-endian and uncompressed: weights hardly compress, R reads them three times as
fast without compression, and their offsets in the file stay known. The roles and axes of the weights follow the list, in a
footer that R ignores.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from steelyard.codecs import limits
from steelyard.codecs.metadata import dump_facts
from steelyard.codecs.r.values import NA_INTEGER
from steelyard.core.casting import converted
from steelyard.dtypes import is_floating, numpy_dtype
from steelyard.errors import FormatError, LossyError, printable
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    import os

    import numpy as np

    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

HEAD = b"X\n" + b"".join(n.to_bytes(4, "big") for n in (3, 0x040202, 0x030500, 5)) + b"UTF-8"
"""Version 3, as R 4.2.2 writes it, for R 3.5.0 and later, in UTF-8."""
FOOTER = b"STEELYRD"
"""The last bytes of a file with a footer."""

LIMIT = 1 << 24
"""Elements that are transposed at a time (128 MiB of doubles); a larger weight is read several times."""
LONGEST = (1 << 31) - 1
"""The largest extent of an array, and the largest length of a vector with a 32-bit length."""

_OBJECT_WITH_ATTRIBUTES = 0x200
_TAGGED_CELL = 0x402
_ASCII, _UTF8 = 64 << 12, 8 << 12
_CODES = {"logical": 10, "integer": 13, "double": 14, "complex": 15}
_NARROW = ("int8", "int16", "int32", "uint8", "uint16", "int2", "int4", "uint2", "uint4")
_TYPES = {"logical": "int32", "integer": "int32", "double": "float64", "complex": "complex128"}


def write_list(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Write a named list of vectors and column-major arrays; an existing file is replaced once the new one is complete.

    bool becomes logical, integers of up to 32 bits integer, complex numbers complex, everything else double. Every number
    is exact. Raises `LossyError` for a number that R cannot represent (an integer above 2^53 that no double equals, or the
    integer that means NA), and `FormatError` for a name or a shape that R does not allow.
    """
    if "" in weights and (place := str([*weights].index("") + 1)) in weights:  # the place of an element without a name names it
        raise FormatError(str(path), f"a weight has no name, and another has that of its place in a list, {place}; rename one")
    kinds = {name: _kind(weight, path) for name, weight in weights.items()}
    names = b"".join(_text(name, path) for name in weights)
    with replacing(path) as file:
        file.write(HEAD + _integer(19 | _OBJECT_WITH_ATTRIBUTES) + _length(len(weights)))
        for weight in weights.values():
            _write_array(file, weight, kinds[weight.name])
        file.write(_attribute("names", _integer(16) + _length(len(weights)) + names))
        file.write(_footer(weights))


def footer_facts(source: Source) -> tuple[str | None, frozenset[str]]:
    """Return the footer of a file of `write_list`: the facts as JSON, for `with_facts`, and the names of the scalars,
    which R does not distinguish from vectors of length 1.

    The facts include the dtype of each weight. A file that R has written again has no footer.
    """
    nothing: tuple[None, frozenset[str]] = (None, frozenset())
    if source.size < 16 or source.read(source.size - 8, 8) != FOOTER:
        return nothing
    length = int.from_bytes(source.read(source.size - 16, 8), "big")
    if length > min(limits.JSON, source.size - 16):
        return nothing
    try:
        footer = json.loads(source.read(source.size - 16 - length, length))
        return str(footer["facts"]), frozenset(map(str, footer["scalars"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return nothing


# Footer, after the last byte of the serialization
#   n       JSON: {"facts": facts as JSON text, "scalars": names of weights without axes}
#   uint64  n, big-endian
#   8       "STEELYRD"
def _footer(weights: Weights) -> bytes:
    footer = {"facts": dump_facts(weights), "scalars": [name for name, weight in weights.items() if not weight.shape]}
    text = json.dumps(footer, separators=(",", ":")).encode()
    return text + len(text).to_bytes(8, "big") + FOOTER


def _kind(weight: Weight, path: str | os.PathLike[str]) -> str:
    """Return the type of R's vector for a weight. Raises `FormatError` if there is none."""
    name = printable(weight.name)
    if len(weight.shape) > 1 and max(weight.shape) > LONGEST:
        raise FormatError(
            str(path), f"{name} has shape {weight.shape}, but an extent in R is at most {LONGEST:,}; reshape it first"
        )
    if weight.dtype == "bool":
        return "logical"
    if weight.dtype in _NARROW:
        return "integer"
    if weight.dtype.startswith("complex"):
        return "complex"
    if (is_floating(weight.dtype) and weight.dtype != "float128") or weight.dtype in ("uint32", "int64", "uint64"):
        return "double"
    raise FormatError(str(path), f"{name} is {weight.dtype}, which R has no type for; convert it first")


def _write_array(file: BinaryIO, weight: Weight, kind: str) -> None:
    import numpy as np

    is_array = len(weight.shape) > 1
    file.write(_integer(_CODES[kind] | (_OBJECT_WITH_ATTRIBUTES if is_array else 0)) + _length(weight.size))
    dtype = numpy_dtype(_TYPES[kind])
    for block in _by_columns(weight, dtype):
        if kind == "integer" and (block == NA_INTEGER).any():
            raise LossyError(f"{printable(weight.name)}: {NA_INTEGER} means NA in R; convert the weight to double first")
        file.write(np.ascontiguousarray(block, dtype.newbyteorder(">")).data)
    if is_array:
        extents = b"".join(map(_integer, weight.shape))
        file.write(_attribute("dim", _integer(_CODES["integer"]) + _length(len(weight.shape)) + extents))


def _by_columns(weight: Weight, dtype: np.dtype[Any]) -> Iterator[Array]:
    """Yield the elements in column-major order, in flat blocks, in little memory."""
    import numpy as np

    first, *rest = shape = tuple(extent for extent in weight.shape if extent != 1) or (1,)
    if not rest or not weight.size:
        for start in range(0, weight.size, LIMIT):
            yield _checked(weight, start, min(start + LIMIT, weight.size), dtype)
        return
    width = math.prod(rest)
    rows = max(LIMIT // width, 1)
    for slab in _slabs(tuple(rest), max(LIMIT // first, 1)):
        extents = [len(range(extent)[part]) for extent, part in zip(rest, slab, strict=True)]
        out = np.empty((*reversed(extents), first), dtype.newbyteorder(">"))
        for begin in range(0, first, rows):
            end = min(begin + rows, first)
            block = _checked(weight, begin * width, end * width, dtype).reshape(end - begin, *shape[1:])
            out.T[begin:end] = block[(slice(None), *slab)]
        yield out.reshape(-1)


def _slabs(shape: tuple[int, ...], limit: int) -> Iterator[tuple[slice, ...]]:
    """Cut an array into slabs of at most `limit` elements, which are consecutive in column-major order.

    >>> list(_slabs((2, 3), 4))
    [(slice(None, None, None), slice(0, 2, None)), (slice(None, None, None), slice(2, 4, None))]
    """
    if math.prod(shape) <= limit:
        yield (slice(None),) * len(shape)
        return
    *front, last = shape
    step = limit // math.prod(front)
    if step:
        for start in range(0, last, step):
            yield (*(slice(None),) * len(front), slice(start, start + step))
        return
    for index in range(last):
        for inner in _slabs(tuple(front), limit):
            yield (*inner, slice(index, index + 1))


def _checked(weight: Weight, start: int, stop: int, dtype: np.dtype[Any]) -> Array:
    return converted(weight.name, weight.read(start, stop), dtype, start, weight.shape)


def _attribute(name: str, value: bytes) -> bytes:
    """Return a pairlist of one cell, whose tag is the name of the attribute."""
    return _integer(_TAGGED_CELL) + _integer(1) + _text(name, "") + value + _integer(254)


def _text(text: str, path: str | os.PathLike[str]) -> bytes:
    data = text.encode()
    if b"\0" in data or len(data) > LONGEST:
        raise FormatError(str(path), f"the name {printable(text)} holds a NUL or is too long for R; rename it")
    return _integer(9 | (_ASCII if data.isascii() else _UTF8)) + _integer(len(data)) + data


def _length(length: int) -> bytes:
    if length <= LONGEST:
        return _integer(length)
    return _integer(-1) + length.to_bytes(8, "big")


def _integer(value: int) -> bytes:
    return value.to_bytes(4, "big", signed=True)
