"""Replacing the numbers of vectors in a file of R: every other byte stays as it was."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from steelyard.codecs.compression import compression, plain
from steelyard.codecs.r.stream import SESSIONS
from steelyard.codecs.r.values import Vector
from steelyard.core.casting import converted
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.errors import FormatError, LossyError, MissingExtraError, ShapeError
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    import os

    from steelyard.core.weight import Array
    from steelyard.storage.source import Source

    Changes = Iterable[tuple[Vector, Array]]

STEP = 1 << 22  # bytes that are copied at a time
_CODES = {"integer": 13, "double": 14, "complex": 15}


class Compressor(Protocol):
    """A compressor object of zlib, bz2, lzma or zstandard."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Take bytes, and return the compressed ones that are complete."""
        ...

    def flush(self) -> bytes:
        """Return the rest of the compressed stream."""
        ...


def patch(source: Source, path: str | os.PathLike[str], changes: Changes) -> None:
    """Write the file `source` to `path` (which may be its own) with new numbers in some vectors.

    `changes` are pairs of a vector, as `read_r` returned it from `source`, and an array of as many numbers, column-major.
    The file keeps its compression. Raises `ShapeError` for another count, `LossyError` for a number that does not fit, and
    `FormatError` for numbers that cannot be replaced: in an ASCII file, in a compact sequence, in a vector that R has
    marked as sorted, or in a vector of a file inside this file. Nothing is written then.
    """
    content = plain(source)
    _check_binary(content)
    places = sorted((_place(content, vector, values) for vector, values in changes), key=lambda place: place[0])
    for (begin, data), (after, _) in pairwise(places):
        if begin + len(data) > after:
            raise ShapeError("a vector of the file is to be replaced twice; pass it once")
    compressor = _compressor(compression(source))
    with replacing(path) as file:
        for chunk in _patched_chunks(content, places):
            file.write(compressor.compress(chunk) if compressor else chunk)
        if compressor:
            file.write(compressor.flush())


def _check_binary(content: Source) -> None:
    head = content.head(7)
    if head.removeprefix(head[:5] if head.startswith(SESSIONS) else b"")[:2] == b"A\n":
        what = "is an ASCII file, in which doubles have no fixed width and may be rounded; save it in binary first"
        raise FormatError(content.name, f"{what}: saveRDS(readRDS(file), file)")


def _place(content: Source, vector: Vector, values: Array) -> tuple[int, memoryview]:
    """Return the offset of the numbers of a vector, and their new bytes."""
    import numpy as np

    if vector.offset is None or vector.kind not in _CODES:
        what = f"a {vector.kind} vector of length {vector.length:,} that is a compact sequence or marked as sorted"
        raise FormatError(content.name, f"holds {what}; its numbers cannot be replaced")
    values = np.asarray(values).reshape(-1)
    if values.size != vector.length:
        raise ShapeError(f"{values.size:,} numbers cannot replace a vector of length {vector.length:,} in {content.name}")
    _check_place(content, vector)
    new = converted("the vector", values, numpy_dtype(vector.dtype))
    if vector.kind == "integer" and values.dtype.kind != "i" and (new == np.iinfo(np.int32).min).any():
        raise LossyError("the smallest integer of 32 bits means NA in R")
    ordered = np.ascontiguousarray(new, new.dtype.newbyteorder(vector.byteorder))
    return vector.offset, ordered.view(np.uint8).data


def _check_place(content: Source, vector: Vector) -> None:
    """Raise `FormatError` unless the stream has a vector of this kind and length there: it may be from another file."""
    begin, order = vector.offset or 0, "big" if vector.byteorder == ">" else "little"
    long = vector.length > (1 << 31) - 1
    head = 16 if long else 8
    end = begin + vector.length * itemsize(vector.dtype)
    data = content.read(begin - head, head) if begin >= head and end <= content.size else bytes(8)
    words = [int.from_bytes(data[at : at + 4], order, signed=True) for at in range(0, len(data), 4)]  # type: ignore[arg-type]
    wanted = [-1, vector.length >> 32, vector.length - (vector.length >> 32 << 32)] if long else [vector.length]
    if words[0] & 0xFF != _CODES[vector.kind] or [words[1], *(n & 0xFFFFFFFF for n in words[2:])] != wanted:
        raise FormatError(
            content.name, "does not hold the vector whose numbers are to be replaced; read it from this file", begin
        )


def _patched_chunks(content: Source, places: list[tuple[int, memoryview]]) -> Iterator[bytes | memoryview]:
    """Yield the stream in chunks, with the new bytes in their places."""
    at = 0
    for begin, data in [*places, (content.size, memoryview(b""))]:
        for start in range(at, begin, STEP):
            yield content.read(start, min(STEP, begin - start))
        yield data
        at = begin + len(data)


def _compressor(kind: str) -> Compressor | None:
    """Return a compressor for this kind of compression with R's default settings; None for an uncompressed file."""
    if kind == "gzip":
        return zlib.compressobj(6, zlib.DEFLATED, 31)
    if kind == "bz2":
        import bz2

        return bz2.BZ2Compressor(9)
    if kind == "xz":
        import lzma

        return lzma.LZMACompressor(check=lzma.CHECK_CRC32, preset=6)
    if kind == "zstd":
        try:
            import zstandard
        except ImportError:
            raise MissingExtraError("writing a file compressed with Zstandard", "zstd") from None
        return zstandard.ZstdCompressor(level=9, write_checksum=True).compressobj()
    return None
