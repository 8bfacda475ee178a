"""What a team knows and trusts: the findings of a baseline, which are not counted, and classes, whose findings become info."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.errors import FileMissingError, FormatError, printable
from steelyard.measures.check import Check
from steelyard.measures.check.digests import sha256_of
from steelyard.measures.check.findings import Finding

if TYPE_CHECKING:
    Known = frozenset[tuple[str, str]]
    """The digest of a file and the rule of a finding in it."""

_VERSION = 1


class Policy:
    """Applies the rules of a team to a check: `allowed` are classes by module and name, `known` the findings of a baseline."""

    __slots__ = ("allowed", "known")

    def __init__(self, allowed: Iterable[str] = (), known: Known = frozenset()) -> None:
        self.allowed = frozenset(allowed)
        self.known = known

    def applied(self, check: Check, file: str) -> tuple[Check, int]:
        """Return the check without known findings, with those of allowed classes as info, and the number of known ones."""
        if not self.allowed and not self.known:
            return check, 0
        digest = sha256_of(file) if self.known and check.findings else ""
        new = [self._judged(each) for each in check.findings if (digest, each.rule) not in self.known]
        left = Check(check.weights, new, check.notes, health=check.health)
        left.readable = check.readable
        return left, len(check.findings) - len(new)

    def _judged(self, finding: Finding) -> Finding:
        classes = finding.evidence.get("classes") if finding.kind == "code" else None
        if finding.severity != "warning" or not classes or not self.allowed.issuperset(classes):
            return finding
        evidence = {**finding.evidence, "allowed": classes}
        return Finding(finding.kind, finding.name, finding.what, finding.place, severity="info", evidence=evidence)


def read_baseline(path: str) -> Known:
    """Read the known findings. Raises `FileMissingError`, or `FormatError` for a file that `baseline` did not write."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.loads(file.read(limits.JSON))
        findings = [(each["sha256"], each["rule"]) for each in record["findings"] if record["baseline"] == _VERSION]
    except OSError as error:
        raise FileMissingError(f"{printable(path)}: {error.strerror}; --write-baseline writes a baseline") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FormatError(path, "is not a baseline; --write-baseline writes one") from None
    return frozenset((digest, rule) for digest, rule in findings if isinstance(digest, str) and isinstance(rule, str))


def baseline(checks: Iterable[tuple[str, Check]], folder: str = "") -> str:
    """Return a baseline of all findings, as JSON that is equal for equal findings; `folder` is that of the written file."""
    found = {
        (os.path.relpath(file, folder or ".").replace(os.sep, "/"), sha256_of(file), each.rule)
        for file, check in checks
        for each in check.findings
    }
    findings = [{"file": file, "sha256": digest, "rule": rule} for file, digest, rule in sorted(found)]
    return json.dumps({"baseline": _VERSION, "findings": findings}, indent=2) + "\n"
