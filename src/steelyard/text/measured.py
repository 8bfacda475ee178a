"""Checks and digests as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.errors import first_of, printable
from steelyard.text.escaping import escaped_path
from steelyard.text.order import in_natural_order
from steelyard.text.table import name_text
from steelyard.text.units import counted

if TYPE_CHECKING:
    from steelyard.measures.check import Check
    from steelyard.measures.check.findings import Finding
    from steelyard.measures.check.outcomes import Outcome, Summary
    from steelyard.measures.digest import Digest

NAMED = 5
"""Maximum weights named individually; the rest is counted."""


def check_lines(check: Check) -> Iterator[str]:
    """Yield a line for each finding, or one line if there are none; then the notes.

    Findings that a healthy net may have start with "info".
    """
    if check.findings:
        yield from findings_lines(check)
    else:
        yield f"readable, complete, finite{', healthy' if check.health else ''}: {_weights(check.weights)}"
    yield from check.notes


def findings_lines(check: Check) -> Iterator[str]:
    """Yield a line for each finding; the first about a weight that was not read also states how many were."""
    scope = f"{check.readable:,} of {_weights(check.weights)} readable; " if check.readable < check.weights else ""
    for finding in shown_findings(check):
        if finding.kind in ("unreadable", "text"):
            yield finding_line(finding, scope)
            scope = ""
        else:
            yield finding_line(finding)


def shown_findings(check: Check) -> list[Finding]:
    """Return the findings in the natural order of their weights."""
    return in_natural_order(check.findings, lambda finding: finding.name or "")


def check_total(check: Check) -> str:
    """Summarise the findings by kind; empty unless there are at least two."""
    wrong = [finding for finding in check.findings if finding.severity != "info"]
    if len(wrong) < 2:
        return ""
    counts = Counter(finding.kind for finding in wrong)
    named = {finding.name for finding in wrong if finding.name is not None}
    where = f" in {len(named):,} of {_weights(check.weights)}" if named else ""
    return f"{len(wrong):,} findings{where}: {', '.join(f'{count:,} {kind}' for kind, count in counts.items())}"


def judged_lines(outcome: Outcome) -> list[tuple[Finding | None, str]]:
    """Return the lines of a check by the rules of a team, each with its finding: the line of a finding ends with its rule."""
    known = f"{_findings(outcome.known)} of the baseline" if outcome.known else ""
    if not outcome.check.findings:
        plain = check_lines(outcome.check) if outcome.looked is None else [nothing_would_run(outcome.looked)]
        return [(None, known or line) for line in plain]
    lines: list[tuple[Finding | None, str]] = []
    for finding, line in zip(shown_findings(outcome.check), findings_lines(outcome.check), strict=True):
        lines.append((finding, f"{line} [{finding.rule}]"))
    return lines + [(None, line) for line in (known, *outcome.check.notes) if line]


def nothing_would_run(looked: int) -> str:
    """Return the line of an audit without findings."""
    return f"nothing would run: looked into {counted(looked, 'part')}"


def summary_line(summary: Summary, inside: str = "") -> str:
    """Count what became of many files, and name those that were not looked into, without the folder that all are `inside`."""
    counts = (
        (summary.code, "would run code"),
        (summary.damaged, "damaged"),
        (summary.found, "with other findings"),
        (summary.no_model, "without a model"),
    )
    parts = [f"{count:,} {word}" for count, word in counts if count]
    if summary.unread:
        shown = first_of(summary.unread, NAMED, lambda name: printable(name.removeprefix(inside)))
        parts.append(f"{len(summary.unread):,} not looked into: {shown}")
    if not (summary.code or summary.damaged or summary.found or summary.unread):
        parts.insert(0, f"nothing{' new' * bool(summary.known)} would run")
    if summary.known:
        parts.insert(-1 if summary.unread else len(parts), f"{_findings(summary.known)} of the baseline not counted")
    return f"looked into {counted(summary.files, 'file')}: {', '.join(parts)}"


def import_lines(counts: Mapping[str, int]) -> Iterator[str]:
    """Yield a line for each class or function that pickles name, with the number of times."""
    for name, count in counts.items():
        yield f"names {printable(name)}" + (f" ({count:,} times)" if count > 1 else "")


def finding_line(finding: Finding, scope: str = "") -> str:
    """Format a finding as one line, with the scope of the check in front of it."""
    return f"{finding.severity}: {scope}{finding.what}" if finding.severity == "info" else f"{scope}{finding.what}"


def digest_lines(digest: Digest, what: str = "all", *, each: bool = True) -> Iterator[str]:
    """Yield a line for each weight and one for the whole, named `what`: the digest first, as sha256sum prints it."""
    if each:
        for name, own in digest.weights.items():
            yield f"{own}  {name_text(name)}"
    layout = "" if digest.layout == "own" else f"{digest.layout} "
    mark, shown = escaped_path(what)
    yield f"{mark}{digest.whole}  {shown} ({layout}{digest.algorithm} of {_weights(len(digest.weights))})"


def unsure_line(digest: Digest) -> str:
    """Name the weights whose axis order is not known."""
    names = first_of(digest.unsure, NAMED, name_text)
    return f"{_weights(len(digest.unsure))} may have an axis order other than assumed here: {names}"


def _weights(count: int) -> str:
    return counted(count, "weight")


def _findings(count: int) -> str:
    return counted(count, "finding")
