"""A quick audit, for a line at the end of a command: the same rules, without the storages of tensors, which no loader runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from steelyard.auditing.findings import AuditFinding, Inside, Place
from steelyard.codecs.zip import DEFLATED, STORED, Member, directory, is_zip, member_source
from steelyard.errors import FormatError
from steelyard.formats import holds_numbers_only
from steelyard.storage.opening import open_source

if TYPE_CHECKING:
    from steelyard.auditing.findings import Auditor
    from steelyard.storage.source import Source

_STORAGE = re.compile(r"(^|/)data/\d+\Z")
_PLAIN = re.compile(
    r"[^/\\]+/(data/\d+|data\.pkl|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id|steelyard\.json)\Z"
)
"""The members of a checkpoint that `torch.save` writes."""


def would_run(path: str) -> list[str]:
    """Return what loading a file with its own library would run, in the words of the findings.

    Raises `FileMissingError`.
    """
    source = open_source(path)
    found = _of_checkpoint(source)
    if found is None:
        found = _of_any(source)
    return list(dict.fromkeys(finding.what for finding in found if finding.runs))


def _of_checkpoint(source: Source) -> list[AuditFinding] | None:
    """Return the findings about a checkpoint of `torch.save`, whose one pickle is all that a loader runs; None for other files.

    Most checkpoints are that, and this imports no auditor but that of pickles.
    """
    from steelyard.auditing import pickles
    from steelyard.codecs.torch.archive import is_stream

    try:
        if source.path is None or source.is_folder:
            return None
        place = Place(source.name)
        if is_zip(source):
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


def _of_any(source: Source) -> list[AuditFinding]:
    from steelyard.auditing import archives, auditors
    from steelyard.auditing.folders import parts
    from steelyard.auditing.walk import Walk

    plain: object = archives
    known = [cast("Auditor", _Archives()) if auditor is plain else auditor for auditor in auditors()]
    inside = [part for part in parts(source) if isinstance(part, Inside) and not holds_numbers_only(part.source)]
    return [finding for part in inside for finding in Walk(known).through(part).findings]


class _Archives:
    """The auditor of archives, but for the members of an intact one that are storages."""

    def recognises(self, source: Source) -> bool:
        from steelyard.auditing import archives

        return archives.recognises(source)

    def findings(self, source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
        from steelyard.auditing import archives

        try:
            members = [member for member in directory(source).values() if member.size]
        except FormatError:
            members = []
        if not all(_is_plain(member) and not archives.leaves(member.name) for member in members):
            members = []
        contents = [member_source(source, member, checked=False) for member in members if not _STORAGE.search(member.name)]
        if not contents or not all(map(_begins, contents)):
            yield from archives.findings(source, place)
            return
        for content in contents:
            yield Inside(content, Place(content.name.removeprefix(f"{source.name}:"), place))


def _is_plain(member: Member) -> bool:
    return member.method in (STORED, DEFLATED)


def _begins(content: Source) -> bool:
    try:
        content.head(1)
    except FormatError:
        return False
    return True
