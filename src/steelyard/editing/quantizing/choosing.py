"""Which weights are quantised, and the cells of each by the words for its axes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from steelyard.core.axes import label_of, parsed
from steelyard.core.roles import leaf_of
from steelyard.core.stacked import is_stacked
from steelyard.core.weight import Role
from steelyard.dtypes import is_floating, itemsize
from steelyard.errors import ShapeError, printable, quoted
from steelyard.numerics.grids import Grid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.editing.quantizing.request import Request

_KERNELS = (Role.KERNEL, Role.RECURRENT_KERNEL)
_SPATIAL = ("kd", "kh", "kw", "k")
_CONVENTIONS = (
    (re.compile(r"weight|weight_(ih|hh)(_l\d+)?(_reverse)?|in_proj_weight"), 0),
    (re.compile("(recurrent_)?kernel"), -1),
)
"""The axis of outputs in the order of PyTorch and in that of Keras and JAX, by the words that each has for kernels."""


def unsuitable(weights: Weights, request: Request) -> dict[str, str]:
    """Return the weights that are left as they are, whatever the layout, with the reason for each."""
    skipped = set(weights.select(request.skip, missing_ok=True)) if request.skip else set()
    roles: tuple[Role, ...] = (*_KERNELS, Role.EMBEDDING) if request.like == "gguf" else _KERNELS
    if not any(weight.role in (*_KERNELS, Role.EMBEDDING) for weight in weights.values()):
        roles = (*roles, Role.OTHER)  # nothing is known about a bare array
    left: dict[str, str] = {}
    for name, weight in weights.items():
        if name in skipped:
            left[name] = "skipped"
        elif weight.unreadable:
            left[name] = "cannot be read"
        elif weight.role not in roles or len(weight.shape) < 2 or not weight.size:
            left[name] = "not a kernel" if weight.role is not Role.EMBEDDING else "an embedding"
        elif not is_floating(weight.dtype) or itemsize(weight.dtype) == 1:
            left[name] = f"stored as {weight.dtype}"
        elif is_stacked(weight):
            left[name] = "kernels and biases in one matrix"
    return with_ties(weights, left)


def with_ties(weights: Weights, left: Mapping[str, str]) -> dict[str, str]:
    """Leave weights that share their numbers with one that is left: one array cannot be both."""
    kept = {weight.tied or name: name for name, weight in weights.items() if name in left}
    sharing = {name: kept[weight.tied or name] for name, weight in weights.items() if (weight.tied or name) in kept}
    return {name: left.get(name) or f"tied to {printable(other)}" for name, other in sharing.items()}


def grid_of(weight: Weight, request: Request) -> Grid | str:
    """Return the cells of a weight, or why it cannot be cut into them. Raises `ShapeError` where its axes are not known."""
    if request.axis is None:
        sides = weight.shape
        return Grid(weight.shape, sides) if request.group is None else _grouped(weight, request, {})
    labels = _labels(weight)
    out = _outs(weight, request.axis, labels)
    if request.group is not None:
        return _grouped(weight, request, out)
    return Grid(weight.shape, tuple(1 if axis in out else length for axis, length in enumerate(weight.shape)))


def _labels(weight: Weight) -> list[str]:
    """Return the canonical axis of each axis; blank for one that is not known, "each" for one of layers or experts."""
    if len(weight.axes.split()) != len(weight.shape):
        return [""] * len(weight.shape)
    words = frozenset(factor.word for axis in parsed(weight.axes) for factor in axis)
    made = []
    for axis in parsed(weight.axes):
        found = [label_of(factor.word, words) for factor in axis if factor.word]
        made.append(next((label for label in found if label), "each"))
    return made


def _outs(weight: Weight, axis: str | int, labels: list[str]) -> Mapping[int, str]:
    """Return the axes of which each place has scales of its own."""
    if isinstance(axis, int):
        if not -len(weight.shape) <= axis < len(weight.shape):
            raise ShapeError(f"{printable(weight.name)} has {len(weight.shape)} axes, so axis {axis} does not exist")
        return {axis % len(weight.shape): ""}
    found = {place: label for place, label in enumerate(labels) if label == axis or (axis == "out" and label == "vocab")}
    if not found:
        usual = next((place for words, place in _CONVENTIONS if words.fullmatch(leaf_of(weight.name))), None)
        if axis == "out" and not any(labels) and usual is not None:
            return {usual % len(weight.shape): "out"}
        if not any(labels):
            what = f"the axes of {printable(weight.name)} {list(weight.shape)} are not known"
            raise ShapeError(f"{what}; pass axis=0 for PyTorch's order, axis=-1 for that of Keras and JAX, or skip it")
        raise ShapeError(f"{printable(weight.name)} has the axes {weight.axes!r}, and none is {quoted(axis)}")
    return found | {place: label for place, label in enumerate(labels) if label == "each"}


def _grouped(weight: Weight, request: Request, out: Mapping[int, str]) -> Grid | str:
    group = request.group or 1
    labels = _labels(weight)
    ins = [place for place, label in enumerate(labels) if label == "in" and place not in out]
    if not ins:
        ins = [place for place in range(len(weight.shape)) if place not in out][-1:]
    if len(ins) != 1 or weight.shape[ins[0]] % group:
        length = weight.shape[ins[0]] if ins else 1
        return f"groups of {group} do not divide its {length:,} inputs"
    sides = [group if axis == ins[0] else length if labels[axis] in _SPATIAL else 1 for axis, length in enumerate(weight.shape)]
    return Grid(weight.shape, tuple(sides))
