"""Files at a URL of any fsspec scheme; only the requested ranges are transferred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard import sizes
from steelyard.errors import FileMissingError, MissingExtraError, printable
from steelyard.storage.source import Source, checked_name

if TYPE_CHECKING:
    from steelyard.storage.source import Fill


def is_url(text: str) -> bool:
    """Whether a text is a URL rather than a path.

    >>> is_url("https://example.org/net.safetensors"), is_url("net.safetensors"), is_url("C:/net.pt")
    (True, False, False)
    """
    scheme, mark, _ = text.partition("://")
    return bool(mark) and scheme.replace("+", "").isalnum() and len(scheme) > 1


def open_url(url: str) -> Source:
    """Open the file at a URL. Raises `MissingExtraError` without fsspec, `FileMissingError` if it cannot be opened."""
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError("a URL", "remote") from None
    try:
        files, path = fsspec.core.url_to_fs(url)
        size = int(files.info(path)["size"] or 0)
    except Exception as error:  # noqa: BLE001 - each scheme raises its own kinds
        raise FileMissingError(f"{printable(url)}: {printable(error) or type(error).__name__}; is the address right?") from None
    folder = url.rpartition("/")[0]
    return Source(url, size, _ranges(files, path), lambda name: open_url(f"{folder}/{checked_name(folder, name)}"))


def _ranges(files: Any, path: str) -> Fill:
    """Return a function that fetches ranges, and caches the first bytes of the file."""
    head = b""

    def fill(offset: int, buffer: memoryview) -> None:
        nonlocal head
        stop = offset + len(buffer)
        if stop > sizes.REMOTE_HEAD_BYTES:
            buffer[:] = files.cat_file(path, start=offset, end=stop)
            return
        head = head or files.cat_file(path, start=0, end=sizes.REMOTE_HEAD_BYTES)
        buffer[:] = head[offset:stop]

    return fill
