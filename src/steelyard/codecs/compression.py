"""Files that are compressed as a whole, recognised by their first bytes.

1F 8B 08           gzip        FD 37 7A 58 5A 00        xz       28 B5 2F FD   zstd
42 5A 68 ("BZh")   bz2         5D 00 00                 lzma     04 22 4D 18   lz4
78 and 01, 5E, 9C or DA        zlib
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Protocol

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.errors import FormatError, MissingExtraError
from steelyard.storage.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 1 << 18  # bytes that are read or inflated at a time
ZSTD_STEP = 1 << 10  # compressed bytes that Zstandard inflates at a time
LEAST_STEP = 1 << 10  # the bytes that are read after a short stream, as the next one may be short too
STREAM_COST = 4000
"""bytes of memory that stand for the time to begin another stream"""
FIRST = 1 << 20  # compressed bytes that are read for a guess: some streams yield nothing before a whole block


class Decompressor(Protocol):
    """Inflates one stream, as those of the standard library do."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def unused_data(self) -> bytes | None:
        """The input after the end of the stream."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at most about `max_length` further bytes."""


def _bz2() -> Decompressor:
    import bz2

    return bz2.BZ2Decompressor()


def _lzma() -> Decompressor:
    import lzma

    return lzma.LZMADecompressor(memlimit=limits.INFLATED)


def _lz4() -> Decompressor:
    try:
        import lz4.frame
    except ImportError:
        raise MissingExtraError("reading a file compressed with LZ4", "lz4") from None
    decompressor: Decompressor = lz4.frame.LZ4FrameDecompressor()
    return decompressor


class _Zstd:
    """A decompressor for Zstandard that limits its output, as those of the standard library do."""

    __slots__ = ("_rest", "_stream")

    def __init__(self) -> None:
        try:
            import zstandard
        except ImportError:
            raise MissingExtraError("reading a file compressed with Zstandard", "zstd") from None
        self._stream = zstandard.ZstdDecompressor(max_window_size=limits.ZSTD_WINDOW).decompressobj()
        self._rest = b""

    @property
    def eof(self) -> bool:
        return bool(self._stream.eof)

    @property
    def needs_input(self) -> bool:
        return not self._rest

    @property
    def unused_data(self) -> bytes:
        return bytes(self._stream.unused_data) + self._rest

    def decompress(self, data: bytes, limit: int) -> bytes:
        # the library cannot limit its output, but a block, of 4 bytes or more, holds at most 128 KiB
        rest = self._rest + data
        out, at, length = [], 0, 0
        while at < len(rest) and length < limit and not self._stream.eof:
            out.append(self._stream.decompress(rest[at : at + ZSTD_STEP]))
            length += len(out[-1])
            at += ZSTD_STEP
        self._rest = rest[at:]
        return b"".join(out)


_KINDS: tuple[tuple[bytes, str, Callable[[], Decompressor]], ...] = (
    (b"\x1f\x8b\x08", "gzip", lambda: zlib.decompressobj(31)),
    (b"BZh", "bz2", _bz2),
    (b"\xfd7zXZ\x00", "xz", _lzma),
    (b"\x28\xb5\x2f\xfd", "zstd", _Zstd),
    (b"]\x00\x00", "lzma", _lzma),
    (b"\x04\x22\x4d\x18", "lz4", _lz4),
    *((bytes([0x78, level]), "zlib", lambda: zlib.decompressobj(15)) for level in (0x01, 0x5E, 0x9C, 0xDA)),
)
_CONCATENATED = ("gzip", "bz2", "xz", "zstd")
"""The kinds whose files may consist of several streams, which are read as one."""
_MISSING = {"lz4": b"\x80\x04", "zstd": b"X\n\0\0\0\3"}
"""The content that is assumed where the library is missing, so that reading raises an error that names it."""


def _kind(source: Source) -> tuple[bytes, str, Callable[[], Decompressor]] | None:
    head = source.head(8)
    return next((kind for kind in _KINDS if head.startswith(kind[0])), None)


def compression(source: Source) -> str:
    """Return the kind of compression of a source ("gzip", "bz2", "xz", "zstd" ...), blank where there is none."""
    kind = _kind(source)
    return kind[1] if kind else ""


