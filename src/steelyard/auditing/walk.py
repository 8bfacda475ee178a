"""The walk through a file: every part that contains others is opened, and each is given to all auditors that recognise it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from steelyard.auditing.findings import HEAD, AuditFinding, Inside, reason
from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.errors import MissingExtraError, SteelyardError

if TYPE_CHECKING:
    from steelyard.auditing.candidates import Auditors

PART_COST = 3072
"""bytes of memory that a part is charged as, for the time to ask which auditors know it: 75 microseconds"""
KNOWN_COST = 6144
"""bytes of memory that an auditor which knows a part is charged as, for the time to begin: 150 microseconds"""


class Walk:
    """Looks into one file. `findings` are in the order of the file, `looked` is the number of parts.

    Parts for which `skips` is true are not looked into.
    """

    __slots__ = ("_auditors", "_ended", "_known", "_skips", "findings", "looked")

    def __init__(self, auditors: Auditors, skips: Callable[[Inside], bool] | None = None) -> None:
        self.findings: list[AuditFinding] = []
        self.looked = 0
        self._auditors = auditors
        self._skips = skips
        self._ended = False
        self._known: set[tuple[str, str, str]] = set()

    def through(self, inside: Inside) -> Walk:
        """Look into a part and all parts in it, without recursion."""
        pending: list[Iterator[AuditFinding | Inside]] = [self._looked(inside)]
        while pending and not self._ended:
            item = next(pending[-1], None)
            if item is None:
                pending.pop()
            elif isinstance(item, AuditFinding):
                self._add(item)
            elif self._skips is not None and self._skips(item):
                continue
            elif len(pending) > limits.AUDIT_DEPTH:
                what = f"is nested more than {limits.AUDIT_DEPTH} levels deep, and was not looked into"
                self._add(AuditFinding("not-looked-into", str(item.place), what))
            else:
                pending.append(self._looked(item))
        return self

    def _add(self, finding: AuditFinding) -> None:
        """Keep a finding; a file may be recognised by several auditors, which find the same."""
        key = finding.rule, finding.place, finding.what
        if key not in self._known:
            self._known.add(key)
            self.findings.append(finding)

    def _looked(self, inside: Inside) -> Iterator[AuditFinding | Inside]:
        self.looked += 1
        if self.looked > limits.OBJECTS:
            self._ended = True
            yield AuditFinding("not-looked-into", str(inside.place), f"more than {limits.OBJECTS:,} parts; the audit ends here")
            return
        source = inside.source
        with suppress(SteelyardError):  # each auditor raises the same, which becomes a finding
            source.keep_head(HEAD)
        try:
            Budget(source).spend(PART_COST)
            auditors = self._auditors.of(source)
        except SteelyardError as error:
            yield self._unknown(inside, error)
            return
        for auditor in auditors:
            try:
                if auditor.recognises(source):
                    Budget(source).spend(KNOWN_COST)
                    yield from auditor.findings(source, inside.place)
            except MissingExtraError as error:
                yield AuditFinding("not-looked-into", str(inside.place), f"was not looked into: {error}")
            except SteelyardError as error:
                yield self._unknown(inside, error)
            if self._ended:
                return

    def _unknown(self, inside: Inside, error: SteelyardError) -> AuditFinding:
        """Return the finding of an error, which ends the walk if the budget of the file is used up."""
        self._ended = Budget(inside.source).is_used_up
        rule = "not-looked-into" if self._ended else "damaged"
        return AuditFinding(rule, str(inside.place), reason(error, inside.source.name))
