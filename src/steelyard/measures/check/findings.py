"""A finding of a check, with its evidence and its severity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SEVERITIES = ("info", "warning", "error")
"""From the least to the most severe."""


class Finding:
    """One defect that a check found.

    `kind` is "unreadable", "not finite", "code", "missing shard", or one of the kinds of `health`. `severity` is "info",
    "warning" or "error". `name` is the weight's name, None for the file as a whole; `what` describes the defect in a line;
    `place` is the index of the first number that is not finite; `evidence` has the numbers that support the finding.
    """

    __slots__ = ("evidence", "kind", "name", "place", "severity", "what")

    def __init__(
        self,
        kind: str,
        name: str | None,
        what: str,
        place: tuple[int, ...] | None = None,
        *,
        severity: str = "error",
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.what = what
        self.place = place
        self.severity = severity
        self.evidence = dict(evidence or {})

    def __repr__(self) -> str:
        return self.what

    @property
    def rule(self) -> str:
        """The stable id of the rule: that of the audit, or the kind with hyphens."""
        rule = self.evidence.get("rule") if self.kind in ("code", "damaged", "not looked into") else None
        return rule if isinstance(rule, str) else self.kind.replace(" ", "-")

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain Python, for JSON."""
        return {
            "kind": self.kind,
            "rule": self.rule,
            "severity": self.severity,
            "name": self.name,
            "what": self.what,
            "place": None if self.place is None else list(self.place),
            "evidence": self.evidence,
        }

    def is_at_least(self, severity: str) -> bool:
        """Whether the finding has at least this severity."""
        return SEVERITIES.index(self.severity) >= SEVERITIES.index(severity)
