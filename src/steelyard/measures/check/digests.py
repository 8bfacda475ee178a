"""The digest of a file's bytes, by which a baseline and a bill of materials know it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from steelyard.paths import LEFT_OUT
from steelyard.storage.source import open_regular


def files_below(folder: str) -> Iterator[str]:
    """Yield the paths of all files in a folder and its folders, by name; links to folders are not followed."""
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        yield from (os.path.join(path, name) for name in sorted(files))


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a file's bytes; of a folder that of the names and digests of its files; "" for a URL or a pipe."""
    from hashlib import file_digest, sha256

    if "://" in path:
        return ""
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
