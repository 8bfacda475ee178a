"""Compressed streams: their content is changed, and packed again."""

import bz2
import gzip
import lzma
import zlib

import lz4.frame
import zstandard

from mutators import mutate as mutate_any

LARGEST = 1 << 20  # bytes of content: larger ones take too long
CODECS = (
    (b"\x1f\x8b", lambda data: zlib.decompressobj(31).decompress(data, LARGEST), lambda data: gzip.compress(data, mtime=0)),
    (b"BZh", lambda data: bz2.BZ2Decompressor().decompress(data, LARGEST), bz2.compress),
    (b"\xfd7zXZ\0", lambda data: lzma.LZMADecompressor().decompress(data, LARGEST), lzma.compress),
    (
        b"]\0\0",
        lambda data: lzma.LZMADecompressor().decompress(data, LARGEST),
        lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    ),
    (b"\x04\x22\x4d\x18", lz4.frame.decompress, lz4.frame.compress),
    (b"\x28\xb5\x2f\xfd", lambda data: zstandard.decompress(data, max_output_size=LARGEST), zstandard.compress),
    *(
        (bytes((0x78, level)), lambda data: zlib.decompressobj().decompress(data, LARGEST), zlib.compress)
        for level in b"\x01\x5e\x9c\xda"
    ),
)


def recognises(data):
    """Whether the bytes begin as one of the compressed streams."""
    return data.startswith(tuple(mark for mark, _, _ in CODECS))


def mutate(data, chance):
    """Return the stream of a changed content, perhaps packed another way, twice, or with more after it."""
    _, unpack, pack = next(codec for codec in CODECS if data.startswith(codec[0]))
    changed = mutate_any(unpack(data), chance)
    if chance.random() < 0.05:
        pack = chance.choice(CODECS)[2]
    packed = pack(changed)
    if chance.random() < 0.05:
        packed = chance.choice((packed + packed, pack(packed), packed + b"more", packed[: len(packed) // 2]))
    return packed
