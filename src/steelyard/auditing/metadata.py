"""The metadata of safetensors and GGUF: chat templates, text that looks like code, and bytes that no tensor has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding, Inside, Place
from steelyard.codecs import limits
from steelyard.errors import printable, quoted

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.formats.gguf.header import TensorInfo
    from steelyard.storage.source import Source

_GGUF = b"GGUF"
_CODE = re.compile(
    r"__import__|\b(?:eval|exec|compile)\s*\(|\bos\.(?:system|popen)|\bsubprocess\b|<\s*script|javascript:|\bimport\s+(?:os|sys|socket)\b"
    r"|__(?:class|globals|builtins|subclasses|reduce)__|\$\(\s*\w|`[^`\n]*\b(?:curl|wget|bash|sh)\b|\b(?:curl|wget)\s+\S+\s*\|"
    r"|\bpickle\.loads|\bmarshal\.loads|/bin/(?:ba)?sh|powershell|cmd\.exe|gASV\w|\{\{|\{%"
)
_MARKS = (
    *("__", "eval", "exec", "compile", "os.", "subprocess", "<", "javascript:", "import", "$(", "`", "curl", "wget", "loads"),
    *("/bin/", "powershell", "cmd.exe", "gASV", "{{", "{%"),
)
"""Every match of `_CODE` has one of these, which are found in a hundredth of its time: a file may describe 100,000 tensors."""


def recognises(source: Source) -> bool:
    """Recognise the magic number of GGUF, or the header of safetensors with its first key."""
    head = source.head(20)
    if head[:4] == _GGUF:
        return True
    if not (source.name.lower().endswith(".safetensors") or b'{"' in head[8:]):
        return False
    from steelyard.formats.safetensors import sniff

    return sniff(source)


def findings(source: Source, place: Place, listed: Mapping[str, str] | None = None) -> Iterator[AuditFinding | Inside]:
    """Judge the texts, and look into what follows the tensors.

    Of a safetensors file that was `listed`, whose tensors then take every byte, these are the texts of its metadata.
    """
    if listed is not None:
        yield from _texts(iter(listed.items()), place)
    elif source.head(4) == _GGUF:
        yield from _of_gguf(source, place)
    else:
        yield from _of_safetensors(source, place)


def looks_like_code(text: str) -> str:
    """Return the first part of a text that looks like code, or "".

    >>> looks_like_code("trained on os.system calls, see docs"), looks_like_code("a model of eval sets")
    ('os.system', '')
    """
    text = text[: limits.TEXT]
    match = _CODE.search(text) if any(mark in text for mark in _MARKS) else None
    return match[0] if match else ""


def _texts(texts: Iterator[tuple[str, str]], place: Place) -> Iterator[AuditFinding]:
    from steelyard.auditing.templates import is_template, judged

    for key, text in texts:
        if is_template(text):
            yield from judged(text, Place(key, place))
        elif part := looks_like_code(text):
            what = f"has {quoted(part, 60)} in the metadata {printable(key, 100)}, which looks like code"
            yield AuditFinding("metadata-code", str(place), what)


def _of_safetensors(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    from steelyard.auditing.plain_values import decoded

    length = int.from_bytes(source.read(0, 8), "little")
    header = decoded(source.read(8, length), source)
    entries = header if isinstance(header, dict) else {}
    held = entries.get("__metadata__")
    yield from _texts(
        ((key, text) for key, text in held.items() if isinstance(text, str)) if isinstance(held, dict) else iter(()), place
    )
    end = 8 + length
    for begin, stop in sorted(filter(None, map(_extent, entries.values()))):
        gap = begin + 8 + length - end
        if gap > 0 and end + gap <= source.size:
            yield AuditFinding(
                "trailing-bytes", place.at(end), f"{gap:,} bytes between the tensors belong to none", {"bytes": gap}
            )
            yield Inside(source.part(end, gap), Place("the bytes between the tensors", place, is_guess=True))
        end = max(end, stop + 8 + length)
    yield from _after(source, place, end, 0)


def _extent(entry: Plain) -> tuple[int, int] | None:
    """Return where the numbers of a tensor begin and end, from the end of the header."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2:
        return None
    begin, end = offsets
    return (begin, end) if isinstance(begin, int) and isinstance(end, int) and 0 <= begin <= end else None


def _after(source: Source, place: Place, end: int, padding: int) -> Iterator[AuditFinding | Inside]:
    """Look into the bytes after the last tensor, of which `padding` are usual."""
    left = source.size - end
    if left > padding and end >= 0 and source.read(end, min(left, 4096)).strip(b"\0"):
        what = f"{left:,} bytes follow the tensors, and nothing describes them"
        yield AuditFinding("trailing-bytes", place.at(end), what, {"bytes": left})
        yield Inside(source.part(end, left), Place("the bytes after the tensors", place, is_guess=True))


def _of_gguf(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    from steelyard.formats.gguf.header import HeaderCursor, alignment_of, read_infos, read_metadata

    cursor = HeaderCursor(source)
    tensors, pairs = cursor.counts()
    metadata = read_metadata(cursor, pairs)
    yield from _texts(((key, text) for key, text in metadata.items() if isinstance(text, str)), place)
    infos = read_infos(cursor, tensors)
    alignment = alignment_of(cursor, metadata)
    begin = -(-cursor.offset // alignment) * alignment
    end = _end_of_tensors(infos)
    if end is not None:
        yield from _after(source, place, begin + end, 2 * alignment)


def _end_of_tensors(infos: Mapping[str, TensorInfo]) -> int | None:
    """Return where the last tensor ends, from the beginning of the data; None if the width of a type is not known."""
    if any(not info.nbytes and 0 not in info.shape for info in infos.values()):
        return None
    return max((info.offset + info.nbytes for info in infos.values()), default=0)
