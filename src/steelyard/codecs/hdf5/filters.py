"""The filters that pack a chunk, undone with exact sizes: gzip, shuffle, fletcher32 and lzf. No plug-in is ever loaded.

Pipeline, version 1: version 1, number 1, reserved 6; version 2: version 1, number 1
Filter: code 2, bytes of the name 2 (version 2: only of codes from 256 on), flags 2, number of parameters 2, name, parameters 4
each; in version 1 the name is padded to 8 bytes, and an odd number of parameters by 4 bytes
"""

from __future__ import annotations

import zlib
from struct import unpack
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.hdf5.checksum import fletcher32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.codecs.hdf5.space import Fields

GZIP, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
_NAMES = {GZIP: "gzip", SHUFFLE: "shuffle", FLETCHER32: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", LZF: "lzf"}
_READ = frozenset((GZIP, SHUFFLE, FLETCHER32, LZF))
_FIRST_FOREIGN = 256  # the first code of a plug-in, which always has a name


class Filter(NamedTuple):
    """A filter of a pipeline: its code and its parameters."""

    code: int
    parameters: tuple[int, ...]


def pipeline(fields: Fields) -> list[Filter]:
    """Return the filters, in the order in which they packed."""
    version, count = fields.uint(), fields.uint()
    fields.take(6 if version == 1 else 0)
    return [_filter(fields, version) for _ in range(count)]


def _filter(fields: Fields, version: int) -> Filter:
    code = fields.uint(2)
    named = fields.uint(2) if version == 1 or code >= _FIRST_FOREIGN else 0
    fields.take(2)
    count = fields.uint(2)
    fields.take(-(-named // 8) * 8 if version == 1 else named)
    parameters = tuple(fields.uint(4) for _ in range(count))
    fields.take(4 if version == 1 and count % 2 else 0)
    return Filter(code, parameters)


def refusal(filters: Sequence[Filter]) -> str:
    """Return why chunks with these filters are not read; blank where they are."""
    for code, _ in filters:
        if code not in _READ:
            known = f"{_NAMES[code]}, " if code in _NAMES else ""
            return f"is packed by the filter {code} ({known}not supported); pack it with gzip: h5repack -f GZIP=6 IN OUT"
    return ""


def unpacked(packed: bytes, filters: Sequence[Filter], mask: int, size: int) -> bytes:
    """Return the `size` bytes of a chunk. Bit n of `mask` is set where the n-th filter was left out.

    Raises `ValueError` for a chunk that unpacks to more or fewer bytes, or does not match its checksum.
    """
    content = packed
    for place in reversed(range(len(filters))):
        if not mask >> place & 1:
            code, parameters = filters[place]
            content = _undone(content, code, parameters, size)
    if len(content) != size:
        raise ValueError(f"a chunk unpacks to {len(content):,} bytes, not {size:,}")
    return content


def _undone(content: bytes, code: int, parameters: Sequence[int], size: int) -> bytes:
    most = size + 4  # a checksum may come before the packing
    if code == GZIP:
        return _inflated(content, most)
    if code == LZF:
        return _expanded(content, most)
    return _unshuffled(content, parameters) if code == SHUFFLE else _verified(content)


def _inflated(content: bytes, most: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(content, most + 1)
    except zlib.error as error:
        raise ValueError(f"a chunk cannot be unpacked: {error}") from None
    if len(found) > most:
        raise ValueError(f"a chunk unpacks to more than {most:,} bytes")
    if not unpacker.eof:
        raise ValueError("a chunk ends in the middle of its gzip stream")
    return found


def _unshuffled(content: bytes, parameters: Sequence[int]) -> bytes:
    """Return the bytes of each element together: they were stored as all first bytes, then all second ones, ..."""
    width = parameters[0] if parameters else 1
    count = len(content) // width if width else 0
    if width < 2 or count < 2:  # nothing to interleave
        return content
    import numpy as np

    body = np.frombuffer(content, np.uint8, count * width).reshape(width, count).T
    return body.tobytes() + content[count * width :]


def _verified(content: bytes) -> bytes:
    """Return the bytes before the checksum, which is two sums of 16 bits; old versions wrote each big-endian."""
    body, stored = content[:-4], content[-4:]
    sums = fletcher32(body)
    for order in ("<HH", ">HH"):
        if len(stored) == 4 and tuple(each % 65535 for each in unpack(order, stored)) == sums:
            return body
    raise ValueError("a chunk does not match its checksum")


# LZF: a control byte, then
# 000lllll              l + 1 bytes as they are
# lllooooo oooooooo     l + 2 bytes (l from 1 to 6) from o + 1 bytes before
# 111ooooo llllllll oooooooo   l + 9 bytes from o + 1 bytes before
def _expanded(content: bytes, most: int) -> bytes:
    made = bytearray()
    at, end = 0, len(content)
    while at < end:
        control = content[at]
        at += 1
        if control < 32:  # see the table
            made += content[at : at + control + 1]
            at += control + 1
        else:
            length = control >> 5
            if length == 7:
                length += content[at] if at < end else 0
                at += 1
            if at >= end:
                raise ValueError("a chunk ends in the middle of its lzf stream")
            back = ((control & 31) << 8 | content[at]) + 1
            at += 1
            start = len(made) - back
            if start < 0:
                raise ValueError("a chunk refers to bytes before its start")
            length += 2
            run = made[start : start + length]
            made += run if back >= length else (run * (length // back + 1))[:length]
        if len(made) > most:
            raise ValueError(f"a chunk unpacks to more than {most:,} bytes")
    if at != end:
        raise ValueError("a chunk ends in the middle of its lzf stream")
    return bytes(made)
