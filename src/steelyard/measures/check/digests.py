"""The digest of a file's bytes, by which a baseline and a bill of materials know it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs.archive import archive_of
from steelyard.paths import LEFT_OUT
from steelyard.storage.opening import open_source
from steelyard.storage.source import open_regular

if TYPE_CHECKING:
    from steelyard.storage.source import Source

_BLOCK = 1 << 20


def files_below(folder: str) -> Iterator[str]:
    """Yield the paths of all files in a folder and its folders, by name; links to folders are not followed."""
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        yield from (os.path.join(path, name) for name in sorted(files))


def size_of(path: str) -> int:
    """Return the bytes of a file, of a member of an archive, or of all files in a folder; 0 for a URL."""
    if "://" in path:
        return 0
    if (member := _member(path)) is not None:
        return member.size
    return sum(map(os.path.getsize, files_below(path) if os.path.isdir(path) else [path]))


def _member(path: str) -> Source | None:
    """Return the member of an archive that this is the path of; None for another path."""
    return open_source(path) if archive_of(path) != path else None


def _of_member(member: Source) -> str:
    from hashlib import sha256

    whole = sha256()
    for offset in range(0, member.size, _BLOCK):
        whole.update(member.read(offset, min(_BLOCK, member.size - offset)))
    return "" if member.is_folder else whole.hexdigest()


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a file's bytes; of a folder that of the names and digests of its files.

    "" for a URL, a pipe and a folder in an archive.
    """
    from hashlib import file_digest, sha256

    if "://" in path:
        return ""
    if (member := _member(path)) is not None:
        return _of_member(member)
    if not os.path.isdir(path):
        try:
            with open_regular(path) as file:
                return file_digest(file, "sha256").hexdigest()
        except OSError as error:
            if error.errno == errno.EINVAL:
                return ""
            raise
    whole = sha256()
    for name in files_below(path):
        relative = os.path.relpath(name, path).replace(os.sep, "/")
        whole.update(f"{sha256_of(name)}  {relative}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()
