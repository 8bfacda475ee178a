"""TensorFlow's tensor bundles: an index of what lies where in one or several files of plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.protobuf import message
from steelyard.core.readers import by_rows, refusing
from steelyard.core.weight import Weight
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.errors import FormatError, SteelyardError, printable
from steelyard.formats.tensorflow.crc32c import crc32c, unmasked
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
"""TensorFlow's own words where they say more."""

RANK = 254

Extent = tuple[int, int]


class Entry(NamedTuple):
    """What the index says of a tensor; `wrong` says why it cannot be read, `slices` how it is partitioned."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    slices: tuple[tuple[Extent, ...], ...] = ()
    wrong: str = ""


class Bundle:
    """The index of a bundle, and its files of numbers, opened when they are needed."""

    __slots__ = ("entries", "shard", "source", "version")

    def __init__(self, source: Source, open_beside: Callable[[str], Source]) -> None:
        """Read the index `source`; `open_beside` opens a file of numbers by its name without folders.

        Raises `FormatError` for an index that is damaged.
        """
        self.source = source
        found = dict(entries(source))
        header = found.pop(b"", None)
        if header is None:
            raise FormatError(source.name, "the index has no header")
        shards, self.version = _header(source, header)
        self.entries = {key: _entry(source, value, shards) for key, value in found.items()}
        prefix = source.name.replace("\\", "/").rpartition("/")[2].removesuffix(".index")
        self.shard = lru_cache(maxsize=None)(lambda number: open_beside(f"{prefix}.data-{number:05d}-of-{shards:05d}"))

    def weights(self) -> Iterator[Weight]:
        """Yield every tensor under its key; the parts of a partitioned one stand under its name."""
        for key, entry in self.entries.items():
            if not key.startswith(b"\0"):  # a part
                yield self._weight(key, entry)

    def text(self, key: bytes) -> bytes | None:
        """Return the one string that the tensor `key` holds; None where there is no such tensor."""
        entry = self.entries.get(key)
        if entry is None or entry.dtype != STRING or entry.shape or entry.wrong:
            return None
        data = self._numbers(entry).read(0, entry.size)
        length, at = 0, 0
        for at, byte in enumerate(data[:10]):
            length |= (byte & 0x7F) << 7 * at
            if byte < 0x80:
                break
        return data[at + 5 :] if len(data) - at - 5 == length else None  # four bytes are the length's checksum

    def _weight(self, key: bytes, entry: Entry) -> Weight:
        name = key.decode("utf-8", "surrogateescape")
        dtype = DTYPES.get(entry.dtype, "object")
        stored = WORDS.get(entry.dtype, dtype if dtype != "object" else f"type {entry.dtype}")
        try:
            read = self._reader(key, name, entry)
        except SteelyardError as error:
            read = refusing(error)
        return Weight(name=name, shape=entry.shape, dtype=dtype, encoding=stored, read=read)

    def _reader(self, key: bytes, name: str, entry: Entry) -> Reader:
        """Return a reader, or raise what is wrong with a tensor."""
        dtype = DTYPES.get(entry.dtype)
        if entry.wrong:
            raise FormatError(self.source.name, f"{printable(name)} {entry.wrong}")
        if dtype is None:
            what = WORDS.get(entry.dtype, f"the unknown type {entry.dtype}")
            raise FormatError(self.source.name, f"{printable(name)} holds {what}, not numbers")
        if entry.slices:
            return self._joined(key, name, entry)
        size = prod(entry.shape) * itemsize(dtype)
        if size != entry.size:
            what = f"{printable(name)} of shape {list(entry.shape)} takes {size:,} bytes, but has {entry.size:,}"
            raise FormatError(self.source.name, what)
        return _checked(self._numbers(entry), entry.crc, name).numbers(0, dtype)

    def _numbers(self, entry: Entry) -> Source:
        return self.shard(entry.shard).part(entry.offset, entry.size)

    def _joined(self, key: bytes, name: str, entry: Entry) -> Reader:
        """Read a partitioned variable: of each part the rows that a run touches."""
        parts = []
        for extents in entry.slices:
            boxes = _boxes(extents, entry.shape)
            part = self.entries.get(_slice_key(key, extents))
            if boxes is None or part is None or part.dtype != entry.dtype or part.shape != tuple(n for _, n in boxes):
                raise FormatError(self.source.name, f"{printable(name)} is partitioned, and a part of it is missing or misfits")
            parts.append((boxes, self._reader(b"", name, part._replace(slices=()))))
        if sum(prod(n for _, n in boxes) for boxes, _ in parts) != prod(entry.shape) or _overlap([boxes for boxes, _ in parts]):
            raise FormatError(self.source.name, f"the parts of {printable(name)} do not make up its shape")
        return by_rows(entry.shape, lambda first, last: _rows(parts, entry, first, last))


def _header(source: Source, data: bytes) -> tuple[int, int]:
    shards = version = endianness = 0
    for field in message(from_bytes(data, source.name)):
        if field.number == 1:
            shards = field.signed()
        elif field.number == 2:
            endianness = field.signed()
        elif field.number == 3:
            version = next((inner.signed() for inner in field.message() if inner.number == 1), 0)
    if not 0 < shards <= limits.SHARDS:
        raise FormatError(source.name, f"the header of the index claims {shards:,} files of numbers")
    if endianness:
        raise FormatError(source.name, "the checkpoint was written big-endian, which is not read; save it on another machine")
    return shards, version


def _entry(source: Source, data: bytes, shards: int) -> Entry:
    """Parse one entry; what makes no sense is said of this tensor only."""
    try:
        entry = _parsed(from_bytes(data, source.name), data)
    except FormatError as error:
        return Entry(0, (), 0, 0, 0, 0, wrong=f"has an entry that cannot be read: {error}")
    if not 0 <= entry.shard < shards:
        return entry._replace(wrong=f"is said to lie in the file {entry.shard:,} of {shards:,}")
    if min(entry.offset, entry.size, *entry.shape) < 0 or len(entry.shape) > RANK:
        return entry._replace(
            shape=(), wrong=f"has a negative size or place: {entry.offset:,}, {entry.size:,}, {list(entry.shape)[:9]}"
        )
    return entry


def _parsed(source: Source, data: bytes) -> Entry:
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
                raise FormatError(source.name, f"more than {limits.BUNDLE_SLICES:,} parts")
    return Entry(values[1], shape, values[3], values[4], values[5], crc, tuple(slices), wrong)


def _shape(fields: Iterator[Any]) -> tuple[tuple[int, ...], str]:
    shape, wrong = [], ""
    for field in fields:
        if field.number == 2:
            shape.append(next((inner.signed() for inner in field.message() if inner.number == 1), 0))
        elif field.number == 3 and field.unsigned():
            wrong = "has no known number of axes"
    return tuple(shape), wrong


def _extent(fields: Iterator[Any]) -> Extent:
    """Return start and length of a part along one axis; without a length it is the whole axis, -1."""
    values = {1: 0, 2: -1}
    values |= {field.number: field.signed() for field in fields if field.number in values}
    return values[1], values[2]


def _boxes(extents: tuple[Extent, ...], shape: tuple[int, ...]) -> list[Extent] | None:
    """Return start and length of a part along each axis; None where it does not fit the shape."""
    if len(extents) != len(shape):
        return None
    boxes = [(start, size if length == -1 else length) for (start, length), size in zip(extents, shape, strict=True)]
    fits = all(start >= 0 and length >= 0 and start + length <= size for (start, length), size in zip(boxes, shape, strict=True))
    return boxes if fits else None


def _overlap(parts: list[list[Extent]]) -> bool:
    """Tell whether two parts hold the same element."""
    return any(
        all(a < b + m and b < a + n for (a, n), (b, m) in zip(one, other, strict=True))
        for place, one in enumerate(parts)
        for other in parts[:place]
    )


def _rows(parts: list[tuple[list[Extent], Reader]], entry: Entry, first: int, last: int) -> Array:
    import numpy as np

    block = np.empty((last - first, *entry.shape[1:]), numpy_dtype(DTYPES[entry.dtype]))
    for boxes, read in parts:
        (begin, count), rest = boxes[0], boxes[1:]
        low, high = max(first, begin), min(last, begin + count)
        if low < high:
            width = prod(n for _, n in rest)
            run = read((low - begin) * width, (high - begin) * width).reshape(high - low, *(n for _, n in rest))
            block[(slice(low - first, high - first), *(slice(start, start + n) for start, n in rest))] = run
    return block


def _checked(content: Source, crc: int, name: str) -> Source:
    """Compare the checksum before the first number is handed out."""
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


def _slice_key(name: bytes, extents: tuple[Extent, ...]) -> bytes:
    """Return the key of a part: its variable's name and its extents, so encoded that keys sort as these do."""
    text = name.replace(b"\xff", b"\xff\x00").replace(b"\x00", b"\x00\xff") if b"\0" in name or b"\xff" in name else name
    numbers = b"".join(_ordered(number) for extent in extents for number in extent)
    count = len(extents).to_bytes((len(extents).bit_length() + 7) // 8, "big")
    return b"\0" + text + b"\0\1" + bytes([len(count)]) + count + numbers


def _ordered(number: int) -> bytes:
    """Encode a signed number: as many ones at the front as it takes bytes, then the number itself."""
    length = (number if number >= 0 else ~number).bit_length() // 7 + 1
    if length > 8:
        raise ValueError(number)
    mask = (0xFF00 >> length & 0xFF) << 8 * (length - 1)
    return ((number & ((1 << 8 * length) - 1)) ^ mask).to_bytes(length, "big")
