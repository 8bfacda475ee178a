"""TensorFlow's tensor bundles: an index of the tensors in one or several files of plain numbers.

NAME.index                sorted string table
    ""                    BundleHeaderProto
    key of a tensor       BundleEntryProto
    key of a slice        BundleEntryProto; see `_slice_key`
NAME.data-00000-of-00002  elements, little-endian and row-major, at the offsets of the entries
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.crc32c import crc32c, unmasked
from steelyard.codecs.protobuf import Field, message
from steelyard.core.readers import by_rows
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.errors import FileMissingError, FormatError, SteelyardError, printable, quoted
from steelyard.formats.tensorflow.sstable import entries
from steelyard.storage.source import Source, from_bytes

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader

STRING = 7
DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    8: "complex64",
    9: "int64",
    10: "bool",
    11: "int8",
    12: "uint8",
    13: "int32",
    14: "bfloat16",
    15: "int16",
    16: "uint16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    22: "uint32",
    23: "uint64",
    24: "float8_e5m2",
    25: "float8_e4m3fn",
    26: "float8_e4m3fnuz",
    27: "float8_e4m3b11fnuz",
    28: "float8_e5m2fnuz",
    29: "int4",
    30: "uint4",
    31: "int2",
    32: "uint2",
}
WORDS = {STRING: "string", 11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16", 20: "resource", 21: "variant"}
"""TensorFlow's own names of types, where ours have less information."""

RANK = 254
_OLD = b"\n"
"""The first byte of what is under the empty key in a checkpoint of the first version, whose numbers are in the table itself."""
_OLD_WHAT = (
    "is a checkpoint of TensorFlow's first version (V1), which is not read; load it with tf.compat.v1.train.Saver, and save it"
)

Extent = tuple[int, int]


