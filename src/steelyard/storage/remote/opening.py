"""Opens a URL as a source, whose ranges are fetched when they are read."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

from steelyard import sizes
from steelyard.errors import FormatError, RemoteWarning
from steelyard.storage.remote.addresses import WEB, WHOLE, inside, real, scheme_of, sibling
from steelyard.storage.remote.ranges import Ranges
from steelyard.storage.remote.spool import Spool
from steelyard.storage.source import Remote, Source

if TYPE_CHECKING:
    from collections.abc import Callable

_KEPT = 2  # files that were opened last, as the two of a comparison
_lately: dict[str, tuple[object, Ranges]] = {}


def open_url(url: str) -> Source:
    """Open the file or the folder at a URL. Raises `MissingExtraError` without the package of its scheme.

    Raises `FileMissingError` for a missing file, `FormatError` for one that cannot be opened, and `UnsafeFileError` if HTTP
    redirects to another host or scheme.
    """
    url = real(url)
    if url.startswith(WHOLE):
        url = url.removeprefix(WHOLE)
        return _whole(_web(url, sys.maxsize) if scheme_of(url) in WEB else _store(url))
    return _web(url, sizes.REMOTE_WHOLE_BYTES) if scheme_of(url) in WEB else _store(url)


def version_of(url: str) -> tuple[object, ...]:
    """Return what the server says of the version of a file, its size first; empty if that is nothing, or a folder."""
    open_url(url)
    version = _lately.get(url.removeprefix(WHOLE), (None, None))[0]
    return version if isinstance(version, tuple) else ()


def _web(url: str, most: int) -> Source:
    """Open a URL of HTTP; a file of at most so many bytes is fetched whole where the server ignores ranges."""
    from steelyard.storage.remote.web import Web

    def beside(name: str) -> Source:
        return open_url(sibling(url, name))

    file = Web(url, most)
    head = file.first(sizes.REMOTE_FIRST_BYTES)
    if file.whole is not None:
        if file.size > sizes.REMOTE_FIRST_BYTES and most < sys.maxsize:
            what = f"{file.name}: the server ignores ranges, so all {file.size:,} bytes were fetched"
            warnings.warn(what, RemoteWarning, stacklevel=2)
        return Source(file.name, file.size, file.whole.fill, beside, remote=Remote(is_here=True))
    ranges = _known(url, file.version, lambda: Ranges(file, head))
    return Source(file.name, file.size, ranges.fill, beside, remote=Remote(ranges.ahead))


def _known(url: str, version: object, new: Callable[[], Ranges]) -> Ranges:
    """Return the ranges of a file that was opened lately and has not changed, else new ones; a command may open a file twice."""
    before = _lately.pop(url, None)
    ranges = before[1] if before is not None and version is not None and before[0] == version else new()
    _lately[url] = version, ranges
    while len(_lately) > _KEPT:
        del _lately[next(iter(_lately))]
    return ranges


def _store(url: str) -> Source:
    from steelyard.storage.remote.stores import Store

    file = Store(url)
    if file.is_folder:
        names = file.names()

        def nothing(offset: int, buffer: memoryview) -> None:
            raise FormatError(file.name, "is a folder", offset)

        return Source(file.name, 0, nothing, lambda name: open_url(inside(url, name)), remote=Remote(names=lambda: names))
    ranges = _known(url, file.version, lambda: Ranges(file))
    return Source(file.name, file.size, ranges.fill, lambda name: open_url(sibling(url, name)), remote=Remote(ranges.ahead))


def _whole(source: Source) -> Source:
    """Return a source of the same bytes, which are fetched now."""
    if source.is_folder:
        raise FormatError(source.name, f"is a folder; {WHOLE} fetches a file")
    if not source.is_far:
        return source
    whole = Spool(source.name)
    buffer = memoryview(bytearray(min(4 * sizes.REMOTE_BULK_BYTES, source.size)))
    for start in range(0, source.size, len(buffer) or 1):
        piece = buffer[: source.size - start]
        source.fill(start, piece)
        whole.add(piece)
    return Source(source.name, source.size, whole.fill, source.beside, remote=Remote(is_here=True))
