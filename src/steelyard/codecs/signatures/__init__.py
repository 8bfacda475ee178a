"""What a file or a folder is that no reader takes, and the way out; the tables are imported for such a file alone.

The content decides first, then the names of the members of an archive, and then the name of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from steelyard.codecs.compression import begins, is_compressed
from steelyard.codecs.zip import directory, is_zip
from steelyard.errors import SteelyardError, quoted

if TYPE_CHECKING:
    from steelyard.storage.source import Source

_HEAD = 4096
_ZEROS = 1 << 16


def named(source: Source) -> str:
    """Return what a source is, and what to do instead, in a sentence without an end; blank where nothing is known of it.

    >>> from steelyard.storage.source import from_bytes
    >>> named(from_bytes(b"CBM1" + bytes(9), "a.model"))
    'a model of CatBoost: trees, not a net, and so without weights'
    """
    if source.is_folder:
        return _folder(source.names())
    head = source.head(_HEAD)
    found = _members(source) if is_zip(source) else _bytes(source, head)
    return found or _name(source) or _last(source, head)


def _bytes(source: Source, head: bytes) -> str:
    from steelyard.codecs.signatures.structures import STRUCTURES
    from steelyard.codecs.signatures.table import MARKS, TEXTS

    for offset, mark, what in MARKS:
        if head.startswith(mark, offset):
            return what
    for is_one, what in STRUCTURES:
        if is_one(source, head):
            return what
    return _first(TEXTS, head) or _compressed(source)


def _compressed(source: Source) -> str:
    """Name what is in a compressed stream."""
    from steelyard.codecs.signatures.table import MARKS, PACKED, TEXTS

    if not is_compressed(source):
        return ""
    head = begins(source, _HEAD)
    marked = next((what for offset, mark, what in MARKS if head.startswith(mark, offset)), "")
    found = _first(PACKED, head) or marked or _first(TEXTS, head)
    return f"compressed, and in it {found}" if found else ""


def _first(table: Iterable[tuple[bytes, str]], head: bytes) -> str:
    return next((what for pattern, what in table if re.match(pattern, head, re.DOTALL)), "")


def _members(source: Source) -> str:
    from steelyard.codecs.signatures.table import ARCHIVES

    try:
        members = directory(source)
    except SteelyardError as error:
        is_cut = "no end record" in str(error) or "bytes follow the end" in str(error)  # of an archive in it
        return "a zip archive that is cut off: its directory, at the end, is missing (partial download?)" if is_cut else ""
    known = next((what for pattern, what in ARCHIVES if any(re.search(pattern, name) for name in members)), "")
    return known or "a zip archive in which no weight file is known by its name"


def _name(source: Source) -> str:
    from steelyard.codecs.signatures.table import NAMES

    name = source.name.replace("\\", "/").rpartition("/")[2].lower()
    return next((what for pattern, what in NAMES if re.search(pattern, name)), "")


def _last(source: Source, head: bytes) -> str:
    """Name what has no signature: zeros, and plain text."""
    if head and not any(head) and not any(source.head(_ZEROS)):
        return f"begins with {min(source.size, _ZEROS):,} zero bytes: a download that was not finished, or a broken disk"
    text = head[:-3] if len(head) == _HEAD else head  # the last letter may be cut
    try:
        readable = text.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    if not all(letter.isprintable() or letter in "\t\r\n\f" for letter in readable):
        return ""
    return f"a text that begins with {quoted(readable.strip()[:40])}, not a weight file"


def _folder(names: Iterable[str]) -> str:
    from steelyard.codecs.signatures.table import FOLDERS

    names = set(names)
    for wanted, what in FOLDERS:
        if all(any(re.fullmatch(pattern, name) for name in names) for pattern in wanted):
            return what
    return ""
