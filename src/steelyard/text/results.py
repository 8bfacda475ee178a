"""Results in a notebook: the tables of the terminal as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from steelyard.errors import SteelyardError
from steelyard.text.architectures import layer_columns
from steelyard.text.architectures import remarks as architecture_remarks
from steelyard.text.changes import changed
from steelyard.text.differences import (
    OF_SEVERAL,
    SPECTRUM,
    diff_columns,
    diff_remarks,
    figure,
    grouped,
    look_at,
    one_sided,
    spectra_remarks,
    spectrum_cells,
    totals_line,
)
from steelyard.text.lineage import CHANCE, apart, duplicates, kinship_cells, name_notes, nearest_first, tree_lines
from steelyard.text.lineage import HEAD as LINEAGE_HEAD
from steelyard.text.markup import EACH, LIMIT, READ, block, foldable, lines, more, page, rows_html, within
from steelyard.text.measured import check_lines, digest_lines, shown_findings
from steelyard.text.order import in_natural_order
from steelyard.text.plan import HEAD as PLAN_HEAD
from steelyard.text.plan import plan_cells, plan_remarks
from steelyard.text.quantized import WEIGHTS, remarks, title, ways, worst
from steelyard.text.sizes import notes as size_notes
from steelyard.text.sizes import row_columns, type_columns
from steelyard.text.sizes import totals as size_totals
from steelyard.text.statistics import grouped as grouped_figures
from steelyard.text.statistics import left_out, nonfinite, reordered, stats_columns
from steelyard.text.table import Column, columns_from, name_text
from steelyard.text.terminal import Screen
from steelyard.text.units import counted

if TYPE_CHECKING:
    from steelyard.auditing import Audit
    from steelyard.editing.quantizing.what_if import WhatIf
    from steelyard.measures.architecture import Architecture
    from steelyard.measures.check import Check
    from steelyard.measures.diff import Diff, Difference
    from steelyard.measures.digest import Digest
    from steelyard.measures.lineage import Lineage
    from steelyard.measures.size import Size
    from steelyard.measures.spectra import Spectra
    from steelyard.measures.stats import Stats
    from steelyard.transfers.plan import TransferPlan
    from steelyard.transfers.proof import Proof
    from steelyard.transfers.transfer import Transfer

PAIR = 8
"""Bytes that are read for an entry of both sides together, as a rule."""


def stats_html(stats: Stats) -> str:
    """Return the table of statistics."""
    if not stats.rows:
        return lines(["no weights"])
    groups = grouped_figures(stats)
    below = lines([*left_out(stats.left_out), *reordered(stats)]) + lines(nonfinite(stats), strong=True)

    def made(most: int) -> str:
        return page([rows_html(stats_columns(stats, groups[:most]), f"statistics by {stats.by}"), more(len(groups), most), below])

    return within(len(groups), made)


def diff_html(diff: Diff) -> str:
    """Return the table of differences, the greatest change first."""
    groups = grouped([row for row in diff.rows if row.kind != "equal"])
    loads = "" if diff.loads is None else lines(diff.loads.lines())
    above = loads + lines([changed(diff.rows)] if diff.rows else [], strong=True)
    several = [OF_SEVERAL] if any(len(group) > 1 and group[0].kind == "changed" for group in groups) else []
    below = lines([*several, *diff_remarks(diff)]) + lines(one_sided(diff), strong=True) + lines(look_at(diff))

    columns = _diff_columns(diff, groups[:LIMIT])

    def made(most: int) -> str:
        table = rows_html([_first(column, most) for column in columns], totals_line(diff))
        return page([above, table, more(len(groups), most), below])

    return within(len(groups), made)


def _diff_columns(diff: Diff, groups: Sequence[Sequence[Difference]]) -> list[Column]:
    """Return the columns of differences; with histograms where little is read for them, not over the network, and not in vain."""
    small = sum(PAIR * row.count + EACH for group in groups for row in group) <= READ and not diff.remote
    try:
        return diff_columns(groups, Screen(), histograms=small)
    except (SteelyardError, OSError):  # the net or the file changed since
        return diff_columns(groups, Screen())


def _first(column: Column, most: int) -> Column:
    return Column(column.key, column.texts[:most], right=column.right, head=column.head)


def spectra_html(spectra: Spectra) -> str:
    """Return the table of spectra."""
    if not spectra.rows:
        return page([lines(spectra_remarks(spectra))])
    rows = [spectrum_cells(row) for row in in_natural_order(spectra.rows, attrgetter("name"))]
    return _cells_html(SPECTRUM, rows, range(1, 9), "spectra", lines(spectra_remarks(spectra)))


def what_if_html(found: WhatIf) -> str:
    """Return the table of ways to quantise, and for each that of the weights with the greatest errors."""
    head, *rows = ways(found)
    parts = [rows_html(columns_from(head, rows, range(1, len(head) - 1)), "ways to quantise")]
    for choice in found.choices:
        table = "" if choice.why else rows_html(columns_from(WEIGHTS, worst(choice), range(1, 5)), title(choice))
        parts.append((table or lines([title(choice)])) + lines(remarks(choice)))
    return page(parts)


def architecture_html(found: Architecture) -> str:
    """Return the table of layers, and what is known of their order."""
    if not found.rows:
        return lines(["no weights"])
    rows = list(found.rows)

    def made(most: int) -> str:
        table = rows_html(layer_columns(rows[:most]), "layers")
        return page([table, more(len(rows), most), lines(architecture_remarks(found))])

    return within(len(rows), made)


def size_html(size: Size) -> str:
    """Return the tree of layers with their shares, and the table of types."""
    if not size.rows:
        return lines(["no weights"])
    rows = list(size.rows)
    below = lines(size_totals(size)) + rows_html(type_columns(size)) + lines(size_notes(size))

    def made(most: int) -> str:
        return page([rows_html(row_columns(size, rows[:most]), "parameters by layer"), more(len(rows), most), below])

    return within(len(rows), made)


def lineage_html(lineage: Lineage) -> str:
    """Return the table of pairs of nets, the nearest first, and the tree."""
    if len(lineage.names) < 2:
        return lines(["nothing to compare"])
    tree_of_nets = "" if lineage.tree is None else block(tree_lines(lineage.tree))
    chance = [CHANCE] if any(pair.p is not None for pair in lineage.pairs) else []
    below = lines(name_notes(lineage)) + lines(duplicates(lineage)) + lines(apart(lineage)) + tree_of_nets + lines(chance)
    rows = [kinship_cells(pair) for pair in nearest_first(lineage)]
    return _cells_html(LINEAGE_HEAD, rows, range(2, 6), f"{len(lineage.names):,} nets", below)


def audit_html(audit: Audit) -> str:
    """Return the table of what loading a file would do, or a sentence that nothing would run."""
    if not audit.findings:
        return page([lines(repr(audit).splitlines())])
    rows = [(each.severity, each.rule, each.what, each.place) for each in audit.findings]
    return _cells_html(("severity", "rule", "found", "place"), rows, (), counted(len(rows), "finding"), "")


def check_html(check: Check) -> str:
    """Return the table of findings, or a sentence that there are none."""
    if not check.findings:
        return page([lines(check_lines(check))])
    rows = [
        ("(all)" if finding.name is None else name_text(finding.name), finding.kind, finding.severity, finding.what)
        for finding in shown_findings(check)
    ]
    caption = f"{counted(len(rows), 'finding')} in {counted(check.weights, 'weight')}"
    return _cells_html(("weight", "kind", "severity", "found"), rows, (), caption, lines(check.notes))


def digest_html(digest: Digest) -> str:
    """Return the digest of the whole, and those of the weights in a folded section."""
    rows = [(name_text(name), own) for name, own in digest.weights.items()]
    each = _cells_html(("name", "digest"), rows, (), "", "")
    return page([lines(digest_lines(digest, each=False)), foldable(f"the digests of {counted(len(rows), 'weight')}", each)])


def plan_html(plan: TransferPlan) -> str:
    """Return the plan as a table."""
    rows = list(plan_cells(plan))
    return _cells_html(PLAN_HEAD, rows, (), counted(len(rows), "weight"), lines(plan_remarks(plan)))


def proof_html(proof: Proof) -> str:
    """Return the verdict, and the error of each layer in a folded section."""
    rows = [(name_text(each.source), name_text(each.target), figure(each.error)) for each in proof.layers]
    layers = _cells_html(("layer", "of the target", "error"), rows, (2,), "", "")
    folded = foldable(f"errors of {counted(len(rows), 'layer')}", layers) if rows else ""
    return page([lines([repr(proof)], strong=True), folded])


def transfer_html(transfer: Transfer) -> str:
    """Return the plan and the proof."""
    return page([proof_html(transfer.proof), plan_html(transfer.plan)])


def _cells_html(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int], caption: str, below: str) -> str:
    """Return a table of rows of texts, followed by the lines `below`; rows beyond the limit are only counted."""

    def made(most: int) -> str:
        return page([rows_html(columns_from(head, rows[:most], right), caption), more(len(rows), most), below])

    return within(len(rows), made)
