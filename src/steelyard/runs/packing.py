"""Packed runs: all files of a run in one ZIP, in which each snapshot is what changed since the ones before it, without a loss.

An archive has the files of a run as they are, uncompressed, so that `unzip` gives them, and for each snapshot an entry of blocks:

    lengths of the header of the safetensors file and of its packed form, 4 bytes each, little-endian; the header, by Zstandard;
        nothing if it is that of the last snapshot
    for each block of at most 1 MiB, of weights of one type that follow one another: how it was predicted, 1 byte; for each of the
        bytes of a number, the lowest first, the length of the packed plane, 4 bytes, and that plane of all numbers, by Zstandard;
        as it is if that is not shorter

The numbers of a block, as integers in the order of the floats, are predicted from those at the same place in the last one or two
snapshots. What remains of them has its sign in the lowest bit. They are sorted by how far each moved last, in bits, since it will
move about as far again: then the upper bytes of neighbours are alike, which saves a tenth. Each 64th snapshot is predicted from
none, so that damage in one entry does not lose the whole run.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.codecs import limits
from steelyard.codecs.budget import json_cost
from steelyard.errors import FormatError, MissingExtraError
from steelyard.runs.layout import HISTOGRAMS, JOURNAL, RUN, SKETCH_BASE_BYTES, SKETCH_BYTES, SKETCHES, STATS

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.runs.store import RecordedRun

VERSION = 2
MANIFEST = "packed.json"
BLOCK = 1 << 20
KEYFRAME = 64
LEVEL = 3
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "C64": 4}


class Part(NamedTuple):
    """Bytes of a snapshot that are numbers of one type; `width` are the bytes of a number, 1 where its type is not known."""

    start: int
    stop: int
    width: int
    floats: bool


class Snapshot:
    """A snapshot that is read or written: its bytes as a map, the length of its header, and its parts."""

    __slots__ = ("content", "header", "parts")

    def __init__(self, content: Array, header: int) -> None:
        self.content, self.header = content, header
        self.parts = parts_of(content[:header].tobytes(), len(content))


def require_small(text: bytes, stored: int) -> None:
    """Raise `ValueError` for JSON that takes more memory than something of so many `stored` bytes may."""
    if len(text) > limits.JSON or json_cost(text) > limits.MEMORY + limits.MEMORY_PER_BYTE * stored:
        raise ValueError(f"{len(text):,} bytes of JSON have too many values; see steelyard.limits")


def parts_of(header: bytes, size: int, stored: int | None = None) -> list[Part]:
    """Return the parts that cover a safetensors file after its header; one of bytes for a header that does not tell them.

    Raises `ValueError` for a header that takes more memory than something of so many `stored` bytes may, by default `size`.
    """
    require_small(header, size if stored is None else stored)
    try:
        listed = {name: facts for name, facts in json.loads(header[8:]).items() if name != "__metadata__"}
        found = sorted((*facts["data_offsets"], facts["dtype"]) for facts in listed.values())
        made = [Part(len(header) + a, len(header) + b, *_kind(dtype, b - a)) for a, b, dtype in found]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        made = []
    ends = [len(header), *(part.stop for part in made)]
    if ends[-1] != size or any(part.start != end or part.stop < end for part, end in zip(made, ends, strict=False)):
        return [Part(len(header), size, 1, False)]
    return _joined(made)


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Join parts of one type that follow one another: small weights share the tables of a packed plane."""
    made: list[Part] = []
    for part in parts:
        if made and made[-1][2:] == part[2:]:
            made[-1] = made[-1]._replace(stop=part.stop)
        else:
            made.append(part)
    return made


def _kind(dtype: str, length: int) -> tuple[int, bool]:
    width = _WIDTHS.get(dtype, 1)
    return (width, width > 1 and dtype[0] in "FBC") if length % width == 0 else (1, False)


def blocks(parts: Sequence[Part], before: Sequence[Snapshot]) -> Iterator[tuple[Part, slice, list[Array]]]:
    """Yield each block of a snapshot, with the same blocks of those before it that have the same parts, the last first."""
    alike = [other.content for other in before if other.parts == parts]
    for part in parts:
        for start in range(part.start, part.stop, BLOCK):
            where = slice(start, min(start + BLOCK, part.stop))
            yield part, where, [content[where] for content in alike]


def _ordered(content: Array, part: Part) -> Array:
    """Return bytes as integers which ascend as the floats do; the same again gives the bytes of the floats."""
    numbers = content.view(f"<i{part.width}")
    if not part.floats:
        return numbers
    ordered: Array = numbers ^ ((numbers >> (8 * part.width - 1)) & np.iinfo(numbers.dtype).max)
    return ordered


def _guesses(before: Sequence[Array], part: Part) -> list[Array]:
    """Return the predictions of a block: 0, the last one, and where it would be if it went on as fast, or a little slower."""
    made = [np.zeros(1, f"<i{part.width}")]
    made += [_ordered(before[0], part)] if before else []
    if len(before) > 1:
        moved = made[1] - _ordered(before[1], part)
        made += [made[1] + moved, made[1] + (moved - (moved >> 3))]
    return made


def _order(before: Sequence[Array], part: Part) -> Array | None:
    """Return the places of numbers by the bits of their last movement; None if it is not known."""
    if len(before) < 2 or part.width == 1:
        return None
    moved = _ordered(before[0], part) - _ordered(before[1], part)
    bits: Array = np.frexp(np.abs(moved.astype(np.float64)))[1].astype(np.uint8)
    return np.argsort(bits, kind="stable")


