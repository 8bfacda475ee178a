"""A strict zip directory: one meaning or none.

What two readers could understand differently is refused: names that stand twice, members that overlap, a
local header that contradicts the directory, a wrong count, encryption. Stored members are read where they
lie; deflated ones are inflated whole, to their declared size and not a byte more.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from steelyard.core.source import Source, from_bytes
from steelyard.errors import FormatError, printable

END, END64, LOCATOR64, ENTRY, LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
STORED, DEFLATED = 0, 8
FULL32, FULL16 = 0xFFFFFFFF, 0xFFFF

MEMBERS = 1_000_000
"""Members that an archive may have."""
INFLATED = 1 << 30
"""Bytes that one deflated member may inflate to."""
RATIO = 200
"""How many times its packed size a member of more than 64 MiB may inflate to."""


class Member(NamedTuple):
    """One file of the archive: where its local header lies, its sizes, method and checksum (0: none)."""

    name: str
    header: int
    packed: int
    size: int
    method: int
    crc: int
    comment: bytes


def is_zip(source: Source) -> bool:
    """Tell whether the source begins as a zip archive does."""
    return source.head(4) in (LOCAL, END)


def directory(source: Source) -> dict[str, Member]:
    """Return the members by name, in the order of the directory."""
    start, size, count = _end(source)
    members: dict[str, Member] = {}
    for member in _entries(source, source.read(start, size), count):
        if member.name in members:
            raise FormatError(source.name, f"the archive holds {printable(member.name)} twice; which one is meant cannot be told")
        members[member.name] = member
    _check_overlap(source, members, start)
    return members


def member_source(source: Source, member: Member) -> Source:
    """Return a member's content as a source: in place when it is stored, inflated in memory otherwise.

    Its checksum is compared when it is read for the first time.
    """
    offset = _data_offset(source, member)
    if member.method == STORED:
        return _checked(source.part(offset, member.packed, member.name), member)
    data = _inflate(source, member, source.read(offset, member.packed))
    return _checked(from_bytes(data, f"{source.name}:{member.name}", source.beside), member)


def _end(source: Source) -> tuple[int, int, int]:
    """Return where the directory begins, its bytes and its entries, from the record at the archive's end."""
    tail = source.read(max(source.size - FULL16 - 22, 0), min(source.size, FULL16 + 22))
    at = tail.rfind(END)
    if at < 0 or len(tail) - at < 22:
        raise FormatError(source.name, "the zip archive has no end record (partial download?)")
    disk, first, here, count, size, start, comment = struct.unpack("<4H2LH", tail[at + 4 : at + 22])
    if at + 22 + comment != len(tail):
        raise FormatError(source.name, "bytes follow the end of the zip archive, or its comment is cut")
    if disk or first or here != count:
        raise FormatError(source.name, "the zip archive is one of several parts, or its counts disagree")
    end = source.size - len(tail) + at
    locator = source.read(end - 20, 20) if end >= 20 else b""
    if locator[:4] == LOCATOR64:
        return _end64(source, locator, (start, size, count))
    if FULL32 in (start, size) or count == FULL16:
        raise FormatError(source.name, "the zip archive announces 64-bit sizes but has none")
    if start + size != end:
        raise FormatError(source.name, "the zip directory does not end where the end record begins", start)
    return start, size, count


def _end64(source: Source, locator: bytes, short: tuple[int, int, int]) -> tuple[int, int, int]:
    at = int.from_bytes(locator[8:16], "little")
    record = source.read(at, 56)
    length, disk, first, here, count, size, start = struct.unpack("<4xQ4x2L4Q", record)
    if record[:4] != END64 or disk or first or here != count or start + size != at or at + 12 + length > source.size:
        raise FormatError(source.name, "the 64-bit end record of the zip archive contradicts itself", at)
    for word, full, long in zip(short, (FULL32, FULL32, FULL16), (start, size, count), strict=True):
        if word not in (full, long):
            raise FormatError(source.name, "the 32-bit and the 64-bit end record of the zip archive disagree", at)
    return start, size, count


