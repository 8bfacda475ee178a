"""R's own files: one object as `saveRDS` and `serialize` write it, or several by name as `save` does.

Versions 2 and 3; big-endian, little-endian or ASCII; plain or compressed by gzip, bz2, xz or Zstandard. The format is
recognised by its bytes, not by the name of the file (R torch calls its files `.pt`). Nothing in a file is evaluated, and
numbers stay in the file until they are read.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.budget import Budget
from steelyard.codecs.compression import Inflated, begins, is_compressed
from steelyard.codecs.r.binary import Binary
from steelyard.codecs.r.objects import Objects
from steelyard.codecs.r.strings import native_encoding
from steelyard.codecs.r.values import Pairlist, Symbol, Vector
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.codecs.r.ascii import Ascii
    from steelyard.codecs.r.blocks import Available
    from steelyard.codecs.r.values import Value
    from steelyard.storage.source import Source

SESSIONS = (b"RDX2\n", b"RDX3\n", b"RDA2\n", b"RDA3\n", b"RDB2\n", b"RDB3\n")
"""The first bytes of files of `save` and `save.image`: RDX big-endian, RDA in ASCII, RDB in the machine's byte order."""
OLD_SESSIONS = (b"RDX1\n", b"RDA1\n", b"RDB1\n")
VERSIONS = (2, 3)
MAX_ENCODING = 63  # bytes of the name of the native encoding


def is_r(source: Source) -> bool:
    """Whether this is a file of R, judged by its first bytes, which are decompressed if need be."""
    return _is_start(begins(source, 16))


def _is_start(head: bytes) -> bool:
    if head.startswith((*SESSIONS, *OLD_SESSIONS)):
        return True
    if head[:2] == b"A\n":
        return head[2:].lstrip()[:2] in (b"2\n", b"3\n", b"2\r", b"3\r")
    return (head[:2] == b"X\n" and head[2:5] == bytes(3)) or (head[:2] == b"B\n" and _byteorder(head[2:6]) is not None)


def holds_session(source: Source) -> bool:
    """Whether this is a file of `save`, which holds several objects by name, not one of `saveRDS`."""
    return begins(source, 16).startswith((*SESSIONS, *OLD_SESSIONS))


class Contents(NamedTuple):
    """What a file of R holds: its object, and the names of all symbols, also those in compiled functions."""

    root: Value
    symbols: set[str]


def read_r(source: Source) -> Value:
    """Read a file of R or an R serialization in bytes: the object of `saveRDS`, or the objects of `save` as a named list.

    The numbers of an uncompressed binary stream are not read; a compressed stream is decompressed once and held in memory.
    Trailing bytes are ignored, as in R. Raises `FormatError` for a file that is damaged, cut, or needs more memory than
    `Budget` allows, and `MissingExtraError` if Zstandard is needed and not installed.
    """
    return read_whole(source).root


def read_whole(source: Source) -> Contents:
    """Read a file as `read_r` does, and return the symbols besides."""
    objects, available, is_session = _opened(source)
    value = objects.read()
    available(objects.notation.position + 1)  # the checksum of a compressed stream follows its last byte
    return Contents(_session(objects, value) if is_session else value, _symbols(objects))


def read_symbols(source: Source) -> tuple[Value, set[str], FormatError | None]:
    """Read a file of R as far as it goes: return its object, the names of all symbols, and the error that ended it.

    Symbols are also those in compiled functions, whose instructions are skipped. Raises `FormatError` for a damaged head.
    """
    objects, _, is_session = _opened(source)
    value, broken = None, None
    try:
        value = objects.read()
        value = _session(objects, value) if is_session else value
    except FormatError as error:
        broken = error
    return value, _symbols(objects), broken


def _symbols(objects: Objects) -> set[str]:
    return {each.name for each in objects.references if isinstance(each, Symbol)}


def _opened(source: Source) -> tuple[Objects, Available, bool]:
    """Return the objects of a file, unread, and whether it is one of `save`."""
    content, available = _content(source)
    head = content.read(0, min(available(7), 7))
    begin = len(SESSIONS[0]) if head.startswith(SESSIONS) else 0
    if head.startswith(OLD_SESSIONS):
        raise FormatError(source.name, "was written by an R before 1.4, in a format that is not read")
    return _start(source, content, available, begin), available, bool(begin)


def _content(source: Source) -> tuple[Source, Available]:
    """Return the decompressed stream, and the function that decompresses it as far as it is needed."""
    if not is_compressed(source):
        return source, lambda _: source.size
    inflated = Inflated(source)
    return inflated.plain, inflated.reach


# Head of a stream (a file of `save` has one of SESSIONS before it)
#   2      "X\n" big-endian binary, "B\n" little-endian binary, "A\n" ASCII
#   int32  version of the serialization: 2 or 3
#   int32  version of R that wrote it: major << 16 | minor << 8 | patch
#   int32  oldest version of R that reads it, likewise
#   int32  version 3 only: size of the name of the native encoding
#   size   version 3 only: the name, "UTF-8"
#   item   the object; of a file of `save` a pairlist, whose tags are the names
def _start(source: Source, content: Source, available: Available, begin: int) -> Objects:
    """Read the head of a stream: its notation, its version, and the native encoding of the session that wrote it."""
    available(begin + 6)
    if content.size < begin + 6:
        raise FormatError(source.name, f"is cut: it holds {content.size:,} bytes, too few for an R serialization")
    head = content.read(begin, 6)
    notation: Ascii | Binary
    if head[:2] == b"A\n":
        from steelyard.codecs.r.ascii import Ascii  # imported here: such files are rare, and its patterns take time to compile

        notation = Ascii(content, available, begin + 2)
    elif head[:2] == b"X\n" or (head[:2] == b"B\n" and _byteorder(head[2:])):
        notation = Binary(content, available, begin + 2, ">" if head[:1] == b"X" else _byteorder(head[2:]) or "<")
    else:
        raise FormatError(source.name, f"is not an R serialization: it begins with {head!r}", begin)
    version, _, _ = notation.integer(), notation.integer(), notation.integer()
    if version not in VERSIONS:
        raise FormatError(source.name, f"is an R serialization of version {version}; only versions 2 and 3 are known", begin + 2)
    native = "utf-8" if version == 2 else native_encoding(_encoding(source, notation))
    return Objects(notation, Budget(source), native)


def _encoding(source: Source, notation: Ascii | Binary) -> bytes:
    length = notation.integer()
    if not 0 <= length <= MAX_ENCODING:
        raise FormatError(source.name, f"claims an encoding whose name has {length:,} bytes", notation.position)
    return notation.text(length)


def _byteorder(version: bytes) -> str | None:
    """Return the byte order in which four bytes are a known version; None if there is none."""
    return next((order for order in "<>" if len(version) == 4 and struct.unpack(f"{order}i", version)[0] in VERSIONS), None)


def _session(objects: Objects, value: Value) -> Vector:
    """Return the pairlist that `save` wrote as a named list."""
    if value is not None and not isinstance(value, Pairlist):
        raise objects.error(f"begins as a file of save() and holds {value!r}, not objects by name")
    names, values = (value.names, value.values) if value else ([], [])
    session = Vector("list", len(values), items=values)
    session.attributes["names"] = Vector("character", len(names), strings=list(names))
    return session
