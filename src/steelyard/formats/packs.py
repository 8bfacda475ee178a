"""Packs of TensorFlow Lite models: zip archives, such as those of MediaPipe, and tar archives, of several `.tflite` files.

The name of its member, without the suffix, precedes the names of a model's weights: "hand_detector/conv/kernel". A pack
may hold further packs. Other members, such as labels, are named in a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.sets import prefixed
from steelyard.codecs.zip import directory, is_zip, member_source, mentions
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable
from steelyard.storage.source import Source

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight

SUFFIXES = (".task",)

_MODELS = (".tflite", ".lite")
_BLOCK = 512
_NAMED = 5


def sniff(source: Source) -> bool:
    """Recognise a zip or tar archive with a `.tflite` member."""
    if mentions(source, b".tflite") and not mentions(source, b"data.pkl"):
        return True
    try:
        return _is_tar(source) and any(name.lower().endswith(_MODELS) for name, _ in _tar_members(source))
    except FormatError:
        return False


def read(source: Source, scope: Scope) -> Weights:
    """List the weights of each model in turn, in the order of the archive."""
    listed: list[Weight] = []
    models: list[str] = []
    others: list[str] = []
    for name, member in _members(source, 0):
        if not name.lower().endswith(_MODELS):
            others.append(name)
            continue
        stem = name.rpartition(".")[0]
        models.append(name)
        listed += [prefixed(stem, weight) for weight in _model(member, scope).values()]
    if not models:
        raise FormatError(source.name, "is a pack without a model of TensorFlow Lite")
    meta: dict[str, object] = {"models": models}
    if others:
        more = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
        meta["notes"] = [f"the pack also holds {', '.join(map(printable, others[:_NAMED]))}{more}, which were not read"]
    return Weights(listed, meta=meta)


def _model(member: Source, scope: Scope) -> Weights:
    from steelyard.formats import part_in

    if member.head(8)[4:] != b"TFL3":
        raise FormatError(member.name, "is not a model of TensorFlow Lite")
    return part_in(member, scope)


def _members(source: Source, depth: int) -> Iterator[tuple[str, Source]]:
    """Yield the files of a pack, and those of the packs in it under the names of these."""
    if depth >= limits.NESTED_FILES:
        raise FormatError(source.name, f"more than {limits.NESTED_FILES} levels of packs in packs")
    if is_zip(source):
        found: Iterator[tuple[str, Source]] = iter(
            [(name, member_source(source, member)) for name, member in directory(source).items() if name[-1:] != "/"]
        )
    else:
        found = _tar_members(source)
    for name, member in found:
        if name.lower().endswith(SUFFIXES) and is_zip(member):
            yield from ((f"{name.rpartition('.')[0]}/{inner}", each) for inner, each in _members(member, depth + 1))
        else:
            yield name, member


def _is_tar(source: Source) -> bool:
    return source.size >= 2 * _BLOCK and source.read(257, 5) == b"ustar"


# The header of a member of a tar archive, 512 bytes, before its content, which is padded to a multiple of 512:
#   0    100  name              124  12   size, octal
#   156  1    type: "0" or NUL a file, "5" a folder, "x" facts of the next member, "L" its longer name
#   257  5    "ustar"           345  155  the part of the name before a slash
# Facts are lines of a length, a key and a value: "30 path=a/longer/name\n". The archive ends with blocks of zeros.
def _tar_members(source: Source) -> Iterator[tuple[str, Source]]:
    """Yield the files of a tar archive. Raises `FormatError` for a damaged header, and a name that two members have."""
    at, longer = 0, ""
    seen: set[str] = set()
    while at + _BLOCK <= source.size and any(head := source.read(at, _BLOCK)):
        digits, kind = head[124:136].strip(b"\0 "), head[156:157]
        if head[257:262] != b"ustar" or not digits or digits.strip(b"01234567"):
            raise FormatError(source.name, "has a damaged header of a member", at)
        member = source.part(at + _BLOCK, int(digits, 8))
        at += _BLOCK + -(-member.size // _BLOCK) * _BLOCK
        if kind in (b"x", b"L"):
            longer = _longer_name(member, kind) or longer
            continue
        name, longer = longer or _text(b"/".join(filter(None, (head[345:500].rstrip(b"\0"), head[:100].rstrip(b"\0"))))), ""
        if kind not in (b"0", b"\0"):
            continue
        if name in seen:
            raise FormatError(source.name, f"has the member {printable(name)} twice")
        seen.add(name)
        yield name, Source(f"{source.name}:{name}", member.size, member.fill, source.beside, within=source)


def _longer_name(member: Source, kind: bytes) -> str:
    """Return the name of the next member that facts about it have; blank where they have none."""
    if member.size > limits.TEXT:
        raise FormatError(member.name, f"has {member.size:,} bytes of facts about a member")
    content = member.read(0, member.size)
    if kind == b"L":
        return _text(content.rstrip(b"\0"))
    lines = [line.partition(b" ")[2] for line in content.split(b"\n")]
    if any(line.startswith(b"size=") for line in lines):
        raise FormatError(member.name, "has a member whose size does not fit into its header, which is not supported")
    return next((_text(line[5:]) for line in lines if line.startswith(b"path=")), "")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
