"""Opens what a path or a URL names."""

from __future__ import annotations

from steelyard.storage.source import Source, open_path


def open_source(path: str) -> Source:
    """Open a local file or folder, or a URL. Raises `FileMissingError` if it is missing."""
    if "://" in path:
        from steelyard.storage.remote.addresses import is_url

        if is_url(path):
            from steelyard.storage.remote.opening import open_url

            return open_url(path)
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
