"""Labels of tensors: what the rules of functions share (see `units`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from steelyard.frameworks.torch.units import UnitTracer

Parts = list[torch.Tensor]
"""The labels of a tensor: one for each number of an activation, one for each axis of a parameter."""
MEANS = "{} computes one number from all of them"


def moved(labels: torch.Tensor) -> torch.Tensor:
    """Return labels without repeats: an axis along which they are equal has the length one."""
    for axis in range(labels.ndim):
        if labels.shape[axis] > 1:
            first = labels.narrow(axis, 0, 1)
            if labels.stride(axis) == 0 or bool((labels == first).all()):
                labels = first
    return labels


def varying(labels: torch.Tensor) -> set[int]:
    """Return the axes along which labels differ."""
    return {axis for axis, length in enumerate(moved(labels).shape) if length > 1}


def first_of(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return labels, and others where they are neutral; repeats stay repeats."""
    if bool((moved(one) >= 0).all()):
        return one
    return other if bool((moved(other) >= 0).all()) else torch.where(one < 0, other, one)


def join(tracer: UnitTracer, one: torch.Tensor, other: torch.Tensor) -> None:
    """Join the labels of numbers that meet; repeats are joined once."""
    shape = torch.broadcast_shapes(one.shape, other.shape)
    left, right = moved(one.expand(shape)), moved(other.expand(shape))
    tracer.couplings.join(left.numpy(), right.numpy())


def common(tracer: UnitTracer, labels: torch.Tensor, axes: Sequence[int], reason: str) -> torch.Tensor:
    """Return the one label along some axes, which keep the length one; several are kept in the net."""
    places = tuple(axis % labels.ndim for axis in axes)
    narrow = moved(labels)
    return torch.from_numpy(tracer.couplings.common(narrow.numpy(), places, reason).copy())


def listed(output: Any) -> list[torch.Tensor]:
    """Return the tensors of an output."""
    return [output] if isinstance(output, torch.Tensor) else [each for each in output if isinstance(each, torch.Tensor)]


def mark_read(tracer: UnitTracer, labels: torch.Tensor, numbers: torch.Tensor, *, padded: bool = False) -> None:
    """Record that a kernel takes units in along the axis whose ids these are, and the numbers (samples, units) that it reads."""
    ids = moved(labels).reshape(-1).numpy()
    for axis, own in tracer.couplings.axes.items():
        if own[0] <= ids[0] <= own[-1]:
            tracer.couplings.reads.add(axis)
            if numbers.shape[1] == len(ids):
                tracer.couplings.observe(axis, ids, numbers.double().cpu().numpy())
            if padded:
                tracer.couplings.padded.add(axis)
