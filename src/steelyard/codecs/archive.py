"""Archives of files: the members of a zip or tar archive, compressed or not, as if they were the files of a folder.

Nothing is written to a disk. A stored member is a run of bytes of the archive; a deflated one is inflated when it is read
first, and a compressed archive as a whole.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping

from steelyard.codecs import limits
from steelyard.codecs.compression import is_compressed, plain
from steelyard.codecs.tar import is_tar, tar_members
from steelyard.codecs.zip import DEFLATED, directory, is_zip, member_source
from steelyard.errors import FileMissingError, FormatError, printable
from steelyard.storage.source import Source, checked_name, open_path

MARK = "!/"
"""What follows the name of an archive before that of a member: "net.zip!/model.pt"."""

_NAMED = 5


def is_archive(source: Source) -> bool:
    """Whether the source begins as a zip or tar archive does."""
    return is_zip(source) or is_tar(source)


def members(source: Source) -> dict[str, Source]:
    """Return the files of an archive, each of which opens the others beside it. Raises `FormatError` for a damaged archive."""
    found: dict[str, Source] = {}
    if is_zip(source):
        for name, member in directory(source).items():
            if not name.endswith("/"):
                content = member_source(source, member)
                fits = member.method == DEFLATED and member.size <= limits.INFLATED
                found[name] = _named(source, name, content, _Once(content).fill if fits else content.fill)
    else:
        found = {name: _named(source, name, content, content.fill) for name, content in tar_members(source)}
    by_path = {posixpath.normpath(name): content for name, content in found.items()}
    for path, content in by_path.items():
        content.beside = _sibling(source.name, posixpath.dirname(path), by_path)
    return found


def unpacked(source: Source) -> Source:
    """Return what a compressed file holds, in memory, under its name without the last suffix; any other source unchanged."""
    if not is_compressed(source):
        return source
    content = plain(source)
    name, suffix = os.path.splitext(source.name)
    name += ".tar" if suffix.lower() in (".tgz", ".txz", ".tbz2", ".tbz") else ""
    return Source(name, content.size, content.fill, source.beside, within=source)


def open_member(path: str) -> Source | None:
    """Open a member of an archive, such as "net.zip!/model.pt"; None for the path of anything else.

    Raises `FileMissingError` for a member that the archive lacks, and `FormatError` for a file that is no archive.
    """
    at = path.find("!")
    while at >= 0 and not os.path.isfile(path[:at]):
        at = path.find("!", at + 1)
    if at < 0:
        return None
    source = open_path(path[:at])
    for name in path[at + 1 :].split("!"):
        source = _member(unpacked(source), name.removeprefix("/"))
    return source


def _member(archive: Source, name: str) -> Source:
    if not is_archive(archive):
        raise FormatError(archive.name, f"is no archive, and has no member {printable(name)}")
    found = members(archive)
    wanted = posixpath.normpath(name)
    for own, content in found.items():
        if posixpath.normpath(own) == wanted:
            return content
    there = ", ".join(printable(own) for own in [*found][:_NAMED]) + (" and others" if len(found) > _NAMED else "")
    raise FileMissingError(f"{printable(archive.name)}: has no member {printable(name)}; it has {there or 'none'}")


def _named(source: Source, name: str, content: Source, fill: Callable[[int, memoryview], None]) -> Source:
    return Source(f"{source.name}{MARK}{name.removeprefix('./')}", content.size, fill, content.beside, within=source)


def _sibling(archive: str, folder: str, by_path: Mapping[str, Source]) -> Callable[[str], Source]:
    def beside(name: str) -> Source:
        path = posixpath.normpath(posixpath.join(folder, checked_name(archive, name)))
        if path not in by_path:
            raise FileMissingError(f"{printable(archive)}: has no member {printable(path)}")
        return by_path[path]

    return beside


class _Once:
    """Reads a member as a whole when a part of it is read first."""

    __slots__ = ("content", "data")

    def __init__(self, content: Source) -> None:
        self.content = content
        self.data: bytes | None = None

    def fill(self, offset: int, buffer: memoryview) -> None:
        if self.data is None:
            self.data = self.content.read(0, self.content.size)
        buffer[:] = memoryview(self.data)[offset : offset + len(buffer)]
