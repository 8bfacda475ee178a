"""Units and directions of a net at a step: what is dead or frozen between two snapshots, and where a loss can be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard.core.readers import array_reader
from steelyard.core.weight import Role
from steelyard.dtypes import is_floating
from steelyard.measures.stats.channels import channel_axes
from steelyard.numerics.matrices import as_float64
from steelyard.runs.events import HistoryRows

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights

DEAD = 1e-6
"""The norm of a unit's weights, and the scale of a norm's channel, below which it is dead."""
KERNELS = (Role.KERNEL, Role.RECURRENT_KERNEL)


class UnitRow(NamedTuple):
    """A unit of a layer, by its index: the norm of its weights, how far they moved, and whether it is dead or frozen."""

    weight: str
    unit: int
    verdict: str
    norm: float
    moved: float | None


def units(after: Weights, before: Weights | None) -> HistoryRows:
    """Return the units that are dead, or that did not move since `before` while others of their layer did."""
    rows: list[UnitRow] = []
    unknown = 0
    for weight in after.distinct().values():
        if weight.role in (*KERNELS, Role.SCALE) and is_floating(weight.dtype):
            axes = _out(weight)
            unknown += not axes
            rows += _of_weight(weight, before[weight.name] if before is not None else None, axes) if axes else []
    note = f"dead: its weights have a norm below {DEAD:g}; frozen: none of them moved, while others of its layer did"
    if unknown:
        note += f"; {unknown:,} kernel{'s' * (unknown != 1)} without known axes left out"
    return HistoryRows("dead and frozen units", rows, note)


def _out(weight: Weight) -> tuple[int, ...]:
    return (0,) if weight.role is Role.SCALE and len(weight.shape) == 1 else channel_axes(weight, "out")


def _of_weight(weight: Weight, before: Weight | None, axes: tuple[int, ...]) -> Iterator[UnitRow]:
    now = as_float64(weight.numpy())
    norms = _norms(now, axes)
    moved = None if before is None else _norms(now - as_float64(before.numpy()), axes)
    for unit, norm in enumerate(norms.tolist()):
        is_frozen = moved is not None and moved[unit] == 0 and moved.any()
        if norm < DEAD or is_frozen:
            yield UnitRow(
                weight.name, unit, "dead" if norm < DEAD else "frozen", norm, None if moved is None else float(moved[unit])
            )


def _norms(array: Array, axes: tuple[int, ...]) -> Array:
    others = tuple(axis for axis in range(array.ndim) if axis not in axes)
    made: Array = np.sqrt(np.square(array).sum(axis=others)).reshape(-1)
    return made


def directions(found: Weights, seed: int) -> tuple[Weights, Weights]:
    """Return two random directions, of which each filter has the norm of the same filter of `found` (Li et al., 2018)."""
    rng = np.random.default_rng(seed)
    first, second = ([_direction(weight, rng) for weight in found.distinct().values()] for _ in range(2))
    return _as_weights(found, first), _as_weights(found, second)


def _direction(weight: Weight, rng: np.random.Generator) -> Array:
    """Return a direction of one weight; zero for biases, norms and state, as the authors have it."""
    if weight.role not in (*KERNELS, Role.EMBEDDING, Role.OTHER) or len(weight.shape) < 2 or not is_floating(weight.dtype):
        return np.zeros(weight.shape, weight.numpy().dtype)
    own, drawn = weight.numpy(), rng.standard_normal(weight.shape)
    axes = _out(weight)
    others = tuple(axis for axis in range(drawn.ndim) if axis not in axes) or None
    numbers = as_float64(own)
    length, drawn_length = (np.sqrt(np.square(each).sum(axis=others, keepdims=True)) for each in (numbers, drawn))
    made: Array = (drawn * (length / np.where(drawn_length > 0, drawn_length, 1.0))).astype(own.dtype)
    return made


def _as_weights(found: Weights, arrays: list[Array]) -> Weights:
    made = dict(zip(found.distinct(), arrays, strict=True))
    listed = (weight.replace(read=array_reader(made[weight.tied or weight.name].reshape(-1))) for weight in found.values())
    return found.with_weights(listed, detached=True)