class BundleEntry(NamedTuple):
    """The entry of a tensor in the index. `slices` are its partitions, `wrong` the reason why it cannot be read."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    slices: tuple[tuple[Extent, ...], ...] = ()
    wrong: str = ""


class Bundle:
    """The index of a bundle, and its files of numbers, which are opened when they are needed."""

    __slots__ = ("entries", "shard", "source", "version")

    def __init__(self, source: Source, open_beside: Callable[[str], Source]) -> None:
        """Read the index `source`. `open_beside` opens a file of numbers by its name, in the same folder.

        Raises `FormatError` for an index that is damaged.
        """
        self.source = source
        values = dict(entries(source))
        header = values.pop(b"", None)
        if header is None:
            raise FormatError(source.name, "the index has no header")
        if header[:1] == _OLD:
            raise FormatError(source.name, _OLD_WHAT)
        shards, self.version = _header(source, header)
        self.entries = {key: _entry(source, value, shards) for key, value in values.items()}
        prefix = source.name.replace("\\", "/").rpartition("/")[2].removesuffix(".index")
        self.shard = lru_cache(maxsize=None)(
            lambda number: _opened(source, f"{prefix}.data-{number:05d}-of-{shards:05d}", open_beside)
        )

    def weights(self) -> Iterator[Weight]:
        """Yield all tensors under their keys. A partitioned tensor is one weight."""
        for key, entry in self.entries.items():
            if not key.startswith(b"\0"):  # the key of a slice
                yield self._weight(key, entry)

    # String tensor: varint length of each string | masked CRC-32C of the lengths (4) | strings
    def text(self, key: bytes) -> Source | None:
        """Return the bytes of the string in the scalar tensor `key`; None where there is none."""
        entry = self.entries.get(key)
        if entry is None or entry.dtype != STRING or entry.shape or entry.wrong:
            return None
        stored = self._numbers(entry)
        data = stored.read(0, entry.size)
        length, at = 0, 0
        for at, byte in enumerate(data[:10]):
            length |= (byte & 0x7F) << 7 * at
            if byte < 0x80:
                break
        return stored.part(at + 5, length, key.decode("ascii", "replace")) if len(data) - at - 5 == length else None

    def _weight(self, key: bytes, entry: BundleEntry) -> Weight:
        name = key.decode("utf-8", "surrogateescape")
        dtype = DTYPES.get(entry.dtype, "object")
        encoding = WORDS.get(entry.dtype, dtype if dtype != "object" else f"type {entry.dtype}")
        try:
            read = self._reader(key, name, entry)
        except SteelyardError as error:
            read = Refused(error)
        return Weight(name=name, shape=entry.shape, dtype=dtype, encoding=encoding, read=read)

    def _reader(self, key: bytes, name: str, entry: BundleEntry) -> Reader:
        """Return a reader of a tensor. Raises `FormatError` for one that cannot be read."""
        dtype = DTYPES.get(entry.dtype)
        if entry.wrong:
            raise FormatError(self.source.name, f"{printable(name)} {entry.wrong}")
        if dtype is None:
            what = WORDS.get(entry.dtype, f"the unknown type {entry.dtype}")
            raise FormatError(self.source.name, f"{printable(name)} holds {what}, not numbers")
        if entry.slices:
            return self._partitioned(key, name, entry)
        size = prod(entry.shape) * itemsize(dtype)
        if size != entry.size:
            what = f"{printable(name)} of shape {list(entry.shape)} takes {size:,} bytes, but has {entry.size:,}"
            raise FormatError(self.source.name, what)
        return _checked(self._numbers(entry), entry.crc, name).numbers(0, dtype)

    def _numbers(self, entry: BundleEntry) -> Source:
        return self.shard(entry.shard).part(entry.offset, entry.size)

    def _partitioned(self, key: bytes, name: str, entry: BundleEntry) -> Reader:
        """Return a reader of a partitioned tensor, which reads from each slice the rows that it needs."""
        slices = []
        for extents in entry.slices:
            box = _box(extents, entry.shape)
            inner = self.entries.get(_slice_key(key, extents))
            if box is None or inner is None or inner.dtype != entry.dtype or inner.shape != tuple(n for _, n in box):
                raise FormatError(
                    self.source.name, f"a slice of the partitioned tensor {printable(name)} is missing or does not fit"
                )
            slices.append((box, self._reader(b"", name, inner._replace(slices=()))))
        if sum(prod(n for _, n in box) for box, _ in slices) != prod(entry.shape) or _overlap([box for box, _ in slices]):
            raise FormatError(self.source.name, f"the slices of {printable(name)} do not cover its shape exactly once")
        return by_rows(entry.shape, lambda first, last: _rows(slices, entry, first, last))


def _opened(source: Source, name: str, open_beside: Callable[[str], Source]) -> Source:
    try:
        return open_beside(name)
    except FileMissingError:
        raise FormatError(source.name, f"the shard {quoted(name)} is missing (partial download?)") from None


# BundleHeaderProto: 1 num_shards, 2 endianness (0 little), 3 version (1 producer)
def _header(source: Source, data: bytes) -> tuple[int, int]:
    shards = version = endianness = 0
    for field in message(from_bytes(data, source.name, within=source)):
        if field.number == 1:
            shards = field.signed()
        elif field.number == 2:
            endianness = field.signed()
        elif field.number == 3:
            version = next((inner.signed() for inner in field.message() if inner.number == 1), 0)
    if not 0 < shards <= limits.SHARDS:
        raise FormatError(source.name, f"the header of the index claims {shards:,} files of numbers")
    if endianness:
        raise FormatError(
            source.name, "the checkpoint was written big-endian, which is not supported; save it on another machine"
        )
    return shards, version


def _entry(source: Source, data: bytes, shards: int) -> BundleEntry:
    """Parse one entry. An invalid entry makes only its own tensor unreadable."""
    try:
        entry = _parsed(from_bytes(data, source.name, within=source), data)
    except FormatError as error:
        return BundleEntry(0, (), 0, 0, 0, 0, wrong=f"has an entry that cannot be read: {error}")
    if not 0 <= entry.shard < shards:
        return entry._replace(wrong=f"refers to the file {entry.shard:,} of {shards:,}")
    if min(entry.offset, entry.size, *entry.shape) < 0 or len(entry.shape) > RANK:
        return entry._replace(
            shape=(), wrong=f"has a negative size or offset: {entry.offset:,}, {entry.size:,}, {list(entry.shape)[:9]}"
        )
    return entry


# BundleEntryProto
# 1 dtype   2 shape   3 shard_id   4 offset   5 size   6 crc32c (fixed32, masked)   7 slices, repeated
# TensorShapeProto: 2 dim, repeated (1 size); 3 unknown_rank
# TensorSliceProto: 1 extent, repeated (1 start, 2 length)
def _parsed(source: Source, data: bytes) -> BundleEntry:
    values = dict.fromkeys((1, 3, 4, 5), 0)
    shape: tuple[int, ...] = ()
    crc, wrong, slices = 0, "", []
    for field in message(source):
        if field.number in values:
            values[field.number] = field.signed()
        elif field.number == 2:
            shape, wrong = _shape(field.message())
        elif field.number == 6 and field.length == 4:
            crc = int.from_bytes(data[field.offset : field.offset + 4], "little")
        elif field.number == 7:
            slices.append(tuple(_extent(inner.message()) for inner in field.message() if inner.number == 1))
            if len(slices) > limits.BUNDLE_SLICES:
                raise FormatError(source.name, f"more than {limits.BUNDLE_SLICES:,} slices")
    return BundleEntry(values[1], shape, values[3], values[4], values[5], crc, tuple(slices), wrong)


def _shape(fields: Iterator[Field]) -> tuple[tuple[int, ...], str]:
    shape, wrong = [], ""
    for field in fields:
        if field.number == 2:
            shape.append(next((inner.signed() for inner in field.message() if inner.number == 1), 0))
        elif field.number == 3 and field.unsigned():
            wrong = "has an unknown number of axes"
    return tuple(shape), wrong


def _extent(fields: Iterator[Field]) -> Extent:
    """Return start and length of a slice along one axis; the length -1 is the whole axis."""
    values = {1: 0, 2: -1}
    values |= {field.number: field.signed() for field in fields if field.number in values}
    return values[1], values[2]


def _box(extents: tuple[Extent, ...], shape: tuple[int, ...]) -> list[Extent] | None:
    """Return start and length of a slice along each axis; None where it does not fit the shape."""
    if len(extents) != len(shape):
        return None
    box = [(start, size if length == -1 else length) for (start, length), size in zip(extents, shape, strict=True)]
    fits = all(start >= 0 and length >= 0 and start + length <= size for (start, length), size in zip(box, shape, strict=True))
    return box if fits else None


def _overlap(boxes: list[list[Extent]]) -> bool:
    """Whether two slices hold the same element."""
    return any(
        all(a < b + m and b < a + n for (a, n), (b, m) in zip(one, other, strict=True))
        for place, one in enumerate(boxes)
        for other in boxes[:place]
    )


def _rows(slices: list[tuple[list[Extent], Reader]], entry: BundleEntry, first: int, last: int) -> Array:
    import numpy as np

    block = np.empty((last - first, *entry.shape[1:]), numpy_dtype(DTYPES[entry.dtype]))
    for box, read in slices:
        (begin, count), rest = box[0], box[1:]
        low, high = max(first, begin), min(last, begin + count)
        if low < high:
            width = prod(n for _, n in rest)
            run = read((low - begin) * width, (high - begin) * width).reshape(high - low, *(n for _, n in rest))
            block[(slice(low - first, high - first), *(slice(start, start + n) for start, n in rest))] = run
    return block


def _checked(content: Source, crc: int, name: str) -> Source:
    """Return the content as a source that compares the checksum before its first read."""
    pending = [crc]

    def fill(offset: int, buffer: memoryview) -> None:
        if pending:
            if _crc(content) != unmasked(pending[0]):
                raise FormatError(content.name, f"{printable(name)} does not match its checksum: the file is damaged")
            pending.clear()
        content.fill(offset, buffer)

    return Source(content.name, content.size, fill, content.beside)


def _crc(content: Source, limit: int = 1 << 23) -> int:
    buffer = memoryview(bytearray(min(limit, content.size)))
    crc = 0
    for start in range(0, content.size, limit):
        block = buffer[: min(limit, content.size - start)]
        content.fill(start, block)
        crc = crc32c(block, crc)
    return crc


# Key of a slice, in TensorFlow's OrderedCode, whose bytes sort as the values do
# 0 as a number   0x00
# name            0x00 becomes 0x00 0xFF, 0xFF becomes 0xFF 0x00; ends with 0x00 0x01
# number of axes  one byte for the length, then as many bytes, big-endian
# extents         start and length along each axis, see `_ordered`
def _slice_key(name: bytes, extents: tuple[Extent, ...]) -> bytes:
    """Return the key of a slice of the tensor `name`."""
    text = name.replace(b"\xff", b"\xff\x00").replace(b"\x00", b"\x00\xff") if b"\0" in name or b"\xff" in name else name
    numbers = b"".join(_ordered(number) for extent in extents for number in extent)
    count = len(extents).to_bytes((len(extents).bit_length() + 7) // 8, "big")
    return b"\0" + text + b"\0\1" + bytes([len(count)]) + count + numbers


def _ordered(number: int) -> bytes:
    """Encode a signed number, big-endian: as many leading ones as it has bytes (inverted for negative numbers)."""
    length = (number if number >= 0 else ~number).bit_length() // 7 + 1
    if length > 8:
        raise ValueError(number)
    mask = (0xFF00 >> length & 0xFF) << 8 * (length - 1)
    return ((number & ((1 << 8 * length) - 1)) ^ mask).to_bytes(length, "big")
