"""A strict zip reader, which refuses every archive that two readers could understand differently.

It refuses duplicate names, members that overlap, a local header that contradicts the directory, a wrong count, and
encryption. Stored members are read in place; deflated ones are inflated as they are read, to exactly their
declared size. All numbers in the layouts below are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from _thread import allocate_lock
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.errors import FormatError, printable
from steelyard.storage.source import Source

if TYPE_CHECKING:
    from steelyard.codecs.pages import Pages
    from steelyard.storage.source import Fill

END, END64, LOCATOR64, ENTRY, LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
STORED, DEFLATED = 0, 8
FULL32, FULL16 = 0xFFFFFFFF, 0xFFFF

STEP = 1 << 18  # bytes that are inflated at a time while a member is skipped


class Member:
    """A file of the archive: the offset of its local header, its sizes, method and checksum (0: none).

    `end` is where the next member or the directory begins.
    """

    __slots__ = (
        "comment",
        "crc",
        "end",
        "header",
        "method",
        "name",
        "packed",
        "size",
    )  # making a named tuple takes a millisecond

    def __init__(self, name: str, header: int, packed: int, size: int, method: int, crc: int, comment: bytes) -> None:
        self.name = name
        self.header = header
        self.packed = packed
        self.size = size
        self.method = method
        self.crc = crc
        self.comment = comment
        self.end = 0


def is_zip(source: Source) -> bool:
    """Whether the source begins as a zip archive does."""
    return source.head(4) in (LOCAL, END)


def directory(source: Source) -> dict[str, Member]:
    """Return the members by name, in the order of the directory."""
    start, size, count = _end(source)
    members: dict[str, Member] = {}
    for member in _entries(source, source.read(start, size), count):
        if member.name in members:
            raise FormatError(source.name, f"duplicate member {printable(member.name)}; the archive is ambiguous")
        members[member.name] = member
    _check_overlap(source, members, start)
    return members


def member_source(source: Source, member: Member, *, checked: bool = True, pages: Pages | None = None) -> Source:
    """Return a member's content as a source, which reads a stored member in place and inflates a deflated one.

    Nothing is read in advance. The checksum is compared when a member has been read from its beginning to its end, unless
    `checked` is False, as for readers that ignore it. Its header is read from `pages`, if given.
    Raises `FormatError` for any other method of compression.
    """
    if member.method not in (STORED, DEFLATED):
        raise FormatError(
            source.name,
            f"the member {printable(member.name)} is compressed by method {member.method}, which is not supported; "
            "repack the archive with deflate",
        )
    content = _Content(source, member, checked=checked, pages=pages)
    return Source(f"{source.name}:{member.name}", member.size, content.fill, source.beside, within=source)


def mentions(source: Source, ending: bytes) -> bool:
    """Whether the source is a zip archive whose directory contains this text. A cheap guess that never raises."""
    try:
        if not is_zip(source):
            return False
        start, size, _ = _end(source)
        return ending in source.read(start, size)
    except FormatError:
        return False


# End of central directory record, 22 bytes, at the end of the archive
# 0   4  "PK\5\6"
# 4   2  number of this disk              6   2  disk on which the directory begins
# 8   2  entries on this disk             10  2  entries in all, 0xFFFF: see the 64-bit record
# 12  4  bytes of the directory           16  4  its offset, 0xFFFFFFFF: see the 64-bit record
# 20  2  length of the comment, which follows
def _end(source: Source) -> tuple[int, int, int]:
    """Return the offset of the directory, its length in bytes, and its number of entries."""
    tail = source.read(max(source.size - FULL16 - 22, 0), min(source.size, FULL16 + 22))
    at = tail.rfind(END)
    if at < 0 or len(tail) - at < 22:
        raise FormatError(source.name, "the zip archive has no end record (partial download?)")
    disk, first, here, count, size, start, comment = struct.unpack("<4H2LH", tail[at + 4 : at + 22])
    if at + 22 + comment != len(tail):
        raise FormatError(source.name, "bytes follow the end of the zip archive, or its comment is cut")
    if disk or first or here != count:
        raise FormatError(source.name, "the zip archive is split into several files, or its counts disagree")
    end = source.size - len(tail) + at
    locator = source.read(end - 20, 20) if end >= 20 else b""
    if locator[:4] == LOCATOR64:
        return _end64(source, locator, end - 20, (start, size, count))
    if FULL32 in (start, size) or count == FULL16:
        raise FormatError(source.name, "the zip archive announces 64-bit sizes but has none")
    if start + size != end:
        raise FormatError(source.name, "the zip directory does not end where the end record begins", start)
    return start, size, count


# 64-bit locator, 20 bytes, before the end record: "PK\6\7", disk (4), offset of the 64-bit record (8), disks (4)
#
# 64-bit end of central directory record
# 0   4  "PK\6\6"
# 4   8  bytes of the record after this field
# 12  2  version made by                  14  2  version needed
# 16  4  number of this disk              20  4  disk on which the directory begins
# 24  8  entries on this disk             32  8  entries in all
# 40  8  bytes of the directory           48  8  its offset
def _end64(source: Source, locator: bytes, place: int, short: tuple[int, int, int]) -> tuple[int, int, int]:
    """Read the 64-bit record, which ends at `place`; each field of the 32-bit one must agree with it, or be full."""
    at = int.from_bytes(locator[8:16], "little")
    record = source.read(at, 56)
    length, disk, first, here, count, size, start = struct.unpack("<4xQ4x2L4Q", record)
    if record[:4] != END64 or disk or first or here != count or start + size != at or at + 12 + length > source.size:
        raise FormatError(source.name, "the 64-bit end record of the zip archive contradicts itself", at)
    if at + 12 + length != place:
        what = "the 64-bit end record does not end at its locator; several archives follow each other in one file"
        raise FormatError(source.name, what, at)
    for word, full, long in zip(short, (FULL32, FULL32, FULL16), (start, size, count), strict=True):
        if word not in (full, long):
            raise FormatError(source.name, "the 32-bit and the 64-bit end record of the zip archive disagree", at)
    return start, size, count


# Central directory entry
MEMBER_COST = 600
"""bytes of memory that a member of a directory takes"""


# 0   4  "PK\1\2"
# 4   2  version made by                  6   2  version needed
# 8   2  flags: 0x0001 and 0x0040 mean encryption, 0x2000 a masked directory
# 10  2  method                           12  4  time and date
# 16  4  checksum (CRC-32)
# 20  4  packed size                      24  4  size, 0xFFFFFFFF: see the extra field
# 28  2  length of the name               30  2  length of the extra field
# 32  2  length of the comment            34  2  disk
# 36  6  attributes                       42  4  offset of the local header, 0xFFFFFFFF: see the extra field
# 46     name, extra field, comment
_ENTRY = struct.Struct("<4s4x2H4x3L3HH6xL")


def _entries(source: Source, block: bytes, count: int) -> Iterator[Member]:
    if 46 * count > len(block):
        raise FormatError(source.name, "the zip directory is cut or damaged")
    Budget(source).spend(MEMBER_COST * count)
    at = 0
    for _ in range(count):
        if at + 46 > len(block):
            raise FormatError(source.name, "the zip directory is cut or damaged")
        magic, flags, method, crc, packed, size, name, extra, comment, disk, header = _ENTRY.unpack_from(block, at)
        begin = at + 46
        at = begin + name + extra + comment
        text = block[begin : begin + name].decode("utf-8", "surrogateescape")
        if magic != ENTRY or at > len(block) or (disk and disk != FULL16) or flags & 0x2041:
            raise FormatError(source.name, f"the member {printable(text)} is cut, encrypted or on another disk")
        if FULL32 in (size, packed, header):
            size, packed, header = _sizes64(source, text, block[begin + name : begin + name + extra], size, packed, header)
        if method == STORED and size != packed:
            raise FormatError(source.name, f"the stored member {printable(text)} has two sizes, {packed:,} and {size:,}")
        yield Member(text, header, packed, size, method, crc, block[at - comment : at])
    if at != len(block):
        raise FormatError(source.name, f"the zip directory has more entries than the {count:,} that it claims")


# Extra field: records of tag (2), length (2), data. The record with tag 1 has the 64-bit values (8 each) of those
# among size, packed size and offset that are full, in this order.
def _sizes64(source: Source, name: str, extra: bytes, *values: int) -> tuple[int, int, int]:
    """Replace each 32-bit value that is full by its 64-bit value in the extra field."""
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
    """Refuse a member that reaches into the next one or into the directory, and note where each must end.

    The extra field of a local header may be of any length, and is checked when the member is read.
    """
    for header, packed, name in sorted([(m.header, m.packed, m.name) for m in members.values()], reverse=True):
        members[name].end = end
        stop = header + 30 + packed + (len(name) if name.isascii() else len(name.encode("utf-8", "surrogateescape")))
        if stop > end:
            raise FormatError(source.name, f"the member {printable(name)} overlaps the next one or the directory", header)
        end = header


# Local header
# 0   4  "PK\3\4"
# 4   2  version needed                   6   2  flags; 8: sizes and checksum follow the data
# 8   2  method                           10  4  time and date
# 14  4  checksum                         18  4  packed size
# 22  4  size                             26  2  length of the name
# 28  2  length of the extra field
# 30     name, extra field, data
_LOCAL = struct.Struct("<6x2H4x3L2H")
_NEAR = 256  # bytes that are read with a local header: its extra field, and the header of an array or all of a small one


def _data_of(source: Source, member: Member, near: Source | Pages) -> tuple[int, bytes]:
    """Return the offset of a member's data, and their first bytes; its local header must agree with the directory."""
    own = member.name.encode("utf-8", "surrogateescape")
    length = 30 + len(own)
    header = near.read(member.header, max(min(length + _NEAR, member.end - member.header), length))
    flags, method, crc, packed, size, name, extra = _LOCAL.unpack_from(header)
    offset: int = member.header + 30 + name + extra
    same = name == len(own) and header[30:length] == own and method == member.method and not flags & 0x2041
    later = bool(flags & 8)  # then these three are 0 here, and the directory has them
    for value, expected in ((crc, member.crc), (packed, member.packed), (size, member.size)):
        same = same and (value in (expected, FULL32) or (later and value == 0))
    if header[:4] == LOCAL and same and offset + member.packed > member.end:
        raise FormatError(
            source.name, f"the member {printable(member.name)} overlaps the next one or the directory", member.header
        )
    if header[:4] != LOCAL or not same:
        raise FormatError(
            source.name, f"the header of the member {printable(member.name)} contradicts the directory", member.header
        )
    begin = offset - member.header
    return offset, header[begin : begin + member.packed]


