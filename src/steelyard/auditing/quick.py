"""A quick audit, for a line at the end of a command: the same rules, without the storages of tensors, which no loader runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from steelyard.auditing import archives
from steelyard.auditing.findings import AuditFinding, Inside, Place
from steelyard.codecs.zip import DEFLATED, STORED, Member, directory, member_source
from steelyard.errors import FormatError
from steelyard.formats import holds_numbers_only
from steelyard.storage.opening import open_source

if TYPE_CHECKING:
    from steelyard.auditing.findings import Auditor
    from steelyard.storage.source import Source

_STORAGE = re.compile(r"(^|/)data/\d+\Z")


def would_run(path: str) -> list[str]:
    """Return what loading a file with its own library would run, in the words of the findings.

    Raises `FileMissingError`.
    """
    from steelyard.auditing import auditors
    from steelyard.auditing.folders import parts
    from steelyard.auditing.walk import Walk

    source = open_source(path)
    plain: object = archives
    known: list[Auditor] = [cast("Auditor", _Archives()) if auditor is plain else auditor for auditor in auditors()]
    inside = [part for part in parts(source) if isinstance(part, Inside) and not holds_numbers_only(part.source)]
    found = [finding for part in inside for finding in Walk(known).through(part).findings]
    return list(dict.fromkeys(finding.what for finding in found if finding.runs))


class _Archives:
    """The auditor of archives, but for the members of an intact one that are storages."""

    def recognises(self, source: Source) -> bool:
        return archives.recognises(source)

    def findings(self, source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
        try:
            members = [member for member in directory(source).values() if member.size]
        except FormatError:
            members = []
        if not all(map(_is_plain, members)):
            members = []
        contents = [member_source(source, member, checked=False) for member in members if not _STORAGE.search(member.name)]
        if not contents or not all(map(_begins, contents)):
            yield from archives.findings(source, place)
            return
        for content in contents:
            yield Inside(content, Place(content.name.removeprefix(f"{source.name}:"), place))


def _is_plain(member: Member) -> bool:
    return member.method in (STORED, DEFLATED) and not archives.leaves(member.name)


def _begins(content: Source) -> bool:
    try:
        content.head(1)
    except FormatError:
        return False
    return True
