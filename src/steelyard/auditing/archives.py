"""Zip archives, of whatever suffix: each member is looked into, also where readers disagree on what the members are."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.findings import HEAD, AuditFinding, Inside, Place, reason
from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.zip import DEFLATED, END, FULL16, LOCAL, STORED, Member, directory, is_zip, member_source
from steelyard.errors import FormatError, printable, quoted
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from steelyard.codecs.contents import Contents
    from steelyard.storage.source import Source

_AHEAD = HEAD + (1 << 12)  # bytes of a member and its header that are looked at first
_STEP = 1 << 20  # bytes that are searched at a time
_PLACE_COST = 2048
"""bytes of memory that a local header is charged as, for the time to read what it announces"""


def recognises(source: Source) -> bool:
    """Recognise the first bytes of an archive; of a file also its last, since bytes may precede an archive."""
    if is_zip(source):
        return True
    # what follows a pickle is looked into after it
    return source.is_file and source.size >= 22 and source.head(1) != b"\x80" and _has_end(source)


def leaves(name: str) -> bool:
    r"""Whether the name of a member leads out of the folder into which an archive is unpacked.

    >>> leaves("a/../../b"), leaves("/etc/x"), leaves("C:\\x"), leaves("a/b..c")
    (True, True, True, False)
    """
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or os.path.isabs(name) or name.startswith("\\") or (len(name) > 1 and name[1] == ":")


def findings(source: Source, place: Place, listed: Contents | None = None) -> Iterator[AuditFinding | Inside]:
    """Look into each member; where the archive is ambiguous, into everything that looks like one.

    Of an archive that was `listed`, the members that hold nothing but numbers are not looked into again.
    """
    try:
        members = directory(source) if listed is None else listed.members
    except FormatError as error:
        if not source.name.endswith(".distcp"):  # a part of a distributed checkpoint is one archive after another
            yield AuditFinding("zip-ambiguous", str(place), reason(error, source.name))
        Budget(source).spend(source.size)
        for name, content in _local_members(source):
            yield from _leaving(name, place)
            yield Inside(content, Place(name, place))
        return
    contradicted = False
    source.ahead((member.header, min(_AHEAD, member.end - member.header)) for member in members.values())
    for member in members.values():
        yield from _leaving(member.name, place)
        if not member.size or (listed is not None and member.name in listed.numbers):
            continue
        inner = Place(member.name, place)
        if member.method not in (STORED, DEFLATED):
            what = f"is compressed by method {member.method}, and was not looked into"
            yield AuditFinding("not-looked-into", str(inner), what)
            continue
        content = member_source(source, member, checked=False)
        agrees = True
        try:
            content.keep_head(HEAD if member.method == STORED else 1)
        except FormatError as error:
            agrees = False
            if not contradicted:  # one is enough, where a tool wrote all of them like this
                contradicted = True
                yield AuditFinding("zip-ambiguous", str(place), reason(error, source.name))
            Budget(source).spend(member.packed)
            content = _as_the_directory_says(source, member)
        yield Inside(content, inner, is_member=agrees)


def _leaving(name: str, place: Place) -> Iterator[AuditFinding]:
    if leaves(name):
        what = f"names the member {quoted(name)}, outside its folder"
        yield AuditFinding("path-traversal", str(place), what, {"name": printable(name)})


def _has_end(source: Source) -> bool:
    length = min(source.size, FULL16 + 22)
    return END in source.read(source.size - length, length)


# Local header
# 0   4  "PK\3\4"
# 6   2  flags; 1: encrypted, 8: sizes and checksum follow the data
# 8   2  method
# 18  4  packed size                      22  4  size
# 26  2  length of the name               28  2  length of the extra field
# 30     name, extra field, data
def _local_members(source: Source) -> Iterator[tuple[str, Source]]:
    """Yield what the local headers announce, wherever they are; a size that is not known reaches to the next header."""
    places = [*_places(source)]
    Budget(source).spend(_PLACE_COST * len(places))
    for at, after in zip(places, [*places, source.size][1:], strict=True):
        if at + 30 > source.size:
            continue
        flags, method, packed, size, name, extra = struct.unpack("<6x2H8x2L2H", source.read(at, 30))
        begin = at + 30 + name + extra
        if begin > source.size or method not in (STORED, DEFLATED):
            continue
        left = source.size - begin
        if flags & 8 or packed > left or (method == STORED and packed != size):
            packed = min(max(after - begin, 0), left)
        text = source.read(at + 30, name).decode("utf-8", "surrogateescape")
        content = _content(source.part(begin, packed, printable(text)), method)
        Budget(source).spend(content.size)
        yield text, content


def _as_the_directory_says(source: Source, member: Member) -> Source:
    """Return the content of a member whose local header contradicts the directory, as readers find it that trust the latter."""
    if member.header + 30 > source.size:
        return from_bytes(b"", member.name)
    name, extra = struct.unpack("<26x2H", source.read(member.header, 30))
    begin = min(member.header + 30 + name + extra, source.size)
    return _content(source.part(begin, min(member.packed, source.size - begin), member.name), member.method)


def _content(packed: Source, method: int) -> Source:
    """Return the content of a member, as far as it can be inflated."""
    if method == STORED:
        return packed
    limit = limits.inflatable(packed.size)
    try:
        return from_bytes(
            zlib.decompressobj(-15).decompress(packed.read(0, packed.size), limit), packed.name, packed.beside, within=packed
        )
    except zlib.error:
        return from_bytes(b"", packed.name)


def _places(source: Source) -> Iterator[int]:
    for start in range(0, source.size, _STEP):
        block = source.read(start, min(_STEP + len(LOCAL) - 1, source.size - start))
        at = block.find(LOCAL)
        while at >= 0:
            yield start + at
            at = block.find(LOCAL, at + 1)
