"""The page of a run: its data, and what the local server answers while the run is being recorded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.errors import ShapeError, printable
from steelyard.inspector.packing import pack
from steelyard.runs.curves import BAND
from steelyard.runs.history import History, history
from steelyard.runs.layout import RUN
from steelyard.text.histories import sentence, settings_line

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.inspector.questions import Query

RECORDS, CELLS, HEIGHTS = 2000, 1 << 21, 1 << 23
"""The most records of a page, records times weights, and numbers of histograms; of more, some are left out, evenly."""
FULLEST, TOGETHER = 255, 2
"""The height of the fullest bin, and how many recorded bins are merged into one."""


def is_run(source: object) -> bool:
    """Whether a source is a history, or the folder of a recorded run."""
    if isinstance(source, History):
        return True
    return isinstance(source, (str, os.PathLike)) and os.path.isfile(os.path.join(source, RUN))


def run_title(found: History) -> str:
    """Return the name of a run, without the folders above it."""
    return printable(os.path.basename(os.path.normpath(found.path)) or found.path)


def run_record(found: History) -> dict[str, Any]:
    """Return what a page shows of a run. Raises `ShapeError` for one without records."""
    if not len(found):
        raise ShapeError(f"{printable(found.path)} has no records yet")
    facts = found.run.layout.recorded
    count = len(facts)
    shown = _evenly(len(found), min(RECORDS, max(CELLS // max(count, 1), 2)))
    path = found.pca() if np.isfinite(found.norms().values).all(axis=1).any() else None
    points = np.full((len(found), 2), np.nan) if path is None else path.points
    left_out = len(found) - len(shown)
    return {
        "title": run_title(found),
        "sentence": sentence(found),
        "notes": [*filter(None, (found.origin, settings_line(found)))]
        + [f"{left_out:,} records between those shown are left out"] * bool(left_out),
        "alarms": found.alarms(),
        "records": len(shown),
        "known": len(found),
        "steps": np.array(found.steps, np.float64)[shown],
        "epochs": [found.epochs[nth] for nth in shown],
        "metrics": [{"name": printable(name), "values": values[shown]} for name, values in found.metrics.items()],
        "names": [printable(fact.name, 1000) for fact in facts],
        "shapes": [list(fact.shape) for fact in facts],
        "roles": [fact.role for fact in facts],
        "norms": _floats(found.norms().values[shown]),
        "ratios": _floats(found.ratios().values[shown]),
        "band": list(BAND),
        "histograms": _histograms(found, shown),
        "path": {"points": _floats(points[shown]), "shares": [] if path is None else path.shares.tolist()},
    }


def _evenly(count: int, most: int) -> Array:
    """Return the indices of at most so many of `count` records, with the first and the last."""
    found: Array = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
    return found


def _floats(values: Array) -> Array:
    """Return numbers as float32 with one axis; those beyond it are its largest."""
    limit = float(np.finfo(np.float32).max)
    made: Array = np.clip(values, -limit, limit).astype(np.float32).reshape(-1)
    return made


def _histograms(found: History, shown: Array) -> dict[str, Any]:
    histograms, rows = found.run.histograms, np.array(found.run.histogram_rows)
    bins = histograms["counts"].shape[-1] // TOGETHER
    kept = _evenly(len(rows), max(HEIGHTS // max(histograms.shape[1] * bins, 1), 2))
    counts = histograms["counts"][kept].astype(np.float64)
    counts = counts.reshape(*counts.shape[:2], -1, TOGETHER).sum(axis=3)
    heights = np.ceil(counts / np.maximum(counts.max(axis=2, keepdims=True), 1) * FULLEST).astype(np.uint8)
    return {
        "rows": np.searchsorted(shown, rows[kept]).astype(np.int32),
        "low": np.array(histograms["low"][kept]).reshape(-1),
        "high": np.array(histograms["high"][kept]).reshape(-1),
        "heights": heights.reshape(-1),
        "bins": bins,
    }


class RunApi:
    """The answers of a page of a run, which is opened anew at each question."""

    __slots__ = ("_source",)

    def __init__(self, source: object) -> None:
        self._source = history(source)

    def run(self, query: Query) -> bytes:
        """Return the pack of the run, or of None if the page knows this many records and there are no more."""
        known = query.number("known") if query.word("known") else None
        found = self._source = self._source.refresh()
        return pack({"run": None if known == len(found) else run_record(found)})

    def stop(self) -> None:
        """End; nothing is open."""
