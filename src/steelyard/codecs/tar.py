"""Tar archives: the files in them, each a run of bytes of the archive."""

from __future__ import annotations

from collections.abc import Iterator

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.errors import FormatError, printable
from steelyard.storage.source import Source

_BLOCK = 512
_BINARY = 0x80
_DIGITS = 18
_MEMBER_COST = 2048
"""bytes of memory that a member is charged as, for the time to read its header"""


def is_tar(source: Source) -> bool:
    """Whether the source begins with the header of a member."""
    return source.size >= 2 * _BLOCK and source.read(257, 5) == b"ustar"


# The header of a member of a tar archive, 512 bytes, before its content, which is padded to a multiple of 512:
#   0    100  name              124  12   size, octal; or, after a byte 0x80, big-endian
#   148  8    checksum, octal: the sum of all bytes, where these 8 count as spaces
#   156  1    type: "0" or NUL a file, "5" a folder, "x" facts of the next member, "L" its longer name
#   257  5    "ustar"           345  155  the part of the name before a slash
# Facts are lines of a length, a key and a value: "30 path=a/longer/name\n", "20 size=9000000000\n". The archive ends with
# blocks of zeros.
def tar_members(source: Source) -> Iterator[tuple[str, Source]]:
    """Yield the files of a tar archive. Raises `FormatError` for a damaged header, and a name that two members have."""
    at, budget = 0, Budget(source)
    longer, larger = "", -1
    seen: set[str] = set()
    while at + _BLOCK <= source.size and any(head := source.read(at, _BLOCK)):
        budget.spend(_MEMBER_COST)
        kind = head[156:157]
        member = _content(source, at, larger if larger >= 0 else _size(source, at, head))
        at += _BLOCK + -(-member.size // _BLOCK) * _BLOCK
        if kind in (b"x", b"L"):
            name, larger = _facts(member, kind)
            longer = name or longer
            continue
        name, longer, larger = longer or _own_name(head), "", -1
        if kind not in (b"0", b"\0"):
            continue
        if name in seen:
            raise FormatError(source.name, f"has the member {printable(name)} twice")
        seen.add(name)
        yield name, Source(f"{source.name}:{name}", member.size, member.fill, source.beside, within=source)


def first_names(begin: bytes) -> Iterator[str]:
    """Yield the names in the headers of members, as far as the first bytes of an archive have them."""
    for at in range(0, len(begin) - _BLOCK + 1, _BLOCK):
        if begin[at + 257 : at + 262] == b"ustar" and begin[at + 156 : at + 157] in (b"0", b"\0"):
            yield _own_name(begin[at : at + _BLOCK])


def _own_name(head: bytes) -> str:
    parts = (head[345:500].rstrip(b"\0"), head[:100].rstrip(b"\0"))
    return _text(b"/".join(filter(None, parts)))


def _size(source: Source, at: int, head: bytes) -> int:
    size = int.from_bytes(head[125:136], "big") if head[124] == _BINARY else _octal(head[124:136])
    if head[257:262] != b"ustar" or size < 0 or _octal(head[148:156]) != sum(head) - sum(head[148:156]) + 8 * 32:
        raise FormatError(source.name, "has a damaged header of a member", at)
    return size


def _octal(field: bytes) -> int:
    """Return a number in octal digits, -1 for anything else."""
    digits = field.strip(b"\0 ")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else -1


def _content(source: Source, at: int, size: int) -> Source:
    if at + _BLOCK + size > source.size:
        raise FormatError(source.name, "the tar archive is cut off within a member (partial download?)", at)
    return source.part(at + _BLOCK, size)


def _facts(member: Source, kind: bytes) -> tuple[str, int]:
    """Return the name and the size of the next member that facts about it have; blank and -1 where they have none."""
    if member.size > limits.TEXT:
        raise FormatError(member.name, f"has {member.size:,} bytes of facts about a member")
    content = member.read(0, member.size)
    if kind == b"L":
        return _text(content.rstrip(b"\0")), -1
    lines = [line.partition(b" ")[2].partition(b"=") for line in content.split(b"\n")]
    sizes = [value for key, _, value in lines if key == b"size"]
    if any(not value.isdigit() or len(value) > _DIGITS for value in sizes):
        raise FormatError(member.name, "has facts about a member with a size that is no number")
    name = next((_text(value) for key, _, value in lines if key == b"path"), "")
    return name, int(sizes[0]) if sizes else -1


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