def is_compressed(source: Source) -> bool:
    """Whether the source begins as a compressed stream."""
    return _kind(source) is not None


def begins(source: Source, length: int = 64) -> bytes:
    """Return the first bytes of the content of a stream; none where it is damaged. Never raises."""
    kind = _kind(source)
    if kind is None:
        return source.head(length)
    try:
        machine = kind[2]()
        block: bytes = machine.decompress(source.head(FIRST), length)
    except MissingExtraError:
        return _MISSING[kind[1]]
    except Exception:  # noqa: BLE001 - every library has errors of its own, and a guess must not fail
        return b""
    return block[:length]


def plain(source: Source) -> Source:
    """Return the content of a compressed stream, in memory; any other source unchanged.

    Raises `FormatError` for a damaged stream, and for one that inflates to more than the limit.
    """
    kind = _kind(source)
    if kind is None:
        return source
    inflated = Inflated(source)
    inflated.reach(inflated.limit + 1)
    return inflated.plain


class Inflated:
    """The content of a compressed stream, in memory, inflated only as far as it is requested.

    `plain` is the content as a source, whose size grows with each `reach`. `limit` is the number of bytes that it may
    have. Raises `MissingExtraError` where the library for the stream is not installed.
    """

    __slots__ = (
        "_at",
        "_begin",
        "_budget",
        "_done",
        "_machine",
        "_make",
        "_out",
        "_packed",
        "_packed_source",
        "_width",
        "kind",
        "limit",
        "magic",
        "plain",
    )

    def __init__(self, source: Source) -> None:
        kind = _kind(source)
        if kind is None:
            raise FormatError(source.name, "is not compressed in any known way")
        self.magic, self.kind, self._make = kind
        self._machine = self._make()
        self._packed_source = source
        self._at = self._begin = 0
        self._width = STEP
        self._budget = Budget(source)
        self._packed = b""
        self._done = False
        self._out = out = bytearray()
        self.limit = limits.inflatable(source.size)

        def fill(offset: int, buffer: memoryview) -> None:
            buffer[:] = memoryview(out)[offset : offset + len(buffer)]

        self.plain = Source(source.name, 0, fill, source.beside, within=source)

    def reach(self, end: int) -> int:
        """Inflate until there are `end` bytes, or to the end; return the number of bytes.

        Raises `FormatError` for a damaged stream, and for more than `limit` bytes. Checksums are at the end of a stream:
        to check them, request one byte more than there is.
        """
        try:
            while len(self._out) < end and not self._done:
                self._step()
        except (FormatError, MissingExtraError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - every library has errors of its own
            raise FormatError(self.plain.name, f"the {self.kind} stream is damaged: {error}") from None
        self.plain.size = len(self._out)
        return self.plain.size

    def _step(self) -> None:
        machine = self._machine
        if machine.eof:
            self._next_stream()
            return
        if not self._packed and getattr(machine, "needs_input", True):
            self._feed()
        self._out += machine.decompress(self._packed, STEP)
        self._packed = getattr(machine, "unconsumed_tail", b"")
        if len(self._out) > self.limit:
            size = self._packed_source.size
            raise FormatError(
                self.plain.name,
                f"the stream inflates from {size:,} to more than {self.limit:,} bytes; refused, see steelyard.limits",
            )

    def _feed(self) -> None:
        source = self._packed_source
        if self._at >= source.size:
            raise FormatError(source.name, "the compressed stream is cut (partial download?)", self._at)
        self._packed = source.read(self._at, min(self._width, source.size - self._at))
        self._at += len(self._packed)
        self._width = min(2 * self._width, STEP)

    def _next_stream(self) -> None:
        """Continue with a following stream of the same kind; any other bytes after the end are ignored."""
        rest = self._machine.unused_data or b""
        begin = self._at - len(rest)
        magic = self._packed_source.read(begin, min(len(self.magic), self._packed_source.size - begin))
        if self.kind not in _CONCATENATED or magic != self.magic:
            self._done = True
            return
        self._budget.spend(STREAM_COST, begin)
        self._width = min(max(2 * (begin - self._begin), LEAST_STEP), STEP)  # the end of a step is copied for each short stream
        self._machine = self._make()
        self._at = self._begin = begin
        self._packed = b""
