"""R's own files: one object as `saveRDS` and `serialize` write it, or several by name as `save` does, in any wrapping.

Versions 2 and 3; big-endian, little-endian or ASCII; plain or compressed by gzip, bz2, xz or Zstandard. Names of files tell
nothing (R torch calls them `.pt`), so the bytes decide. Nothing in a file is evaluated, and numbers stay where they are.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from steelyard.codecs.compression import Inflated, begins, is_compressed
from steelyard.codecs.r.binary import Binary
from steelyard.codecs.r.budget import Budget
from steelyard.codecs.r.objects import Objects
from steelyard.codecs.r.strings import native_encoding
from steelyard.codecs.r.values import Pairlist, Vector
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.codecs.r.ascii import Ascii
    from steelyard.codecs.r.binary import Reach
    from steelyard.codecs.r.values import Value
    from steelyard.storage.source import Source

SESSIONS = (b"RDX2\n", b"RDX3\n", b"RDA2\n", b"RDA3\n", b"RDB2\n", b"RDB3\n")
"""How the files of `save` and `save.image` begin: in big-endian binary, in ASCII, in the byte order of the machine."""
OLD_SESSIONS = (b"RDX1\n", b"RDA1\n", b"RDB1\n")
VERSIONS = (2, 3)
LONGEST_ENCODING = 63
"""Bytes that the name of the session's encoding may have."""


def is_r(source: Source) -> bool:
    """Tell whether this is a file of R, whatever its name: its first bytes are looked at, decompressed if need be."""
    return _is_start(begins(source, 16))


def _is_start(head: bytes) -> bool:
    if head.startswith((*SESSIONS, *OLD_SESSIONS)):
        return True
    if head[:2] == b"A\n":
        return head[2:].lstrip()[:2] in (b"2\n", b"3\n", b"2\r", b"3\r")
    return (head[:2] == b"X\n" and head[2:5] == bytes(3)) or (head[:2] == b"B\n" and _byteorder(head[2:6]) is not None)


def holds_session(source: Source) -> bool:
    """Tell whether this is a file of `save`, which holds several objects by name, and not one of `saveRDS`."""
    return begins(source, 16).startswith((*SESSIONS, *OLD_SESSIONS))


def read_r(source: Source) -> Value:
    """Read a file of R, or an R serialization in bytes: the object of `saveRDS`, or a named list of those of `save`.

    Numbers of an uncompressed binary stream are not read; a compressed one is decompressed once and held in memory.
    Trailing bytes are passed over, as R does. Raises `FormatError` for what is damaged, cut, or asks for more memory
    than it may, and `MissingExtraError` where Zstandard is needed and not installed.
    """
    content, reach = _content(source)
    head = content.read(0, min(reach(7), 7))
    begin = len(SESSIONS[0]) if head.startswith(SESSIONS) else 0
    if head.startswith(OLD_SESSIONS):
        raise FormatError(source.name, "was written by an R before 1.4; load it in R and save it again")
    objects = _start(source, content, reach, begin)
    found = objects.read()
    reach(objects.notation.position + 1)  # checksums stand behind the last byte
    return _session(objects, found) if begin else found


def _content(source: Source) -> tuple[Source, Reach]:
    if not is_compressed(source):
        return source, lambda _: source.size
    inflated = Inflated(source)
    return inflated.plain, inflated.reach


def _start(source: Source, content: Source, reach: Reach, begin: int) -> Objects:
    """Read the head of a stream: its notation, its version, and the encoding of the session that wrote it."""
    reach(begin + 6)
    if content.size < begin + 6:
        raise FormatError(source.name, f"is cut: it holds {content.size:,} bytes, too few for an R serialization")
    head = content.read(begin, 6)
    notation: Ascii | Binary
    if head[:2] == b"A\n":
        from steelyard.codecs.r.ascii import Ascii  # here, since such files are rare and its patterns take time to compile

        notation = Ascii(content, reach, begin + 2)
    elif head[:2] == b"X\n" or (head[:2] == b"B\n" and _byteorder(head[2:])):
        notation = Binary(content, reach, begin + 2, ">" if head[:1] == b"X" else _byteorder(head[2:]) or "<")
    else:
        raise FormatError(source.name, f"is no R serialization: it begins with {head!r}", begin)
    version, _, _ = notation.integer(), notation.integer(), notation.integer()
    if version not in VERSIONS:
        raise FormatError(source.name, f"is an R serialization of version {version}; only versions 2 and 3 are known", begin + 2)
    native = "utf-8" if version == 2 else native_encoding(_encoding(source, notation))
    return Objects(notation, Budget(source.name, source.size), native)


def _encoding(source: Source, notation: Ascii | Binary) -> bytes:
    length = notation.integer()
    if not 0 <= length <= LONGEST_ENCODING:
        raise FormatError(source.name, f"claims an encoding whose name has {length:,} bytes", notation.position)
    return notation.text(length)


def _byteorder(version: bytes) -> str | None:
    """Return in which order the bytes of a version make one that is known."""
    return next((order for order in "<>" if len(version) == 4 and struct.unpack(f"{order}i", version)[0] in VERSIONS), None)


def _session(objects: Objects, found: Value) -> Vector:
    """Return what `save` wrote as a list with names."""
    if found is not None and not isinstance(found, Pairlist):
        raise objects.error(f"begins as a file of save() and holds {found!r}, not objects by name")
    names, values = (found.names, found.values) if found else ([], [])
    session = Vector("list", len(values), items=values)
    session.attributes["names"] = Vector("character", len(names), strings=list(names))
    return session
