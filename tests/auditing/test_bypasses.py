"""Files of public advisories that other tools passed: each is named, and the table in docs/security.md is what the audit says now."""

from pathlib import Path

import audit_cases
import pytest
from bypasses import bypasses

from steelyard.auditing import audit
from steelyard.storage.source import from_bytes

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
BEGIN, END = "<!-- audit: benchmarks/audit.py -->", "<!-- end of audit -->"


def rows():
    """Return the cells of the lines of both tables in the page, by their first cells."""
    table = PAGE.read_text().split(BEGIN)[1].split(END)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")]


def column(rows, first):
    """Return the column of Steelyard in the table whose head begins with a cell."""
    head = next(row for row in rows if row[0] == first)
    return head.index("steelyard")


@pytest.mark.parametrize("bypass", bypasses(), ids=lambda bypass: bypass.file)
def test_what_a_public_bypass_would_run_is_named(bypass):
    assert audit(from_bytes(bypass.data, bypass.file)).would_run


def test_the_table_of_bypasses_has_them_all_and_says_that_each_is_named():
    table = rows()
    own = column(table, "advisory")
    listed = [(row[0], row[1], row[2], row[own]) for row in table if row[1] in ("picklescan", "modelscan", "Keras")]
    assert listed == [(each.id, each.of, each.shown, audit_cases.FOUND) for each in bypasses()]


@pytest.mark.shared
def test_the_table_of_kinds_has_what_the_audit_says_of_each_file():
    table = {row[0]: row for row in rows()}
    own = column([*table.values()], "kind of file")
    for kind, paths in audit_cases.cases().items():
        said = [audit_cases.said(path) for path in paths]
        assert [table[kind][1], table[kind][own]] == [str(len(paths)), str(said.count(audit_cases.FOUND))]
        assert audit_cases.SILENT not in said
