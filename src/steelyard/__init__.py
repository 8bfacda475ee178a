"""Steelyard: the weights of any neural network in one shape, and back."""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers take it; while `typing` is imported, Ctrl-C would show a traceback
if TYPE_CHECKING:
    from typing import Any

    from steelyard import errors, plot, results
    from steelyard.auditing import audit
    from steelyard.catalogs.catalog import catalog
    from steelyard.codecs import limits
    from steelyard.core.weight import Role, Weight
    from steelyard.core.weights import Weights
    from steelyard.device.export import export
    from steelyard.editing.averaging import average, ema, greedy_soup, median, swa, trimmed
    from steelyard.editing.averaging.norms import update_norms
    from steelyard.editing.factorizing import factorize
    from steelyard.editing.merging import merge
    from steelyard.editing.merging.aligning import align
    from steelyard.editing.merging.extracting import extract_adapter
    from steelyard.editing.pruning import masks, prune
    from steelyard.editing.quantizing.quantize import dequantize, quantize
    from steelyard.editing.quantizing.what_if import what_if
    from steelyard.editing.units import prune_units
    from steelyard.effective_weights import effective, merge_adapter
    from steelyard.errors import SteelyardError
    from steelyard.inspector.report import report
    from steelyard.inspector.server import serve
    from steelyard.inspector.widget import widget
    from steelyard.io import save, weights
    from steelyard.measures.architecture import architecture
    from steelyard.measures.check import check
    from steelyard.measures.diff import diff
    from steelyard.measures.digest import digest
    from steelyard.measures.grid import grid
    from steelyard.measures.lineage import lineage
    from steelyard.measures.patch import apply_patch, save_patch
    from steelyard.measures.size import size
    from steelyard.measures.spectra import spectra
    from steelyard.measures.stats import stats
    from steelyard.runs.history import history
    from steelyard.runs.recording import record
    from steelyard.transfers.build import build
    from steelyard.transfers.transfer import plan_transfer, transfer

__version__ = "0.1.0"

__all__ = [
    "Role",
    "SteelyardError",
    "Weight",
    "Weights",
    "__version__",
    "align",
    "apply_patch",
    "architecture",
    "audit",
    "average",
    "build",
    "catalog",
    "check",
    "dequantize",
    "diff",
    "digest",
    "effective",
    "ema",
    "errors",
    "export",
    "extract_adapter",
    "factorize",
    "greedy_soup",
    "grid",
    "history",
    "limits",
    "lineage",
    "masks",
    "median",
    "merge",
    "merge_adapter",
    "plan_transfer",
    "plot",
    "prune",
    "prune_units",
    "quantize",
    "record",
    "report",
    "results",
    "save",
    "save_patch",
    "serve",
    "size",
    "spectra",
    "stats",
    "swa",
    "transfer",
    "trimmed",
    "update_norms",
    "weights",
    "what_if",
    "widget",
]

_LATER = {
    "Role": "core.weight",
    "SteelyardError": "errors",
    "Weight": "core.weight",
    "Weights": "core.weights",
    "align": "editing.merging.aligning",
    "apply_patch": "measures.patch",
    "architecture": "measures.architecture",
    "audit": "auditing",
    "average": "editing.averaging",
    "build": "transfers.build",
    "catalog": "catalogs.catalog",
    "check": "measures.check",
    "dequantize": "editing.quantizing.quantize",
    "diff": "measures.diff",
    "digest": "measures.digest",
    "effective": "effective_weights",
    "extract_adapter": "editing.merging.extracting",
    "ema": "editing.averaging",
    "greedy_soup": "editing.averaging",
    "median": "editing.averaging",
    "swa": "editing.averaging",
    "trimmed": "editing.averaging",
    "update_norms": "editing.averaging.norms",
    "factorize": "editing.factorizing",
    "quantize": "editing.quantizing.quantize",
    "export": "device.export",
    "stats": "measures.stats",
    "grid": "measures.grid",
    "history": "runs.history",
    "lineage": "measures.lineage",
    "masks": "editing.pruning",
    "merge": "editing.merging",
    "merge_adapter": "effective_weights",
    "plan_transfer": "transfers.transfer",
    "prune": "editing.pruning",
    "prune_units": "editing.units",
    "record": "runs.recording",
    "report": "inspector.report",
    "save": "io",
    "save_patch": "measures.patch",
    "serve": "inspector.server",
    "size": "measures.size",
    "spectra": "measures.spectra",
    "transfer": "transfers.transfer",
    "weights": "io",
    "what_if": "editing.quantizing.what_if",
    "widget": "inspector.widget",
}
"""The module of each class and function, imported on first use: the command itself decides how its start can be interrupted."""
_ROOMS = {"errors": "errors", "limits": "codecs.limits", "plot": "plot", "results": "results"}
"""Modules that are imported on first use."""


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _ROOMS:
        return import_module(f"steelyard.{_ROOMS[name]}")
    if name not in _LATER:
        raise AttributeError(f"module 'steelyard' has no attribute {name!r}")
    attribute = globals()[name] = getattr(import_module(f"steelyard.{_LATER[name]}"), name)
    return attribute


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_ROOMS})
