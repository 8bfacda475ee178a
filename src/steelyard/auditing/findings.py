"""What an audit finds: findings with their places, and the parts of a file that are still to be looked into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from steelyard.auditing.rules import RULES
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.storage.source import Source

HEAD = 512
"""bytes of a part that are held in memory"""


class Place:
    """Where something is: the name of a file or member, and the place of what contains it.

    `origin` is the byte where it begins, if the bytes of the whole are meant to be counted from there. `is_guess` is true in
    byte strings of a pickle and storages, which are numbers unless they prove to be something else.

    >>> Place("archive/data.pkl", Place("model.zip")).at(120)
    'archive/data.pkl in model.zip, byte 120'
    """

    __slots__ = ("depth", "inside", "is_guess", "name", "origin")

    def __init__(self, name: str, inside: Place | None = None, origin: int = 0, *, is_guess: bool = False) -> None:
        self.name = name
        self.inside = inside
        self.origin = origin
        self.is_guess: bool = is_guess or (inside is not None and inside.is_guess)
        self.depth: int = 0 if inside is None else inside.depth + 1

    def __str__(self) -> str:
        own = printable(self.name)
        return own if self.inside is None else f"{own} in {self.inside}"

    def at(self, offset: int) -> str:
        """Return the place of a byte."""
        return f"{self}, byte {self.origin + offset:,}"


def reason(error: Exception, name: str) -> str:
    """Return the message of an error without file and byte, which the place has.

    >>> reason(ValueError("a.pkl: is cut (at byte 12)"), "a.pkl")
    'is cut'
    """
    text = str(error).removeprefix(f"{printable(name)}: ")
    head, mark, byte = text.rpartition(" (at byte ")
    return head if mark and byte.rstrip(")").replace(",", "").isdigit() else text


class Remark(NamedTuple):
    """What an auditor says before its place is known: the rule, one sentence, and the classes that it is about."""

    rule: str
    what: str
    classes: tuple[str, ...] = ()

    def found(self, place: str) -> AuditFinding:
        """Return the finding at a place."""
        return AuditFinding(self.rule, place, self.what, {"classes": list(self.classes)} if self.classes else None)


class AuditFinding:
    """One thing that an audit found.

    `rule` is the id of its rule, `severity` "info", "warning" or "error", `place` where it is ("archive/data.pkl in
    model.zip, byte 120"), `what` one sentence, and `evidence` the facts behind it: "classes" are the classes, by module and
    name, for which alone the finding is there.
    """

    __slots__ = ("evidence", "place", "rule", "what")

    def __init__(self, rule: str, place: str, what: str, evidence: Mapping[str, Any] | None = None) -> None:
        self.rule = rule
        self.place = place
        self.what = what
        self.evidence = dict(evidence or {})

    @property
    def severity(self) -> str:
        """The severity of the rule: "info", "warning" or "error"."""
        return RULES[self.rule].severity

    @property
    def runs(self) -> bool:
        """Whether loading the file would run code, or reach out of the file."""
        return RULES[self.rule].runs

    def __repr__(self) -> str:
        return f"{self.severity}: {self.what} ({self.place})"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain Python, for JSON."""
        record = {"rule": self.rule, "severity": self.severity, "place": self.place, "what": self.what}
        return {**record, "evidence": self.evidence}


class Inside:
    """A part of a file that is to be looked into: its bytes as a source, and its place.

    `is_member` is true for a member of an archive on whose name and place all readers agree.
    """

    __slots__ = ("is_member", "place", "source")

    def __init__(self, source: Source, place: Place, *, is_member: bool = False) -> None:
        self.source = source
        self.place = place
        self.is_member = is_member


class Auditor(Protocol):
    """A module that audits one kind of content. Nothing in the content is run, rendered or imported."""

    @staticmethod
    def recognises(source: Source) -> bool:
        """Whether the source is of this kind, by its first bytes or its name; it may also be of others."""

    @staticmethod
    def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
        """Yield what is found, and the parts that are to be looked into. Raises `FormatError` for damaged content.

        What is read or inflated is charged to the budget of the source.
        """


class TakingFound(Protocol):
    """An auditor that goes on from what the reader of the same file found in it."""

    @staticmethod
    def recognises(source: Source) -> bool:
        """Recognise as any auditor does."""

    @staticmethod
    def findings(source: Source, place: Place, listed: Any = None) -> Iterator[AuditFinding | Inside]:
        """Yield the same findings as without what was found when the file was `listed`."""
