"""The records of a run in the shapes of other tools."""

from __future__ import annotations

from math import isfinite, nan
from typing import Any

import numpy as np

from steelyard.runs.layout import COLUMNS

_WHOLE = ("count", "zeros", "near_zeros", "nan", "inf", "first_nonfinite")


def records_of(run: Any) -> list[dict[str, Any]]:
    """Return a record for each step and weight; None where there is no number."""
    metrics = dict.fromkeys(name for row in run.rows for name in row.metrics)
    made = []
    for row, table in zip(run.rows, np.asarray(run.stats), strict=True):
        facts = {
            "step": row.step,
            "epoch": row.epoch,
            **{f"metric {name}": _number("", row.metrics.get(name, nan)) for name in metrics},
        }
        for name, values in zip(run.names, table.tolist(), strict=True):
            figures = {column: _number(column, value) for column, value in zip(COLUMNS, values, strict=True)}
            made.append({**facts, "weight": name, **figures})
    return made


def _number(column: str, value: float) -> float | int | None:
    if not isfinite(value):
        return None
    return int(value) if column in _WHOLE else value