def _entries(source: Source, block: bytes, count: int) -> Iterator[Member]:
    if count > MEMBERS:
        raise FormatError(source.name, f"the zip archive claims {count:,} members, more than {MEMBERS:,}")
    at = 0
    for _ in range(count):
        if block[at : at + 4] != ENTRY or at + 46 > len(block):
            raise FormatError(source.name, "the zip directory is cut or damaged")
        flags, method, crc, packed, size, name, extra, comment, disk, header = struct.unpack(
            "<8x2H4x3L3HH6xL", block[at : at + 46]
        )
        text, more, note = _fields(block, at + 46, name, extra, comment)
        if len(note) != comment or disk not in (0, FULL16) or flags & 0x2041:
            raise FormatError(source.name, f"the member {printable(text)} is cut, encrypted or on another disk")
        if method not in (STORED, DEFLATED):
            raise FormatError(
                source.name,
                f"the member {printable(text)} is packed by method {method}, which is not read; repack it with deflate",
            )
        size, packed, header = _wide(source, text, more, size, packed, header)
        if method == STORED and size != packed:
            raise FormatError(source.name, f"the stored member {printable(text)} has two sizes, {packed:,} and {size:,}")
        yield Member(text, header, packed, size, method, crc, note)
        at += 46 + name + extra + comment
    if at != len(block):
        raise FormatError(source.name, f"the zip directory holds more than the {count:,} members that it counts")


def _fields(block: bytes, at: int, name: int, extra: int, comment: int) -> tuple[str, bytes, bytes]:
    text = block[at : at + name].decode("utf-8", "surrogateescape")
    more = block[at + name : at + name + extra]
    return text, more, block[at + name + extra : at + name + extra + comment]


def _wide(source: Source, name: str, extra: bytes, *values: int) -> tuple[int, int, int]:
    """Replace each 32-bit value that is full by the 64-bit one that the extra field has for it."""
    wide: Iterator[tuple[int]] = iter(())
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack("<2H", extra[at : at + 4])
        if tag == 1:
            field = extra[at + 4 : at + 4 + length]
            wide = struct.iter_unpack("<Q", field[: len(field) // 8 * 8])
        at += 4 + length
    try:
        size, packed, header = (next(wide)[0] if value == FULL32 else value for value in values)
    except RuntimeError:  # next() ran out inside the generator
        raise FormatError(source.name, f"the member {printable(name)} announces 64-bit sizes but has none") from None
    return size, packed, header


def _check_overlap(source: Source, members: dict[str, Member], end: int) -> None:
    """See that no member reaches into the next one, or into the directory."""
    for member in sorted(members.values(), key=lambda m: -m.header):
        stop = member.header + 30 + len(member.name.encode("utf-8", "surrogateescape")) + member.packed
        if stop > end:
            raise FormatError(source.name, f"the member {printable(member.name)} overlaps what follows it", member.header)
        end = member.header


def _data_offset(source: Source, member: Member) -> int:
    """Return where a member's bytes begin; its local header must say what the directory says."""
    header = source.read(member.header, 30)
    flags, method, crc, packed, size, name, extra = struct.unpack("<6x2H4x3L2H", header)
    offset: int = member.header + 30 + name + extra
    own = source.read(member.header + 30, name)
    same = own == member.name.encode("utf-8", "surrogateescape") and method == member.method and not flags & 0x2041
    later = bool(flags & 8)  # sizes and checksum follow the data, and stand in the directory
    for value, expected in ((crc, member.crc), (packed, member.packed), (size, member.size)):
        same = same and (value in (expected, FULL32) or (later and value == 0))
    if header[:4] != LOCAL or not same:
        raise FormatError(
            source.name, f"the header of the member {printable(member.name)} contradicts the directory", member.header
        )
    return offset


def _inflate(source: Source, member: Member, packed: bytes) -> bytes:
    if member.size > INFLATED or member.size > max(RATIO * member.packed, 1 << 26):
        raise FormatError(
            source.name,
            f"the member {printable(member.name)} would inflate from {member.packed:,} to {member.size:,} bytes; refused",
        )
    machine = zlib.decompressobj(-15)
    try:
        data = machine.decompress(packed, member.size + 1)
    except zlib.error as error:
        raise FormatError(source.name, f"the member {printable(member.name)} is damaged: {error}") from None
    if len(data) != member.size or not machine.eof:
        raise FormatError(source.name, f"the member {printable(member.name)} does not inflate to its {member.size:,} bytes")
    return data


def _checked(content: Source, member: Member) -> Source:
    """Compare the checksum before the first byte is handed out; 0 means that the writer kept none."""
    pending = [member.crc] if member.crc else []

    def fill(offset: int, buffer: memoryview) -> None:
        if pending:
            if _crc(content) != pending[0]:
                raise FormatError(content.name, "the content does not match its checksum: the file is damaged")
            pending.clear()
        content.fill(offset, buffer)

    return Source(content.name, content.size, fill, content.beside)


def _crc(content: Source, limit: int = 1 << 20) -> int:
    buffer = memoryview(bytearray(min(limit, content.size)))
    crc = 0
    for start in range(0, content.size, limit):
        block = buffer[: min(limit, content.size - start)]
        content.fill(start, block)
        crc = zlib.crc32(block, crc)
    return crc