class _Content:
    """Reads a member; its local header is checked before the first byte is read."""

    __slots__ = ("checked", "member", "opened", "pages", "source")

    def __init__(self, source: Source, member: Member, *, checked: bool, pages: Pages | None) -> None:
        self.pages = pages
        self.source = source
        self.member = member
        self.checked = checked
        self.opened: Fill | None = None

    def fill(self, offset: int, buffer: memoryview) -> None:
        if self.opened is None:
            start, near = _data_of(self.source, self.member, self.pages or self.source)
            self.pages = None
            crc = self.member.crc if self.checked else 0
            if self.member.method == STORED:
                self.opened = _Checked(self.source, start, self.member, crc, near).fill
            else:
                self.opened = _Inflating(self.source, start, self.member, crc).fill
        self.opened(offset, buffer)


class _Checked:
    """Reads a stored member, and compares its checksum when it has been read from its beginning to its end.

    A run from the middle is not checked. A checksum of 0 means that the writer kept none. The first read may be of the bytes
    `near`, which were read just before; later ones are not, since the file may have changed.
    """

    __slots__ = ("member", "near", "run", "source", "start")

    def __init__(self, source: Source, start: int, member: Member, crc: int, near: bytes) -> None:
        self.near = near
        self.source = source
        self.start = start
        self.member = member
        self.run = (0, 0) if crc else (-1, 0)  # bytes read in order so far, and their checksum

    def fill(self, offset: int, buffer: memoryview) -> None:
        near, self.near = self.near, b""
        if offset + len(buffer) <= len(near):
            buffer[:] = near[offset : offset + len(buffer)]
        else:
            self.source.fill(self.start + offset, buffer)
        done, crc = self.run
        if not 0 <= offset <= done < offset + len(buffer):
            if offset or done < 0:
                return
            done = crc = 0  # read once more from the beginning
        crc = zlib.crc32(buffer[done - offset :], crc)
        done = offset + len(buffer)
        if done == self.member.size:
            _compare(self.source, self.member, crc)
            done = -1
        self.run = done, crc  # one assignment: threads may read at the same time


