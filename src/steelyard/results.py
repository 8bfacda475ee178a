"""The types that the functions of Steelyard return, for annotations.

Each is imported on first use, so that ``from steelyard.results import Diff`` imports no more than `diff` does.

Examples:
    >>> import steelyard
    >>> from steelyard.results import Stats
    >>> isinstance(steelyard.stats({"w": [1.0, 2.0]}), Stats)
    True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.auditing import Audit
    from steelyard.auditing.findings import AuditFinding
    from steelyard.catalogs.answers import CatalogTable
    from steelyard.catalogs.catalog import Catalog
    from steelyard.core.graph import Graph, Layer, Run
    from steelyard.device.exported import Export
    from steelyard.editing.quantizing.what_if import WhatIf
    from steelyard.editing.units.plan import UnitPlan
    from steelyard.engines.by_file import ByFile
    from steelyard.engines.tasks import Failure
    from steelyard.measures.architecture import Architecture, LayerRow
    from steelyard.measures.check import Check
    from steelyard.measures.check.findings import Finding
    from steelyard.measures.diff import Diff, Difference
    from steelyard.measures.digest import Digest
    from steelyard.measures.grid import Grid
    from steelyard.measures.lineage import Kinship, Lineage
    from steelyard.measures.patch import Patch
    from steelyard.measures.size import Size, SizeRow
    from steelyard.measures.spectra import Spectra, Spectrum
    from steelyard.measures.stats import Stats
    from steelyard.numerics.histogram import Histogram
    from steelyard.numerics.weight_stats import WeightStats
    from steelyard.runs.comparing import RunComparison
    from steelyard.runs.curves import Curves
    from steelyard.runs.events import HistoryRows, Jump, Movement, NonFiniteStart
    from steelyard.runs.history import History
    from steelyard.runs.places import Ridgeline, WeightPath
    from steelyard.runs.units import UnitRow
    from steelyard.transfers.plan import PlanRow, TransferPlan
    from steelyard.transfers.proof import LayerError, Proof
    from steelyard.transfers.transfer import Transfer

__all__ = [
    "Architecture",
    "Audit",
    "AuditFinding",
    "ByFile",
    "Catalog",
    "CatalogTable",
    "Check",
    "Curves",
    "Diff",
    "Difference",
    "Digest",
    "Export",
    "Failure",
    "Finding",
    "Graph",
    "Grid",
    "Histogram",
    "History",
    "HistoryRows",
    "Jump",
    "Kinship",
    "Layer",
    "LayerError",
    "LayerRow",
    "Lineage",
    "Movement",
    "NonFiniteStart",
    "Patch",
    "PlanRow",
    "Proof",
    "Ridgeline",
    "Run",
    "RunComparison",
    "Size",
    "SizeRow",
    "Spectra",
    "Spectrum",
    "Stats",
    "Transfer",
    "TransferPlan",
    "UnitPlan",
    "UnitRow",
    "WeightPath",
    "WeightStats",
    "WhatIf",
]

_MODULES = {
    "Architecture": "measures.architecture",
    "Audit": "auditing",
    "AuditFinding": "auditing.findings",
    "ByFile": "engines.by_file",
    "Catalog": "catalogs.catalog",
    "CatalogTable": "catalogs.answers",
    "Check": "measures.check",
    "Curves": "runs.curves",
    "Diff": "measures.diff",
    "Difference": "measures.diff",
    "Digest": "measures.digest",
    "Export": "device.exported",
    "Failure": "engines.tasks",
    "Finding": "measures.check.findings",
    "Graph": "core.graph",
    "Grid": "measures.grid",
    "Histogram": "numerics.histogram",
    "History": "runs.history",
    "HistoryRows": "runs.events",
    "Jump": "runs.events",
    "Kinship": "measures.lineage",
    "Layer": "core.graph",
    "LayerError": "transfers.proof",
    "LayerRow": "measures.architecture",
    "Lineage": "measures.lineage",
    "Movement": "runs.events",
    "NonFiniteStart": "runs.events",
    "Patch": "measures.patch",
    "PlanRow": "transfers.plan",
    "Proof": "transfers.proof",
    "Ridgeline": "runs.places",
    "Run": "core.graph",
    "RunComparison": "runs.comparing",
    "Size": "measures.size",
    "SizeRow": "measures.size",
    "Spectra": "measures.spectra",
    "Spectrum": "measures.spectra",
    "Stats": "measures.stats",
    "Transfer": "transfers.transfer",
    "TransferPlan": "transfers.plan",
    "UnitPlan": "editing.units.plan",
    "UnitRow": "runs.units",
    "WeightPath": "runs.places",
    "WeightStats": "numerics.weight_stats",
    "WhatIf": "editing.quantizing.what_if",
}
"""The module of each type."""


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module 'steelyard.results' has no attribute {name!r}")
    attribute = globals()[name] = getattr(import_module(f"steelyard.{_MODULES[name]}"), name)
    return attribute


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
