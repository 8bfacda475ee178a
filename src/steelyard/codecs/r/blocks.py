"""The blocks in which both notations of an R serialization read their stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.storage.source import Source

    Available = Callable[[int], int]
    """Returns the number of available bytes, at most as many as requested: a compressed stream is decompressed that far."""

BLOCK = 1 << 16  # bytes of the stream that are read at a time


def next_block(source: Source, available: Available, begin: int, least: int) -> bytes:
    """Read a block from `begin`; it is shorter than `BLOCK` only at the end of the stream.

    Raises `FormatError` if the stream has fewer than `least` bytes more.
    """
    wanted = max(least, BLOCK)
    end = available(begin + wanted)
    if end < begin + least:
        raise cut_short(source, f"{least:,} bytes", begin, begin + least)
    return source.read(begin, min(wanted, end - begin))


def cut_short(source: Source, what: str, begin: int, end: int | None = None) -> FormatError:
    """Return the error about items at `begin` that would end at `end`, or after the end of the stream if that is not known."""
    claim = f"claims {what}" if end is None else f"claims {what}, which end at byte {end:,}"
    return FormatError(source.name, f"{claim}, but the stream ends at byte {source.size:,} (partial download?)", begin)