def encode(content: Array, before: Sequence[Array], part: Part) -> bytes:
    """Return a block, packed: the number of its best prediction, and what remains, one plane of bytes after the other."""
    numbers, order = _ordered(content, part), _order(before, part)
    made = []
    for way, guess in enumerate(_guesses(before, part)):
        rest = numbers - guess
        rest = (rest << 1) ^ (rest >> (8 * part.width - 1))
        rest = rest if order is None else rest[order]
        planes = np.ascontiguousarray(rest).view(np.uint8).reshape(-1, part.width).T
        made.append(struct.pack("<B", way) + b"".join(_sized(plane.tobytes()) for plane in planes))
    return min(made, key=len)


def _sized(plane: bytes) -> bytes:
    packed = _zstd().compress(plane, LEVEL)
    return struct.pack("<I", min(len(packed), len(plane))) + (packed if len(packed) < len(plane) else plane)


def decode(file: Any, before: Sequence[Array], part: Part, length: int) -> bytes:
    """Return the bytes of the next block of an entry; raises `ValueError` for what `encode` did not make."""
    guesses, order, way = _guesses(before, part), _order(before, part), _exactly(file, 1)[0]
    if way >= len(guesses):
        raise ValueError("a prediction is from snapshots that it does not have")
    planes = [np.frombuffer(_plane(file, length // part.width), np.uint8) for _ in range(part.width)]
    rest = np.stack(planes, axis=1).view(f"<u{part.width}").reshape(-1)
    if order is not None:
        sorted_rest, rest = rest, np.empty_like(rest)
        rest[order] = sorted_rest
    numbers = ((rest >> 1) ^ -(rest & 1)).view(f"<i{part.width}") + guesses[way]
    return _ordered(np.ascontiguousarray(numbers).view(np.uint8), part).tobytes()


def _plane(file: Any, length: int) -> bytes:
    (size,) = struct.unpack("<I", _exactly(file, 4))
    if size > length:
        raise ValueError("a block is longer than it was")
    packed = _exactly(file, size)
    return packed if size == length else _expanded(packed, length)


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("packing a run", "zstd") from None
    return zstandard


def _expanded(packed: bytes, length: int) -> bytes:
    """Decompress to exactly so many bytes; a frame that tells another number is not decompressed."""
    zstd = _zstd()
    try:
        if zstd.frame_content_size(packed) != length:
            raise ValueError("a block has another length")
        made: bytes = zstd.ZstdDecompressor().decompress(packed)
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from None
    if len(made) != length:
        raise ValueError("a block has another length")
    return made


def write_snapshot(file: Any, now: Snapshot, before: Sequence[Snapshot]) -> None:
    """Write the entry of a snapshot."""
    header = now.content[: now.header].tobytes()
    packed = b"" if before and header == _header(before[0]) else _zstd().compress(header, LEVEL)
    file.write(struct.pack("<II", now.header, len(packed)) + packed)
    for part, where, olds in blocks(now.parts, before):
        file.write(encode(now.content[where], olds, part))


def _header(snapshot: Snapshot) -> bytes:
    made: bytes = snapshot.content[: snapshot.header].tobytes()
    return made


def read_snapshot(file: Any, out: Any, size: int, before: Sequence[Snapshot], stored: int) -> None:
    """Write the snapshot of `size` bytes that an entry of `stored` bytes holds; raises `ValueError` if it is damaged."""
    length, packed = struct.unpack("<II", _exactly(file, 8))
    if not 8 <= length <= min(size, limits.JSON) or (packed and length > limits.inflatable(packed)):
        raise ValueError("a header is longer than its file, or than it may be")
    header = _expanded(_exactly(file, packed), length) if packed or not before else _header(before[0])
    out.write(header)
    for part, where, olds in blocks(parts_of(header, size, stored if packed else None), before):
        out.write(decode(file, olds, part, where.stop - where.start))


def _exactly(file: Any, length: int) -> bytes:
    found: bytes = file.read(length)
    if len(found) != length:
        raise ValueError("an entry ends too early")
    return found


def opened(path: str) -> Snapshot:
    """Map a snapshot; raises `FormatError` for a file that is not one."""
    content = np.memmap(path, np.uint8, "r") if os.path.getsize(path) else np.empty(0, np.uint8)
    header = 8 + int.from_bytes(content[:8].tobytes(), "little")
    if len(content) < 8 or header > min(len(content), limits.JSON):
        raise FormatError(path, "is damaged: its header is longer than the file")
    return Snapshot(content, header)


def sizes_of(run: RecordedRun) -> dict[str, int | None]:
    """Return how many bytes of each file belong to the rows of a run, None for all: a run may be recorded while it is packed."""
    rows, layout = len(run.rows), run.layout
    sketches = SKETCH_BASE_BYTES + rows * SKETCH_BYTES if rows else 0
    histograms = layout.histograms_of(rows) * layout.histogram_bytes
    journal = 0
    if rows:
        with open(os.path.join(run.path, JOURNAL), "rb") as file:
            journal = sum(len(file.readline()) for _ in range(rows))
    return {RUN: None, STATS: rows * layout.stats_bytes, HISTOGRAMS: histograms, SKETCHES: sketches, JOURNAL: journal}
