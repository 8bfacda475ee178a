"""Opens what a path or a URL names."""

from __future__ import annotations

from steelyard.storage.source import Source, open_path


def open_source(path: str) -> Source:
    """Open a local file or folder, or a URL. Raises `FileMissingError` if it is missing."""
    if "://" in path:
        from steelyard.storage.remote import is_url, open_url

        if is_url(path):
            return open_url(path)
    return open_path(path)
