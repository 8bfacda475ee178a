"""A group of zarr, version 3, of the records of a run, for xarray and dask.

zarr.json                  the group; its attributes have the names of the weights and of the columns
step/ stats/ sketches/     arrays: a zarr.json with shape, type and chunks, and the chunks in c/, raw and little-endian
metrics/NAME/
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.errors import ShapeError, printable
from steelyard.runs.layout import COLUMNS

if TYPE_CHECKING:
    from steelyard.core.weight import Array

CHUNK = 1 << 20
"""The numbers of a chunk, about: whole records."""


def write_zarr(run: Any, folder: str) -> None:
    """Write the records of a run as a group, of which zarr.json is written last. Raises `ShapeError` for a folder with files."""
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise ShapeError(f"{printable(folder)} is not empty; write into a new folder")
    metrics = dict.fromkeys(name for row in run.rows for name in row.metrics)
    _array(f"{folder}/step", np.array(run.steps, "<i8"), ["record"])
    _array(f"{folder}/epoch", np.array([np.nan if row.epoch is None else row.epoch for row in run.rows], "<f8"), ["record"])
    _array(f"{folder}/stats", np.asarray(run.stats, "<f8"), ["record", "weight", "column"])
    _array(f"{folder}/sketches", run.sketches().astype("<f4"), ["record", "sketch"])
    _array(f"{folder}/metrics", _metrics(run, list(metrics)), ["record", "metric"])
    facts = {"weights": run.names, "columns": list(COLUMNS), "metrics": list(metrics)}
    _write(f"{folder}/zarr.json", _text({"zarr_format": 3, "node_type": "group", "attributes": facts}))


def _metrics(run: Any, names: list[str]) -> Array:
    found = [[row.metrics.get(name, np.nan) for name in names] for row in run.rows]
    return np.array(found, "<f8").reshape(len(run.rows), len(names))


def _array(folder: str, values: Array, axes: list[str]) -> None:
    """Write an array in chunks of whole records, the last one filled up."""
    own = int(np.prod(values.shape[1:]))
    rows = max(min(CHUNK // max(own, 1), len(values)), 1)
    shape = [rows, *(max(length, 1) for length in values.shape[1:])]
    names = {"<i8": "int64", "<f8": "float64", "<f4": "float32"}
    facts = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(values.shape),
        "data_type": names[values.dtype.str],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "dimension_names": axes,
        "attributes": {},
    }
    rest = "/0" * (values.ndim - 1)
    for nth, start in enumerate(range(0, len(values) if own else 0, rows)):
        chunk = np.zeros((rows, *values.shape[1:]), values.dtype)
        part = values[start : start + rows]
        chunk[: len(part)] = part
        _write(f"{folder}/c/{nth}{rest}", chunk.tobytes())
    _write(f"{folder}/zarr.json", _text(facts))


def _text(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, indent=1).encode()


def _write(path: str, content: bytes) -> None:
    from steelyard.storage.atomic import replacing

    os.makedirs(os.path.dirname(path), exist_ok=True)
    with replacing(path) as file:
        file.write(content)
