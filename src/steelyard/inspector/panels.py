"""Pictures of weights that are more than matrices: images of dense kernels, heads of attention, points of embeddings."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.weight import Role
from steelyard.errors import AmbiguityError, SteelyardError
from steelyard.inspector.details import quantised
from steelyard.measures.components import components, is_embedding
from steelyard.measures.heads import heads, may_have_heads
from steelyard.measures.images import inputs_of
from steelyard.numerics.picture import part_of_matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights

UNITS = 64
"""The units of a dense kernel at most."""
POINTS = (1_000, 4_000)
"""The points of an embedding at most, in a report and in a live page."""
READ = (1 << 20, 1 << 26)
"""The numbers of an embedding at most of which a report and a live page compute the components."""
ROOM = 160_000
"""Cells of all heads in a report."""
TRIES = 100
"""Kernels of which a report looks for heads: each needs a look at all names."""


def images_record(weight: Weight, cells: int) -> dict[str, Any] | None:
    """Return the units of a dense kernel, each with the numbers of its inputs in their own order; None for any other weight.

    The page shows them as images of any sides that the number of inputs allows; `sides` is the square one.
    """
    found = inputs_of(weight)
    if found is None or weight.dtype.startswith("complex"):
        return None
    axis, layout = found
    count = weight.shape[1 - axis]
    kept = max(min(UNITS, count, cells // layout.inputs), 1)
    window = (0, 0, kept, layout.inputs) if axis else (0, 0, layout.inputs, kept)
    rows = part_of_matrix(weight, window)
    scale, steps = quantised(rows if axis else rows.T)
    sides = [layout.height, layout.width, layout.colours]
    record = {"count": count, "units": kept, "inputs": layout.inputs, "sides": sides, "last": layout.last}
    return {**record, "assumed": "" if weight.axes else ["rows", "columns"][axis], "scale": scale, "cells": steps}


def first_kernel(weights: Iterable[Weight]) -> str:
    """Return the name of the kernel that gets a net's inputs, as far as the order shows; blank if they are no numbers."""
    for weight in weights:
        if is_embedding(weight):
            return ""
        if len(weight.shape) > 1 and weight.role in (Role.KERNEL, Role.OTHER):
            return weight.name
    return ""


def heads_record(listed: Weights, name: str, count: int | None = None) -> dict[str, Any] | None:
    """Return the heads of a kernel of attention; `error` says why they are not known, None stands for any other weight."""
    if not may_have_heads(name):
        return None
    try:
        found = heads(listed, name, count)
    except AmbiguityError as error:
        return {"error": str(error).partition("; pass")[0], "parts": [], "how": ""}
    except SteelyardError as error:
        return {"error": str(error), "parts": [], "how": ""} if count is not None else None
    parts = [{"letter": part.letter, **_cells(part.values), "norms": part.norms.astype(np.float32)} for part in found.parts]
    return {"parts": parts, "how": found.how}


def _cells(values: Array) -> dict[str, Any]:
    scale, cells = quantised(values)
    return {"heads": values.shape[0], "height": values.shape[1], "width": values.shape[2], "scale": scale, "cells": cells}


def points_record(weight: Weight, *, small: bool) -> dict[str, Any] | None:
    """Return the rows of an embedding on its first two components, evenly chosen ones of many; None for any other weight."""
    most, limit = (each[0 if small else 1] for each in (POINTS, READ))
    if not is_embedding(weight):
        return None
    if prod(weight.shape) > limit:
        what = "a report has no room for it; steelyard plot --kind embedding draws it"
        return {"error": f"the components of {prod(weight.shape):,} numbers take long: {what}"} if small else None
    try:
        found = components(weight)
    except SteelyardError as error:
        return {"error": str(error)}
    rows = np.unique(np.linspace(0, len(found.points) - 1, min(most, len(found.points))).round().astype(np.int32))
    points = found.points[rows]
    kept = np.isfinite(points).all(axis=1)
    scale = float(np.abs(points[kept]).max(initial=0.0)) or 1.0
    codes = np.rint((points[kept] / scale + 1) * 32767).astype(np.uint16)
    record = {"count": len(found.points), "rows": rows[kept], "scale": scale, "lost": found.lost}
    return {**record, "across": codes[:, 0].copy(), "down": codes[:, 1].copy(), "shares": [float(each) for each in found.shares]}


def live_panels(weight: Weight, listed: Weights, cells: int) -> dict[str, Any]:
    """Return all panels of a weight that a live page shows."""
    return {
        "images": images_record(weight, cells),
        "heads": heads_record(listed, weight.name),
        "points": points_record(weight, small=False),
    }


def add_panels(measured: Mapping[str, dict[str, Any]], listed: Weights, cells: int) -> None:
    """Add the panels of a report to the details of weights by their names, as many as there is room for."""
    first, left, tries = first_kernel(listed.values()), ROOM, 0
    if first in measured:
        measured[first]["images"] = images_record(listed[first], cells)
    for name, detail in measured.items():
        if is_embedding(listed[name]):
            detail["points"] = points_record(listed[name], small=True)
        if left > 0 and tries < TRIES and may_have_heads(name):
            tries += 1
            found = heads_record(listed, name)
            tries = TRIES if found and not found["parts"] else tries  # their number is known for no other kernel either
            left -= sum(part["cells"].size for part in found["parts"]) if found else 0
            if left >= 0 and found and found["parts"]:
                detail["heads"] = found
