"""What a reader found in an archive, which the audit of its file need not look for again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.pages import Pages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard.codecs.zip import Member
    from steelyard.storage.source import Source

_SMALL, _PAGE = 2048, 1 << 14  # bytes of small members on average, and of a page of them


class Contents(NamedTuple):
    """The members of an archive, and the names of those that are arrays of numbers, from their first byte to their last."""

    members: Mapping[str, Member]
    numbers: frozenset[str]


def headers(source: Source, members: Mapping[str, Member]) -> Pages | None:
    """Return pages to read the headers of many small members, which lie close together; None for larger ones."""
    return Pages(source, _PAGE) if sum(member.packed for member in members.values()) < _SMALL * len(members) else None
