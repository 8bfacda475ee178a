"""The files of a folder, which are audited one by one; the folder itself comes first."""

from __future__ import annotations

import os
from collections.abc import Iterator

from steelyard.auditing.findings import AuditFinding, Inside, Place
from steelyard.codecs import limits
from steelyard.errors import SteelyardError
from steelyard.storage.source import Source

_LEFT_OUT = frozenset((".git", "__pycache__"))


def parts(source: Source) -> Iterator[Inside | AuditFinding]:
    """Yield a file; or a folder, then all files in it and in its folders, by name."""
    root = Place(os.path.basename(os.path.abspath(source.name)) if source.path is not None else source.name)
    yield Inside(_fresh(source), root)
    if not source.is_file or not source.is_folder:
        return
    for count, name in enumerate(sorted(source.names()) if source.path is None else _names(source.path)):
        place = Place(name, root)
        if count >= limits.AUDITED_FILES:
            yield AuditFinding("not-looked-into", str(root), f"has more than {limits.AUDITED_FILES:,} files; the audit ends here")
            return
        try:
            yield Inside(source.beside(name), place)
        except SteelyardError as error:
            yield AuditFinding("not-looked-into", str(place), f"was not looked into: {error}")


def _fresh(source: Source) -> Source:
    """Return the same file with a budget of its own: its readers may have spent theirs."""
    return Source(source.name, source.size, source.fill, source.beside, source.path, remote=source.remote)


def _names(folder: str) -> Iterator[str]:
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - _LEFT_OUT)
        for file in sorted(files):
            yield os.path.relpath(os.path.join(path, file), folder).replace(os.sep, "/")
