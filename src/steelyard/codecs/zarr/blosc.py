"""Chunks that Blosc packed: a header, and blocks that are packed one by one, of which the bytes were shuffled before.

    version uint8, version of the packer uint8, flags uint8, size of an item uint8
    bytes uint32, bytes of a block uint32, packed bytes uint32
    where each block begins uint32, then the blocks
    block    one stream, or one for each byte of an item: packed bytes uint32, then these; as many as it unpacks to are not packed

    flags    1: bytes shuffled    2: not packed at all    4: bits shuffled    16: one stream a block    from 32: the packer

Shuffled items are stored by their first bytes, then their second ones, and so on; or by bits. Source: the description of the
format in the repository of C-Blosc.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.errors import FormatError, MissingExtraError
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.storage.source import Source

_HEADER = struct.Struct("<4B3I")
_BYTES, _PLAIN, _BITS, _WHOLE = 1, 2, 4, 16
_PACKER = 5
"""The flags from this bit on tell the packer."""
_MOST_STREAMS, _LEAST_STREAM = 16, 128
"""A block has several streams if they are so few, and each has so many bytes."""
_BLOCK_COST = 2000
"""bytes of memory that stand for the time to begin a block or a stream"""


def unpack(source: Source, size: int) -> Source:
    """Return the `size` bytes of a chunk. Raises `FormatError` for a damaged one, `MissingExtraError` without its library."""
    if source.size < _HEADER.size:
        raise FormatError(source.name, f"has {source.size:,} bytes, too few for a chunk of Blosc (partial copy?)")
    version, _, flags, item, nbytes, block, packed = _HEADER.unpack(source.read(0, _HEADER.size))
    if version not in (1, 2) or nbytes != size or packed != source.size:
        what = f"claims {nbytes:,} bytes in {packed:,}, where there are {source.size:,} for {size:,}"
        raise FormatError(source.name, f"is not a chunk of Blosc as its array needs it: {what} (partial copy?)")
    if flags & _PLAIN:
        return source.part(_HEADER.size, size)
    if not block or not item or size > limits.inflatable(source.size):
        raise FormatError(source.name, f"claims to unpack from {source.size:,} to {size:,} bytes; refused, see steelyard.limits")
    return from_bytes(_Blocks(source, flags, item, size, block).joined(), source.name, within=source)


class _Blocks:
    """The blocks of a chunk."""

    __slots__ = ("_block", "_content", "_flags", "_item", "_size", "_source", "_unpack")

    def __init__(self, source: Source, flags: int, item: int, size: int, block: int) -> None:
        self._source = source
        self._flags, self._item, self._size, self._block = flags, item, size, block
        packer = flags >> _PACKER
        if packer not in _PACKERS:
            word = "Snappy" if packer == 2 else f"the packer {packer}"
            raise FormatError(source.name, f"is packed by Blosc with {word}, which is not read; load it with zarr")
        self._unpack = _PACKERS[packer]
        self._content = b""

    def joined(self) -> bytes:
        """Return the bytes of all blocks."""
        count = -(-self._size // self._block)
        Budget(self._source).spend(_BLOCK_COST * count)
        self._content = self._source.read(0, self._source.size)
        places = [self._integer(_HEADER.size + 4 * number) for number in range(count)]
        sizes = [min(self._block, self._size - number * self._block) for number in range(count)]
        return b"".join(map(self._unshuffled, map(self._of_block, places, sizes)))

    def _integer(self, at: int) -> int:
        if at + 4 > len(self._content):
            raise FormatError(self._source.name, "has a block that begins after its end", at)
        return int.from_bytes(self._content[at : at + 4], "little")

    def _of_block(self, at: int, size: int) -> bytes:
        """Return what the streams of a block hold."""
        item = self._item
        is_whole = self._flags & _WHOLE or size < self._block or item > _MOST_STREAMS or size // item < _LEAST_STREAM
        count = 1 if is_whole else item
        if size % count:
            raise FormatError(self._source.name, f"has a block of {size:,} bytes in {count} streams", at)
        streams = []
        for _ in range(count):
            length = self._integer(at)
            streams.append(self._of_stream(at + 4, length, size // count))
            at += 4 + length
        return b"".join(streams)

    def _of_stream(self, at: int, length: int, size: int) -> bytes:
        packed = self._content[at : at + length]
        if len(packed) != length:
            raise FormatError(self._source.name, f"has a stream of {length:,} bytes that reaches past its end", at)
        if length == size:
            return packed
        found = self._unpack(packed, size, self._source)
        if len(found) != size:
            raise FormatError(self._source.name, f"has a stream that unpacks to {len(found):,} bytes instead of {size:,}", at)
        return found

    def _unshuffled(self, block: bytes) -> bytes:
        item = self._item
        if self._flags & _BYTES and item > 1:
            return _in_rows(block, len(block) // item, item)
        if self._flags & _BITS and len(block) // item % 8 == 0:
            return _in_bits(block, len(block) // item, item)
        return block


def _in_rows(block: bytes, count: int, item: int) -> bytes:
    """Undo the shuffle of bytes; those after the last item stay where they are."""
    import numpy as np

    end = count * item
    return np.frombuffer(block[:end], "u1").reshape(item, count).T.tobytes() + block[end:]


def _in_bits(block: bytes, count: int, item: int) -> bytes:
    """Undo the shuffle of bits, which is done where the items are a multiple of eight."""
    import numpy as np

    end = count * item
    bits = np.unpackbits(np.frombuffer(block[:end], "u1").reshape(8 * item, count // 8), axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little").tobytes() + block[end:]


def lz4_block(packed: bytes, size: int, source: Source) -> bytes:
    """Return what a block of LZ4 without a frame holds. Raises `MissingExtraError` without its library."""
    try:
        import lz4.block
    except ImportError:
        raise MissingExtraError("reading an array packed by LZ4", "lz4") from None
    try:
        found: bytes = lz4.block.decompress(packed, uncompressed_size=size)
    except (lz4.block.LZ4BlockError, ValueError, MemoryError) as error:
        raise FormatError(source.name, f"has a damaged stream of LZ4: {error}") from None
    return found


def _stream(packed: bytes, size: int, source: Source) -> bytes:
    """Return what a stream of Zlib or Zstandard holds."""
    from steelyard.codecs.compression import Inflated

    inflated = Inflated(from_bytes(packed, source.name, within=source))
    inflated.reach(size + 1)
    return inflated.plain.read(0, inflated.plain.size)


# a byte below 32: so many bytes and one as they are; any other: its high 3 bits are a length, its low ones and a further byte
# a distance back. The length 6 is followed by bytes that are added to it, up to the first that is not 255; so is the greatest
# distance by one of two bytes.
def _blosclz(packed: bytes, size: int, source: Source) -> bytes:
    out, at, control = bytearray(), 1, packed[0] & 31 if packed else 0
    try:
        while True:
            if control < 32:
                out += packed[at : at + control + 1]
                at += control + 1
            else:
                length, at = _length(packed, at, (control >> 5) - 1)
                distance = ((control & 31) << 8) + packed[at]
                at += 1
                if distance == (31 << 8) + 255:
                    distance += int.from_bytes(packed[at : at + 2], "big")
                    at += 2
                _copy(out, distance + 1, min(length + 3, size + 1 - len(out)))
            if at >= len(packed) or len(out) > size:
                return bytes(out)
            control, at = packed[at], at + 1
    except (IndexError, ValueError):
        raise FormatError(source.name, "has a damaged stream of BloscLZ") from None


def _length(packed: bytes, at: int, length: int) -> tuple[int, int]:
    """Return the length of a copy, and where what follows begins."""
    if length == 6:
        while packed[at] == 255:
            length, at = length + 255, at + 1
        length, at = length + packed[at], at + 1
    return length, at


def _copy(out: bytearray, distance: int, length: int) -> None:
    if distance > len(out):
        raise ValueError(distance)
    begin = len(out) - distance
    run = bytes(out[begin : begin + length])
    out += (run * -(-length // len(run)))[:length] if length > len(run) else run


_PACKERS: dict[int, Callable[[bytes, int, Source], bytes]] = {0: _blosclz, 1: lz4_block, 3: _stream, 4: _stream}
