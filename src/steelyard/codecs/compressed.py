"""Streams that are compressed as a whole: zlib, gzip, bz2, lzma, xz, lz4."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from steelyard.core.source import Source, from_bytes
from steelyard.errors import FormatError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

INFLATED = 1 << 30
"""Bytes that a stream may inflate to: it is held in memory."""
RATIO = 200
"""How many times its packed size a stream of more than 64 MiB may inflate to."""
STEP = 1 << 18
FIRST = 1 << 20
"""Bytes that are looked at for a guess: some streams give nothing before a block of them is complete."""


def _bz2() -> Any:
    import bz2

    return bz2.BZ2Decompressor()


def _lzma() -> Any:
    import lzma

    return lzma.LZMADecompressor(memlimit=INFLATED)


def _lz4() -> Any:
    try:
        import lz4.frame
    except ImportError:
        raise MissingExtraError("reading a file compressed with LZ4", "lz4") from None
    return lz4.frame.LZ4FrameDecompressor()


_KINDS: tuple[tuple[bytes, str, Callable[[], Any]], ...] = (
    (b"\x1f\x8b\x08", "gzip", lambda: zlib.decompressobj(31)),
    (b"BZh", "bz2", _bz2),
    (b"\xfd7zXZ\x00", "xz", _lzma),
    (b"]\x00\x00", "lzma", _lzma),
    (b"\x04\x22\x4d\x18", "lz4", _lz4),
    *((bytes([0x78, level]), "zlib", lambda: zlib.decompressobj(15)) for level in (0x01, 0x5E, 0x9C, 0xDA)),
)


def _kind(source: Source) -> tuple[str, Callable[[], Any]] | None:
    head = source.head(8)
    return next(((name, make) for magic, name, make in _KINDS if head.startswith(magic)), None)


def is_compressed(source: Source) -> bool:
    """Tell whether the source begins as one of the compressed streams does."""
    return _kind(source) is not None


def begins(source: Source, length: int = 64) -> bytes:
    """Return the first bytes of what a compressed stream holds; nothing where it is damaged. Never raises.

    Where the library for it is missing it is taken for a pickle, so that reading it says what to install.
    """
    kind = _kind(source)
    if kind is None:
        return source.head(length)
    try:
        machine = kind[1]()
        block: bytes = machine.decompress(source.head(FIRST), length)
    except MissingExtraError:
        return b"\x80\x04"
    except Exception:  # noqa: BLE001 - every library has errors of its own, and a guess must not fail
        return b""
    return block[:length]


def plain(source: Source) -> Source:
    """Return what a compressed stream holds, in memory; any other source as it is.

    Raises `FormatError` for a damaged stream and for one that grows out of all proportion.
    """
    kind = _kind(source)
    if kind is None:
        return source
    name, make = kind
    try:
        return from_bytes(_inflated(source, make()), source.name, source.beside)
    except (FormatError, MissingExtraError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - every library has errors of its own
        raise FormatError(source.name, f"the {name} stream is damaged: {error}") from None


def _inflated(source: Source, machine: Any) -> bytes:
    limit = min(INFLATED, max(RATIO * source.size, 1 << 26))
    out = bytearray()
    at = 0
    packed = b""
    while not machine.eof:
        if not packed and getattr(machine, "needs_input", True):
            if at >= source.size:
                raise FormatError(source.name, "the compressed stream is cut (partial download?)", at)
            packed = source.read(at, min(STEP, source.size - at))
            at += len(packed)
        out += machine.decompress(packed, STEP)
        packed = getattr(machine, "unconsumed_tail", b"")
        if len(out) > limit:
            raise FormatError(source.name, f"the stream inflates from {source.size:,} to more than {limit:,} bytes; refused")
    return bytes(out)
