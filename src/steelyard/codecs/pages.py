"""Read a header field by field without a read for each: the page around the last field is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.storage.source import Source


class Pages:
    r"""A source that is read in pages of `size` bytes; the last one is kept.

    >>> from steelyard.storage.source import from_bytes
    >>> pages = Pages(from_bytes(b"abcdef"), 4)
    >>> pages.read(0, 2), pages.read(2, 2), pages.read(3, 3)
    (b'ab', b'cd', b'def')
    """

    __slots__ = ("_begin", "_page", "_size", "_source")

    def __init__(self, source: Source, size: int) -> None:
        self._source = source
        self._size = size
        self._begin = 0
        self._page = b""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; raises `FormatError` where the source ends before that."""
        start = offset - self._begin
        if start < 0 or start + length > len(self._page):
            wanted = max(length, min(self._size, self._source.size - offset))
            self._page, self._begin, start = self._source.read(offset, wanted), offset, 0
        return self._page[start : start + length]
