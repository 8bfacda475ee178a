"""The audit: what a file would do if it were loaded by its own library. Nothing in it is run, and no number is read.

Each auditor knows one kind of content; the walk gives the file, and all that is nested in it, to those that may know it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from steelyard.auditing.candidates import taking
from steelyard.auditing.findings import AuditFinding
from steelyard.auditing.folders import parts
from steelyard.auditing.rules import DAMAGED, RULES, RUNS, UNREAD
from steelyard.auditing.walk import Walk
from steelyard.core.weights import Weights
from steelyard.storage.opening import open_source
from steelyard.storage.source import Source

if TYPE_CHECKING:
    from steelyard.core.net_facts import Found


class Audit:
    """The result of an audit: its `findings`, and the number of parts that were `looked` into.

    `would_run` is true if loading the file would run code or reach out of it. `damaged` and `not_looked_into` are the
    findings about damage, and about parts that could not be read.
    """

    __slots__ = ("findings", "looked")

    def __init__(self, findings: Sequence[AuditFinding], looked: int = 0) -> None:
        self.findings = tuple(findings)
        self.looked = looked

    @property
    def would_run(self) -> bool:
        """Whether loading the file would run code, or reach out of the file."""
        return bool(self._with(RUNS))

    @property
    def damaged(self) -> tuple[AuditFinding, ...]:
        """The findings about damage."""
        return self._with(DAMAGED)

    @property
    def not_looked_into(self) -> tuple[AuditFinding, ...]:
        """The findings about parts that could not be read."""
        return self._with(UNREAD)

    def _with(self, outcome: str) -> tuple[AuditFinding, ...]:
        return tuple(finding for finding in self.findings if RULES[finding.rule].outcome == outcome)

    def __repr__(self) -> str:
        return (
            "\n".join(map(repr, self.findings))
            or f"nothing would run: looked into {self.looked:,} part{'s' * (self.looked != 1)}"
        )

    def _repr_html_(self) -> str:
        from steelyard.text.results import audit_html

        return audit_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as plain Python, for JSON."""
        return {
            "would_run": self.would_run,
            "damaged": bool(self.damaged),
            "looked": self.looked,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def audit(source: str | os.PathLike[str] | Source | Weights) -> Audit:
    r"""Return what a file would do if its own library loaded it; nothing is run, and no number is read.

    `source` is the path or URL of a file, a folder, whose files are audited one by one, or the weights of a file. Archives,
    compressed streams and pickles in it are opened, to any reasonable depth. A file that cannot be read as weights is audited
    all the same. Raises `FileMissingError` for a missing file.

    Examples:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "model.pkl")
        >>> with open(path, "wb") as file:
        ...     _ = file.write(b"cos\nsystem\n(Vrm -rf /\ntR.")
        >>> audit(path)
        error: would have run os.system('rm -rf /') (model.pkl, byte 23)
    """
    if isinstance(source, Weights):
        return source.audit or Audit(())
    opened = source if isinstance(source, Source) else open_source(os.fspath(source))
    return audited(opened)


def audited(opened: Source, found: Found | None = None) -> Audit:
    """Audit an opened file; what its reader `found` in it is not looked for again."""
    if opened.is_far:
        from steelyard.auditing.quick import through

        return Audit(*through(opened))
    known = taking(found)
    findings: list[AuditFinding] = []
    looked = 0
    for part in parts(opened):
        if isinstance(part, AuditFinding):
            findings.append(part)
        else:
            walk = Walk(known).through(part)
            findings += walk.findings
            looked += walk.looked
    return Audit(findings, looked)
