"""A strict zip directory: one meaning or none.

What two readers could understand differently is refused: names that stand twice, members that overlap, a
local header that contradicts the directory, a wrong count, encryption. Stored members are read where they
lie; deflated ones are inflated as they are read, to their declared size and not a byte more.
"""

from __future__ import annotations

import struct
import zlib
from _thread import allocate_lock
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.errors import FormatError, printable
from steelyard.storage.source import Source

if TYPE_CHECKING:
    from steelyard.storage.source import Fill

END, END64, LOCATOR64, ENTRY, LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
STORED, DEFLATED = 0, 8
FULL32, FULL16 = 0xFFFFFFFF, 0xFFFF

MEMBERS = 1_000_000
"""Members that an archive may have."""
INFLATED = 1 << 30
"""Bytes that one deflated member may inflate to."""
RATIO = 200
"""How many times its packed size a member of more than 64 MiB may inflate to."""
STEP = 1 << 18
"""Bytes that are inflated at once while a member is passed over."""


class Member:
    """One file of the archive: where its local header lies, its sizes, method and checksum (0: none)."""

    __slots__ = ("comment", "crc", "header", "method", "name", "packed", "size")  # making a named tuple takes a millisecond

    def __init__(self, name: str, header: int, packed: int, size: int, method: int, crc: int, comment: bytes) -> None:
        self.name = name
        self.header = header
        self.packed = packed
        self.size = size
        self.method = method
        self.crc = crc
        self.comment = comment


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
    """Return a member's content as a source: in place when it is stored, inflated as it is read otherwise.

    Nothing is read before it is asked for. The checksum is compared when a member has been read from its
    beginning to its end.
    """
    if member.method not in (STORED, DEFLATED):
        raise FormatError(
            source.name,
            f"the member {printable(member.name)} is packed by method {member.method}, which is not read; repack it with deflate",
        )
    return Source(f"{source.name}:{member.name}", member.size, _Content(source, member).fill, source.beside)


def mentions(source: Source, ending: bytes) -> bool:
    """Tell cheaply whether the source is a zip archive in whose directory this text stands; never raises."""
    try:
        if not is_zip(source):
            return False
        start, size, _ = _end(source)
        return ending in source.read(start, size)
    except FormatError:
        return False


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


_ENTRY = struct.Struct("<4s4x2H4x3L3HH6xL")


def _entries(source: Source, block: bytes, count: int) -> Iterator[Member]:
    if count > MEMBERS:
        raise FormatError(source.name, f"the zip archive claims {count:,} members, more than {MEMBERS:,}")
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
            size, packed, header = _wide(source, text, block[begin + name : begin + name + extra], size, packed, header)
        if method == STORED and size != packed:
            raise FormatError(source.name, f"the stored member {printable(text)} has two sizes, {packed:,} and {size:,}")
        yield Member(text, header, packed, size, method, crc, block[at - comment : at])
    if at != len(block):
        raise FormatError(source.name, f"the zip directory holds more than the {count:,} members that it counts")


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
    for header, packed, name in sorted([(m.header, m.packed, m.name) for m in members.values()], reverse=True):
        stop = header + 30 + packed + (len(name) if name.isascii() else len(name.encode("utf-8", "surrogateescape")))
        if stop > end:
            raise FormatError(source.name, f"the member {printable(name)} overlaps what follows it", header)
        end = header


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
    if header[:4] != LOCAL or not same or offset + member.packed > source.size:
        raise FormatError(
            source.name, f"the header of the member {printable(member.name)} contradicts the directory", member.header
        )
    return offset


class _Content:
    """Reads a member; its local header is looked at when the first byte is asked for."""

    __slots__ = ("member", "opened", "source")

    def __init__(self, source: Source, member: Member) -> None:
        self.source = source
        self.member = member
        self.opened: Fill | None = None

    def fill(self, offset: int, buffer: memoryview) -> None:
        if self.opened is None:
            start = _data_offset(self.source, self.member)
            kind = _Checked if self.member.method == STORED else _Inflating
            self.opened = kind(self.source, start, self.member).fill
        self.opened(offset, buffer)


class _Checked:
    """Reads a stored member, and compares its checksum while it is read from its beginning to its end.

    Whoever reads a member whole has read what was written; a run from its middle is not checked. A checksum
    of 0 means that the writer kept none.
    """

    __slots__ = ("member", "run", "source", "start")

    def __init__(self, source: Source, start: int, member: Member) -> None:
        self.source = source
        self.start = start
        self.member = member
        self.run = (0, 0) if member.crc else (-1, 0)  # bytes read in order so far, and their checksum

    def fill(self, offset: int, buffer: memoryview) -> None:
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
    """Inflates a member as far as it is read, and from the start again for what lies before that."""

    __slots__ = ("crc", "done", "lock", "machine", "member", "packed", "rest", "source", "start")

    def __init__(self, source: Source, start: int, member: Member) -> None:
        if member.size > INFLATED or member.size > max(RATIO * member.packed, 1 << 26):
            raise FormatError(
                source.name,
                f"the member {printable(member.name)} would inflate from {member.packed:,} to {member.size:,} bytes; refused",
            )
        self.source = source
        self.start = start
        self.member = member
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
        """Inflate at most `length` bytes more; at the end see that it is the end, and the checksum."""
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
        if ended and self.member.crc:
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
        """Tell whether more comes out than the member's size says."""
        while not self.machine.eof and (self.rest or self.packed < self.member.packed):
            if self._inflate(1):
                return True
        return not self.machine.eof


def _compare(source: Source, member: Member, crc: int) -> None:
    if crc != member.crc:
        raise FormatError(f"{source.name}:{member.name}", "the content does not match its checksum: the file is damaged")
