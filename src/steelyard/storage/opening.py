"""Opens what a path, a URL or the path of a member of an archive names."""

from __future__ import annotations

import os
from importlib import import_module

from steelyard.storage.source import Source, open_path


def open_source(path: str) -> Source:
    """Open a local file or folder, a URL, or "net.zip!/model.pt" in an archive. Raises `FileMissingError` if it is missing."""
    if "://" in path:
        from steelyard.storage.remote.addresses import is_url

        if is_url(path):
            from steelyard.storage.remote.opening import open_url

            return open_url(path)
    if "!" in path and not os.path.lexists(path):
        member: Source | None = import_module("steelyard.codecs.archive").open_member(path)  # the archives are above this
        if member is not None:
            return member
    return open_path(path)


def public(path: str) -> str:
    """Return a path as it is, and of a URL what may be shown.

    >>> public("nets/a.pt"), public("https://example.org/a.pt?signature=0123456789")
    ('nets/a.pt', 'https://example.org/a.pt')
    """
    if "://" not in path:
        return path
    from steelyard.storage.remote.addresses import shown

    return shown(path)
