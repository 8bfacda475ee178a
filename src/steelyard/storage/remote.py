"""Files at a URL of any fsspec scheme; only the requested ranges are transferred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard import sizes
from steelyard.errors import FileMissingError, FormatError, MissingExtraError, UnsafeFileError, printable, quoted
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
    """Open the file at a URL. Raises `MissingExtraError` without fsspec, `FileMissingError` if it cannot be opened.

    HTTP may redirect within the same host and scheme only. Raises `UnsafeFileError` for any other redirect.
    """
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError("a URL", "remote") from None
    refused: list[str] = []
    try:
        files, path = fsspec.core.url_to_fs(url, **_http_options(url, refused))
        size = int(files.info(path)["size"] or 0)
    except Exception as error:  # noqa: BLE001 - each scheme raises its own kinds
        if refused:
            raise UnsafeFileError(
                url, f"redirects to {refused[0]}, which is another host or scheme; pass that URL itself"
            ) from None
        raise FileMissingError(f"{printable(url)}: {printable(error) or type(error).__name__}; is the address right?") from None
    folder = url.partition("?")[0].partition("#")[0].rpartition("/")[0]
    return Source(url, size, _ranges(files, path, url), lambda name: open_url(f"{folder}/{_checked(folder, name)}"))


_ROUNDS = 4  # of encoding: a proxy or two may each decode a name once


def _checked(folder: str, name: str) -> str:
    """Return the name of a file of the same folder, which must not leave it after decoding either."""
    from urllib.parse import quote, unquote

    decoded = name
    for _ in range(_ROUNDS):
        decoded = unquote(decoded)
    # some servers leave out what follows a ";" in a word of a path
    if any(mark in decoded for mark in "?#;") or unquote(decoded) != decoded:
        raise UnsafeFileError(folder, f"names the file {quoted(name)}, which is not a name in a URL")
    checked_name(folder, decoded)
    return quote(checked_name(folder, name))


def _http_options(url: str, refused: list[str]) -> dict[str, Any]:
    """Return options for fsspec that stop a redirect of HTTP to another host or scheme, and note it in `refused`."""
    if not url.lower().startswith(("http://", "https://")):
        return {}
    try:
        import aiohttp
        from yarl import URL
    except ImportError:
        raise MissingExtraError("a URL", "remote") from None

    async def follow(_session: object, _context: object, params: aiohttp.TraceRequestRedirectParams) -> None:
        target = params.url.join(URL(params.response.headers.get("Location", "")))
        if target.origin() != params.url.origin():
            refused.append(printable(str(target)))
            raise ValueError("another host or scheme")

    traces = aiohttp.TraceConfig()
    traces.on_request_redirect.append(follow)
    return {"client_kwargs": {"trace_configs": [traces]}, "skip_instance_cache": True}


def _ranges(files: Any, path: str, url: str) -> Fill:
    """Return a function that fetches ranges, and caches the first bytes of the file."""
    head = b""

    def fetch(start: int, stop: int) -> bytes:
        try:
            content = files.cat_file(path, start=start, end=stop)
        except Exception as error:  # noqa: BLE001 - each scheme raises its own kinds
            raise FormatError(
                url, f"{printable(error) or type(error).__name__}; bytes {start:,} to {stop:,} cannot be fetched"
            ) from None
        if len(content) > stop - start:
            raise FormatError(url, f"the server sent {len(content):,} bytes for a range of {stop - start:,}: it ignores ranges")
        return bytes(content)

    def fill(offset: int, buffer: memoryview) -> None:
        nonlocal head
        stop = offset + len(buffer)
        if stop > sizes.REMOTE_HEAD_BYTES:
            content = fetch(offset, stop)
        else:
            head = head or fetch(0, sizes.REMOTE_HEAD_BYTES)
            content = head[offset:stop]
        if len(content) < len(buffer):
            raise FormatError(url, f"the server sent {len(content):,} of {len(buffer):,} bytes", offset)
        buffer[:] = content

    return fill
