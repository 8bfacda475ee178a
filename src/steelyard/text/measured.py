"""Checks and digests as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.text.escaping import escaped_path
from steelyard.text.table import name_text

if TYPE_CHECKING:
    from steelyard.measures.check import Check
    from steelyard.measures.check.findings import Finding
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
    for finding in check.findings:
        if finding.kind in ("unreadable", "text"):
            yield finding_line(finding, scope)
            scope = ""
        else:
            yield finding_line(finding)


def check_total(check: Check) -> str:
    """Summarise the findings by kind; empty unless there are at least two."""
    wrong = [finding for finding in check.findings if finding.severity != "info"]
    if len(wrong) < 2:
        return ""
    counts = Counter(finding.kind for finding in wrong)
    named = {finding.name for finding in wrong if finding.name is not None}
    where = f" in {len(named):,} of {_weights(check.weights)}" if named else ""
    return f"{len(wrong):,} findings{where}: {', '.join(f'{count:,} {kind}' for kind, count in counts.items())}"


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
    names = ", ".join(map(name_text, digest.unsure[:NAMED]))
    more = f" and {len(digest.unsure) - NAMED:,} more" if len(digest.unsure) > NAMED else ""
    return f"{_weights(len(digest.unsure))} may have an axis order other than assumed here: {names}{more}"


def _weights(count: int) -> str:
    return f"{count:,} weight{'s' * (count != 1)}"