class _Inflating:
    """Inflates a member up to the last byte read; a read before the current position starts again from the beginning."""

    __slots__ = ("crc", "done", "expected", "lock", "machine", "member", "packed", "rest", "source", "start")

    def __init__(self, source: Source, start: int, member: Member, crc: int) -> None:
        if member.size > limits.inflatable(member.packed):
            what = f"would inflate from {member.packed:,} to {member.size:,} bytes; refused, see steelyard.limits"
            raise FormatError(source.name, f"the member {printable(member.name)} {what}")
        self.source = source
        self.start = start
        self.member = member
        self.expected = crc
        self.lock = allocate_lock()
        self._restart()

    def _restart(self) -> None:
        self.machine = zlib.decompressobj(-15)
        self.packed = self.done = self.crc = 0
        self.rest = b""

    def fill(self, offset: int, buffer: memoryview) -> None:
        with self.lock:
            if offset < self.done:
                self._restart()
            while self.done < offset:
                self._next(min(offset - self.done, STEP))
            filled = 0
            while filled < len(buffer):
                block = self._next(len(buffer) - filled)
                buffer[filled : filled + len(block)] = block
                filled += len(block)

    def _next(self, length: int) -> bytes:
        """Inflate at most `length` more bytes; at the declared size, check that the stream ends there, and the checksum."""
        try:
            block = self._inflate(length)
            while not block and not self.machine.eof and self.packed < self.member.packed:
                block = self._inflate(length)
        except zlib.error as error:
            raise FormatError(self.source.name, f"the member {printable(self.member.name)} is damaged: {error}") from None
        self.done += len(block)
        self.crc = zlib.crc32(block, self.crc)
        ended = self.done == self.member.size and (self.machine.eof or not self._more())
        if not block or (self.done == self.member.size and not ended):
            raise FormatError(
                self.source.name, f"the member {printable(self.member.name)} does not inflate to its {self.member.size:,} bytes"
            )
        if ended and self.expected:
            _compare(self.source, self.member, self.crc)
        return block

    def _inflate(self, length: int) -> bytes:
        packed = self.rest
        if not packed and self.packed < self.member.packed:
            packed = self.source.read(self.start + self.packed, min(STEP, self.member.packed - self.packed))
            self.packed += len(packed)
        block = self.machine.decompress(packed, length)
        self.rest = self.machine.unconsumed_tail
        return block

    def _more(self) -> bool:
        """Whether the stream continues after the member's declared size."""
        while not self.machine.eof and (self.rest or self.packed < self.member.packed):
            if self._inflate(1):
                return True
        return not self.machine.eof


def _compare(source: Source, member: Member, crc: int) -> None:
    if crc != member.crc:
        raise FormatError(f"{source.name}:{member.name}", "the content does not match its checksum: the file is damaged")
