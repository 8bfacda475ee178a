"""OCDBT: keys and values in the files of a folder, as TensorStore keeps the arrays of many processes together.

`manifest.ocdbt` has the place of the root of a B-tree, whose leaves have each key with its value or the place of that. Files are
written once, so that the manifest of a finished save refers to files in the folders of the processes, `ocdbt.process_0` ...
Source: the specification in TensorStore's documentation of the driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.budget import Budget
from steelyard.codecs.compression import compression, plain
from steelyard.errors import FileMissingError, FormatError, quoted
from steelyard.storage.source import Source, from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST = "manifest.ocdbt"
KEY_COST = 500
"""bytes of memory that a key takes, with its value or the place of that"""
_MANIFEST, _NODE = b"\x0c\xdb\x3a\x2a", b"\x0c\xdb\x20\xde"
_HEAD, _CHECKSUM = 14, 4
_NUMBERED = "has its manifest in numbered files, which is not read; copy the checkpoint with TensorStore into a new one"


class Place(NamedTuple):
    """Where bytes are: the folder, among those of the processes, and in it the file, the offset, and the length."""

    folder: str
    file: str
    offset: int
    length: int


class KeyValues:
    """The keys of a folder with a manifest. Raises `FormatError` for a damaged one."""

    __slots__ = ("_folder", "_held", "_manifest", "_meter", "_opened", "_seen")

    def __init__(self, folder: Source) -> None:
        self._folder = folder
        self._manifest = folder.beside(MANIFEST)
        self._held: dict[str, Place | bytes] = {}
        self._opened: dict[str, Source] = {}
        self._meter = Source(self._manifest.name, self._manifest.size, self._manifest.fill, folder.beside)
        self._seen: set[Place] = set()
        root = _root(_body(self._manifest, _MANIFEST))
        if root is not None:
            self._read_node(*root, b"")

    @property
    def keys(self) -> list[str]:
        """All keys, in their order."""
        return [*self._held]

    def get(self, key: str) -> Source | None:
        """Return the value of a key; None where there is none."""
        value = self._held.get(key)
        if value is None:
            return None
        shown = f"{self._folder.name}:{key}"
        return from_bytes(value, shown, within=self._meter) if isinstance(value, bytes) else self._part(value)

    def sizes(self, before: str) -> Iterator[int]:
        """Yield the bytes of each value whose key begins so."""
        for key, value in self._held.items():
            if key.startswith(before):
                yield len(value) if isinstance(value, bytes) else value.length

    def _part(self, place: Place) -> Source:
        name = place.folder + place.file
        if name not in self._opened:
            try:
                self._opened[name] = self._folder.beside(name)
            except FileMissingError:
                what = f"refers to the file {quoted(name)}, which is missing (partial copy?)"
                raise FormatError(self._manifest.name, what) from None
        return self._opened[name].part(place.offset, place.length)

    def _read_node(self, place: Place, height: int, prefix: bytes) -> None:
        """Add the keys below a node, whose keys go on from `prefix`. A level costs a frame; there are at most 255."""
        if place in self._seen:
            raise FormatError(self._manifest.name, f"has a node twice in its tree, at byte {place.offset:,} of {place.file}")
        self._seen.add(place)
        self._meter.size += place.length
        fields = _body(self._part(place), _NODE)
        if fields.byte() != height:
            raise FormatError(fields.source.name, f"has a node of another height than {height}", place.offset)
        files = _files(fields, place.folder)
        count = fields.varint()
        fields.require(2 * count)
        Budget(self._meter).spend(KEY_COST * (count + 1))
        shared, keys = _keys(fields, count, is_leaf=height == 0)
        if height:
            for (key, common), child in zip(zip(keys, shared, strict=True), _places(fields, files, count), strict=True):
                self._read_node(child, height - 1, prefix + key[:common])
            return
        for key, value in zip(keys, _values(fields, files, count), strict=True):
            self._held[(prefix + key).decode("utf-8", "backslashreplace")] = value


class _Fields:
    """The fields of a manifest or a node, one after another."""

    __slots__ = ("_at", "_data", "source")

    def __init__(self, source: Source, data: bytes) -> None:
        self.source = source
        self._data = data
        self._at = 0

    def require(self, length: int) -> None:
        """Raise `FormatError` if fewer bytes are left."""
        if length > len(self._data) - self._at:
            raise FormatError(
                self.source.name, f"is damaged: {length:,} bytes are needed where {len(self._data) - self._at:,} are"
            )

    def take(self, length: int) -> bytes:
        self.require(length)
        self._at += length
        return self._data[self._at - length : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        """Return an integer in groups of 7 bits, the lowest first; the highest bit of a byte says that another follows."""
        value = shift = 0
        while shift < 64:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise FormatError(self.source.name, "is damaged: an integer has more than 64 bits")

    def varints(self, count: int) -> list[int]:
        self.require(count)
        return [self.varint() for _ in range(count)]


# magic 4, length of all uint64, version varint 0, compression varint (1: Zstandard), content, CRC-32C uint32 of all before
def _body(source: Source, magic: bytes) -> _Fields:
    """Return what follows the head, unpacked, after the checksum has been compared."""
    from steelyard.codecs.crc32c import crc32c

    head = source.head(_HEAD)
    if head[:4] != magic or len(head) < _HEAD or int.from_bytes(head[4:12], "little") != source.size or head[12]:
        raise FormatError(source.name, "is not a part of OCDBT, version 0, of the length that it says (partial copy?)")
    whole = source.read(0, source.size)
    if crc32c(whole[:-_CHECKSUM]) != int.from_bytes(whole[-_CHECKSUM:], "little"):
        raise FormatError(source.name, "is damaged: its checksum is another one")
    content = source.part(_HEAD, source.size - _HEAD - _CHECKSUM)
    if head[13] == 1 and compression(content) == "zstd":
        content = plain(content)
    elif head[13]:
        raise FormatError(source.name, f"is compressed in an unknown way, {head[13]}")
    Budget(source).spend(content.size)
    return _Fields(source, content.read(0, content.size))


# Config: uuid 16, kind of manifest (0 in one file), most bytes of an inline value, most bytes of a node, log2 of the width of the
# tree of versions 1, compression (1: its level int32). Then the table of files, and of n versions, field by field: number, height
# n; of each path the length that it shares with the one before (not of the first), of its rest, of its folder; the rests
def _root(fields: _Fields) -> tuple[Place, int] | None:
    """Return the place of the root of the newest version, and its height; None of an empty one."""
    fields.take(16)
    if fields.varint() != 0:
        raise FormatError(fields.source.name, _NUMBERED)
    fields.varints(2)
    fields.byte()
    fields.take(4 if fields.varint() == 1 else 0)
    files = _files(fields, "")
    count = fields.varint()
    fields.require(16 * count)
    fields.varints(count)
    heights = fields.take(count)
    located = [fields.varints(count) for _ in range(3)]
    keys = fields.varints(count)
    if not count or not keys[-1]:
        return None
    number, offset, length = (each[-1] for each in located)
    return _place(fields, files, number, offset, length), heights[-1]


# n; of each path the length that it shares with the one before (but of the first), of the rest, and of its folder; the rests
def _files(fields: _Fields, folder: str) -> list[tuple[str, str]]:
    """Return the folder and the name of each file; folders are relative to that of the file which lists them."""
    count = fields.varint()
    fields.require(2 * count)
    Budget(fields.source).spend(KEY_COST * count)
    shared = [0, *fields.varints(count - 1)] if count else []
    rests, folders = fields.varints(count), fields.varints(count)
    listed: list[tuple[str, str]] = []
    path = b""
    for common, rest, inner in zip(shared, rests, folders, strict=True):
        if common > len(path):
            raise FormatError(fields.source.name, "is damaged: a path shares more than there is with the one before it")
        path = path[:common] + fields.take(rest)
        Budget(fields.source).spend(len(path))
        own, name = path[:inner].decode("utf-8", "replace"), path[inner:].decode("utf-8", "replace")
        listed.append((folder + own, name))
    return listed


def _keys(fields: _Fields, count: int, *, is_leaf: bool) -> tuple[list[int], list[bytes]]:
    """Return the keys of a node, and of an inner node how much of each all keys below it share."""
    shared = [0, *fields.varints(count - 1)] if count else []
    rests = fields.varints(count)
    common = [] if is_leaf else fields.varints(count)
    keys: list[bytes] = []
    key = b""
    for before, rest in zip(shared, rests, strict=True):
        if before > len(key):
            raise FormatError(fields.source.name, "is damaged: a key shares more than there is with the one before it")
        key = key[:before] + fields.take(rest)
        Budget(fields.source).spend(len(key))
        keys.append(key)
    return common, keys


def _places(fields: _Fields, files: list[tuple[str, str]], count: int) -> Iterator[Place]:
    numbers, offsets, lengths = (fields.varints(count) for _ in range(3))
    for number, offset, length in zip(numbers, offsets, lengths, strict=True):
        yield _place(fields, files, number, offset, length)


# lengths of the values, a byte for each that is 1 where it is in another file, of those the files and offsets; then the others
def _values(fields: _Fields, files: list[tuple[str, str]], count: int) -> Iterator[Place | bytes]:
    lengths, kinds = fields.varints(count), fields.take(count)
    far = sum(kind == 1 for kind in kinds)
    numbers, offsets = iter(fields.varints(far)), iter(fields.varints(far))
    for length, kind in zip(lengths, kinds, strict=True):
        yield _place(fields, files, next(numbers), next(offsets), length) if kind == 1 else fields.take(length)


def _place(fields: _Fields, files: list[tuple[str, str]], number: int, offset: int, length: int) -> Place:
    if number >= len(files):
        raise FormatError(fields.source.name, f"refers to file {number} of {len(files)} in its table")
    return Place(*files[number], offset, length)
