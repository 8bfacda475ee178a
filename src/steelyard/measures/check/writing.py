"""Writes what a check found for other tools: a baseline, SARIF, and a bill of materials."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from steelyard import __version__
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    from steelyard.measures.check.outcomes import Outcome


def write(
    outcomes: Sequence[Outcome],
    errors: Mapping[str, str],
    *,
    baseline: str | None = None,
    sarif: str | None = None,
    bom: str | None = None,
    folder: str = "",
) -> None:
    """Write the files that are named. `errors` are the messages of files that could not be read.

    The names in a bill of materials are relative to `folder`.
    """
    if baseline:
        from steelyard.measures.check.policy import baseline as known

        _write(baseline, known([(each.file, each.check) for each in outcomes], os.path.dirname(baseline)))
    if sarif:
        from steelyard.measures.check.rules import all_rules, help_address
        from steelyard.text.sarif import sarif_text

        found = [(each.file, finding) for each in outcomes for finding in each.check.findings]
        rules = {name: (*about, help_address(name)) for name, about in all_rules().items()}
        _write(sarif, sarif_text(found, errors, rules, __version__))
    if bom:
        from steelyard.measures.check.inventory import inventory
        from steelyard.text.bom import bom_text

        moment = os.environ.get("SOURCE_DATE_EPOCH", "")
        _write(bom, bom_text(inventory(outcomes, errors, folder), __version__, int(moment) if moment.isdecimal() else None))


def _write(path: str, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())
