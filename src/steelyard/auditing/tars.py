"""Tar archives, such as `.nemo` and models of PyTorch 0.1: each file in them is looked into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.archives import leaves
from steelyard.auditing.findings import AuditFinding, Inside, Place
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.storage.source import Source

_BLOCK = 512
_FILES, _LINKS, _NAMES, _FACTS = b"07\0", b"12", b"LK", b"xgX"


# The header of a file, 512 bytes, followed by its content, padded to a multiple of 512:
#   offset  size  field
#   0       100   name
#   124     12    size, octal text; or, with the highest bit of its first byte, a big-endian number
#   148     8     checksum: the sum of all bytes of the header, where these 8 count as spaces
#   156     1     type: "0" or 0 a file, "1" "2" links, "5" a folder, "L" "K" a long name of the next file, "x" "g" facts
#   157     100   target of a link
#   257     5     "ustar", except in archives from before 1988
#   345     155   what precedes the name
def recognises(source: Source) -> bool:
    """Recognise a header by its checksum."""
    return source.size >= _BLOCK and source.head(1) != b"\0" and _is_header(source.head(_BLOCK))


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Look into each file, and name those outside the folder."""
    at, long = 0, ""
    while at + _BLOCK <= source.size:
        header = source.read(at, _BLOCK)
        if not any(header):
            break
        if not _is_header(header):
            raise FormatError(source.name, "the header of a file in the tar archive is damaged", at)
        name, size, kind = long or _name(header), _number(header[124:136]), header[156:157]
        at += _BLOCK
        if size < 0 or at + size > source.size:
            if kind in _FILES and at < source.size:
                yield Inside(source.part(at, source.size - at), Place(name, place))
            raise FormatError(source.name, "the tar archive is cut (partial download?)", at)
        long = ""
        if kind in _NAMES and size < 1 << 16:
            long = source.read(at, size).rstrip(b"\0").decode("utf-8", "replace") if kind == b"L" else ""
        elif kind not in _FACTS:
            target = _text(header[157:257]) if kind in _LINKS else name
            if leaves(name) or leaves(target):
                what = f"names the file {name!r}{f', a link to {target!r}' if kind in _LINKS else ''}, outside its folder"
                yield AuditFinding("path-traversal", str(place), what, {"name": name, "target": target})
            if kind in _FILES and size:
                yield Inside(source.part(at, size, name), Place(name, place))
        at += -(-size // _BLOCK) * _BLOCK


def _is_header(header: bytes) -> bool:
    digits = header[148:156].strip(b" \0")
    if not digits or not digits.isdigit() or any(digit > 0x37 for digit in digits):
        return False
    return int(digits, 8) == sum(header) - sum(header[148:156]) + 8 * 32


def _name(header: bytes) -> str:
    before = _text(header[345:500]) if header[257:262] == b"ustar" else ""
    return f"{before}/{_text(header[:100])}" if before else _text(header[:100])


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and all(0x30 <= digit <= 0x37 for digit in digits) else 0 if not digits else -1
