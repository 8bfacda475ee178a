"""A quick audit, for a line at the end of a command: the same rules, without the storages of tensors, which no loader runs."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding, Inside, Place
from steelyard.codecs import limits
from steelyard.codecs.zip import directory, is_zip, member_source, mentions
from steelyard.core.net_facts import opened_file
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError
from steelyard.formats import holds_numbers_only
from steelyard.storage.opening import open_source

if TYPE_CHECKING:
    from steelyard.core.net_facts import Found
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

_STORAGE = re.compile(r"(^|/)data/\d+\Z")
_ENDS = re.compile(rb'"data_offsets"\s*:\s*\[\s*\d{1,20}\s*,\s*(\d{1,20})\s*\]')
_PLAIN = re.compile(
    r"[^/\\]+/(data/\d+|data\.pkl|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id|steelyard\.json)\Z"
)
"""The members of a checkpoint that `torch.save` writes."""


def would_run(path: str, listed: Weights | None = None) -> list[str]:
    """Return what loading a file with its own library would run, in the words of the findings.

    With the weights that were `listed` from it, this is about the file that was opened then, and what their reader found in
    it is not looked for again. Raises `FileMissingError`.
    """
    source, known = (listed and opened_file(listed)) or (open_source(path), None)
    findings = _of_checkpoint(source) if known is None else None
    if findings is None:
        findings = _of_any(source, known)
    return list(dict.fromkeys(finding.what for finding in findings if finding.runs))


def _of_checkpoint(source: Source) -> list[AuditFinding] | None:
    """Return the findings about a checkpoint of `torch.save`, whose one pickle is all that a loader runs; None for other files.

    Most checkpoints are that, and this imports no auditor but that of pickles.
    """
    from steelyard.auditing import pickles
    from steelyard.codecs.torch.archive import is_stream

    try:
        if not source.is_file or source.is_folder:
            return None
        place = Place(source.name)
        if is_zip(source):
            if not mentions(source, b"/data.pkl"):
                return None  # before the directory is decoded, which may have hundreds of thousands of members
            members = directory(source)
            (pickled,) = (member for member in members.values() if member.name.endswith("/data.pkl"))
            if not all(_PLAIN.match(name) for name in members):
                return None
            source = member_source(source, pickled, checked=False)
            place = Place(pickled.name, place)
        elif not is_stream(source):
            return None
        found = list(pickles.findings(source, place))
    except (FormatError, ValueError):  # it is damaged, or has no single pickle
        return None
    findings = [item for item in found if isinstance(item, AuditFinding)]
    return findings if len(findings) == len(found) else None  # bytes in the pickle may be anything


def through(source: Source) -> tuple[list[AuditFinding], int]:
    """Return the findings about a file whose bytes are fetched when they are read, and the number of parts looked into.

    The storages of tensors, which no loader runs, are not fetched.
    """
    from steelyard.auditing.candidates import Auditors
    from steelyard.auditing.folders import parts
    from steelyard.auditing.walk import Walk

    found = _of_checkpoint(source)
    if found is not None:
        return found, 1
    findings, looked = [], 0
    for part in parts(source):
        if isinstance(part, AuditFinding):
            findings.append(part)
        else:
            walk = Walk(Auditors(), is_numbers).through(part)
            findings += walk.findings
            looked += walk.looked
    return findings, looked


def _of_any(source: Source, found: Found | None) -> list[AuditFinding]:
    from steelyard.auditing.candidates import taking
    from steelyard.auditing.folders import parts
    from steelyard.auditing.walk import Walk

    known = taking(found)
    inside = [part for part in parts(source) if isinstance(part, Inside) and not _is_without_code(part.source)]
    return [finding for part in inside for finding in Walk(known, is_numbers).through(part).findings]


def is_numbers(inside: Inside) -> bool:
    """Whether a part is the storage of a tensor, by whatever reader of its archive, or an array of NumPy without objects."""
    if not inside.is_member:
        return False
    name = inside.place.name
    return _STORAGE.search(name) is not None or (name.endswith(".npy") and _is_array_of_numbers(inside.source))


def _is_array_of_numbers(source: Source) -> bool:
    from steelyard.codecs.pickle.arrays import type_code
    from steelyard.codecs.pickle.npy import header

    try:
        offset, descr, _, shape = header(source)
    except FormatError:
        return False
    code = type_code(descr)
    return code is not None and offset + prod(shape) * itemsize(code[1]) == source.size


def _is_without_code(source: Source) -> bool:
    """Whether a file holds numbers and texts only; what follows the tensors of safetensors may be anything."""
    return holds_numbers_only(source) and (source.head(9)[8:] != b"{" or _ends_with_a_tensor(source))


# 8  N, length of the header
# N  header: {"name": {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}, ...}
#    numbers; the last tensor ends with the file
def _ends_with_a_tensor(source: Source) -> bool:
    length = int.from_bytes(source.head(8), "little")
    if length > min(limits.JSON, source.size - 8):
        return False
    ends = map(int, _ENDS.findall(source.read(8, length)))
    return 8 + length + max(ends, default=0) == source.size
