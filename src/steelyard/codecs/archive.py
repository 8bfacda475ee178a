"""Archives of files: the members of a zip or tar archive, compressed or not, as if they were the files of a folder.

Nothing is written to a disk. A stored member is a run of bytes of the archive; a deflated one is inflated when it is read
first, and a compressed archive as a whole.
"""

from __future__ import annotations

import os
import posixpath
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile

from steelyard.codecs import limits
from steelyard.codecs.compression import is_compressed, plain
from steelyard.codecs.tar import is_tar, tar_members
from steelyard.codecs.zip import DEFLATED, directory, is_zip, member_source
from steelyard.errors import FileMissingError, FormatError, first_of, printable
from steelyard.storage.source import Remote, Source, checked_name, open_path

MARK = "!/"
"""What follows the name of an archive before that of a member: "net.zip!/model.pt"."""

_MACOS = "__MACOSX/"
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
    tree = _Tree(source, found)
    for path, content in tree.files.items():
        content.beside = tree.opener(posixpath.dirname(path))
    return found


def folder_in(source: Source) -> Source:
    """Return the files of an archive as a folder: the innermost that has all of them. Raises as `members` does.

    The files that macOS adds do not count.
    """
    tree = _Tree(source, members(source))
    own = [posixpath.dirname(name).split("/") for name in tree.files if not name.startswith(_MACOS)]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*own, strict=False))
    return tree.folder("/".join(parts[0] for parts in shared))


def unpacked(source: Source) -> Source:
    """Return what a compressed file holds, in memory, under its name without the last suffix; any other source unchanged."""
    if not is_compressed(source):
        return source
    content = plain(source)
    name, suffix = os.path.splitext(source.name)
    name += ".tar" if suffix.lower() in (".tgz", ".txz", ".tbz2", ".tbz") else ""
    return Source(name, content.size, content.fill, source.beside, within=source)


def open_member(path: str) -> Source | None:
    """Open a file or folder in an archive, such as "net.zip!/model.pt"; None for the path of anything else.

    Raises `FileMissingError` for a member that the archive lacks, and `FormatError` for a file that is no archive.
    """
    outer = archive_of(path)
    if outer == path:
        return None
    source = open_path(outer)
    for name in path[len(outer) + 1 :].split("!"):
        source = _member(unpacked(source), name.removeprefix("/"))
    return source


def archive_of(path: str) -> str:
    """Return the path of the file with a member, "net.zip" for "net.zip!/model.pt"; any other path as it is."""
    if "!" not in path or os.path.lexists(path):
        return path
    at = path.find("!")
    while at >= 0 and not os.path.isfile(path[:at]):
        at = path.find("!", at + 1)
    return path if at < 0 else path[:at]


def _member(archive: Source, name: str) -> Source:
    if not is_archive(archive):
        raise FormatError(archive.name, f"is no archive, and has no member {printable(name)}")
    found = members(archive)
    tree, wanted = _Tree(archive, found), posixpath.normpath(name)
    if wanted in tree.files:
        return tree.files[wanted]
    if tree.has_folder(wanted):
        return tree.folder(wanted)
    there = first_of([*found], _NAMED) or "none"
    raise FileMissingError(f"{printable(archive.name)}: has no member {printable(name)}; it has {there}")


def _named(source: Source, name: str, content: Source, fill: Callable[[int, memoryview], None]) -> Source:
    return Source(f"{source.name}{MARK}{name.removeprefix('./')}", content.size, fill, content.beside, within=source)


class _Tree:
    """The files of an archive by their paths, and the folders that these make."""

    __slots__ = ("_paths", "archive", "files")

    def __init__(self, archive: Source, found: Mapping[str, Source]) -> None:
        self.archive = archive
        self.files = {posixpath.normpath(name): content for name, content in found.items()}
        self._paths = sorted(self.files)

    def has_folder(self, path: str) -> bool:
        """Whether a file is in this folder, or in one of its folders."""
        before = _inside(path)
        at = bisect_left(self._paths, before)
        return at < len(self._paths) and self._paths[at].startswith(before)

    def folder(self, path: str) -> Source:
        """Return a folder, which has files and no bytes."""
        name = f"{self.archive.name}{MARK}{path}" if path else self.archive.name
        facts = Remote(names=lambda: [*self._names(_inside(path))], is_here=True)
        return Source(name, 0, self.archive.fill, self.opener(path), within=self.archive, remote=facts)

    def _names(self, before: str) -> Iterator[str]:
        at = bisect_left(self._paths, before)
        while at < len(self._paths) and self._paths[at].startswith(before):
            name, slash, _ = self._paths[at][len(before) :].partition("/")
            yield name
            at = bisect_left(self._paths, f"{before}{name}0", at) if slash else at + 1  # "0" is the letter after "/"

    def opener(self, folder: str) -> Callable[[str], Source]:
        """Return a function that opens a file or folder by its path from this folder."""

        def beside(name: str) -> Source:
            path = posixpath.normpath(posixpath.join(folder, checked_name(self.archive.name, name)))
            if path in self.files:
                return self.files[path]
            if path == "." or self.has_folder(path):
                return self.folder("" if path == "." else path)
            raise FileMissingError(f"{printable(self.archive.name)}: has no member {printable(path)}")

        return beside


def _inside(path: str) -> str:
    return f"{path}/" if path else ""


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
