"""TensorFlow's tensor bundles: an index of the tensors in one or several files of plain numbers.

NAME.index                sorted string table
    ""                    BundleHeaderProto
    key of a tensor       BundleEntryProto
    key of a slice        BundleEntryProto; see `slice_key`
NAME.data-00000-of-00002  elements, little-endian and row-major, at the offsets of the entries
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.crc32c import unmasked
from steelyard.codecs.protobuf import message
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import itemsize
from steelyard.errors import FileMissingError, FormatError, SteelyardError, printable, quoted
from steelyard.formats.tensorflow.slices import Extent, box_of, extents_of, joined, shape_of, slice_key
from steelyard.formats.tensorflow.sstable import crc_of, entries
from steelyard.storage.source import Source, from_bytes

if TYPE_CHECKING:
    from steelyard.core.weight import Reader

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

    __slots__ = ("entries", "meta", "shard", "source")

    def __init__(self, source: Source, open_beside: Callable[[str], Source]) -> None:
        """Read the index `source`. `open_beside` opens a file of numbers by its name, in the same folder.

        Raises `FormatError` for an index that is damaged.
        """
        self.source = source
        values = dict(entries(source))
        header = values.pop(b"", None)
        if header is None:
            raise FormatError(source.name, "the index has no header")
        shards, version = _header(source, header)
        self.meta: dict[str, object] = {"bundle_version": version}
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
            box = box_of(extents, entry.shape)
            inner = self.entries.get(slice_key(key, extents))
            if box is None or inner is None or inner.dtype != entry.dtype or inner.shape != tuple(n for _, n in box):
                raise FormatError(
                    self.source.name, f"a slice of the partitioned tensor {printable(name)} is missing or does not fit"
                )
            slices.append((box, self._reader(b"", name, inner._replace(slices=()))))
        return joined(self.source, name, entry.shape, DTYPES[entry.dtype], slices)


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
            shape, wrong = shape_of(field.message())
        elif field.number == 6 and field.length == 4:
            crc = int.from_bytes(data[field.offset : field.offset + 4], "little")
        elif field.number == 7:
            slices.append(extents_of(field))
            if len(slices) > limits.BUNDLE_SLICES:
                raise FormatError(source.name, f"more than {limits.BUNDLE_SLICES:,} slices")
    return BundleEntry(values[1], shape, values[3], values[4], values[5], crc, tuple(slices), wrong)


def _checked(content: Source, crc: int, name: str) -> Source:
    """Return the content as a source that compares the checksum before its first read."""
    pending = [crc]

    def fill(offset: int, buffer: memoryview) -> None:
        if pending:
            if crc_of(content) != unmasked(pending[0]):
                raise FormatError(content.name, f"{printable(name)} does not match its checksum: the file is damaged")
            pending.clear()
        content.fill(offset, buffer)

    return Source(content.name, content.size, fill, content.beside)
