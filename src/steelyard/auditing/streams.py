"""Compressed streams: gzip, bz2, xz, lzma, zstd, lz4 and zlib; their content is looked into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.findings import Inside, Place
from steelyard.codecs.budget import Budget
from steelyard.codecs.compression import begins, compression, is_compressed, plain
from steelyard.errors import FormatError, MissingExtraError
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from steelyard.auditing.findings import AuditFinding
    from steelyard.storage.source import Source

_WEAK = frozenset(("zlib", "lzma"))
"""Kinds of so few magic bytes that numbers may begin with them."""
_OLD = b"ZF"
_STREAM_COST = 8192
"""bytes of memory that a stream is charged as, for the time to begin to inflate it: up to 300 microseconds"""


def recognises(source: Source) -> bool:
    """Recognise the magic number of a stream that does inflate, or that of joblib before 0.10."""
    if not is_compressed(source):
        return source.head(2) == _OLD and source.size > _OLD_HEAD
    return compression(source) not in _WEAK or bool(begins(source))


# joblib before 0.10: "ZF", the length of the content as hexadecimal text padded to 19 bytes, then a zlib stream
_OLD_HEAD = 2 + 19


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Look into the content. Raises `FormatError` for a damaged stream, after what precedes the damage."""
    if source.head(2) == _OLD:
        yield Inside(source.part(_OLD_HEAD, source.size - _OLD_HEAD), Place("the old stream of joblib", place))
        return
    inner = Place(f"the {compression(source)} stream", place)
    Budget(source).spend(_STREAM_COST)
    try:
        content = plain(source)
    except MissingExtraError:
        raise
    except FormatError:
        head = begins(source, 1 << 20)
        Budget(source).spend(len(head))
        if head:
            yield Inside(from_bytes(head, source.name, source.beside, within=source), inner)
        raise
    Budget(source).spend(content.size)
    yield Inside(content, inner)
