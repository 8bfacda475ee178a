"""What an operation does with memory, in every language: whose input it may overwrite, whose it only renames, what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.program.activations import Activation
from steelyard.device.program.attention import Attention
from steelyard.device.program.linear import Affine, Prelu
from steelyard.device.program.norms import GroupNorm, LayerNorm, Softmax
from steelyard.device.program.recurrent import Recurrent
from steelyard.device.program.shaping import Combine, Concatenate, Reshape, Scale, Select
from steelyard.device.program.windows import GlobalPool, Pool

if TYPE_CHECKING:
    from steelyard.device.program.program import Step

    Shapes = Sequence[tuple[int, ...]]

_NUMBER_BY_NUMBER = (Activation, Affine, Prelu, Scale, Softmax, LayerNorm, GroupNorm, GlobalPool)
"""Operations that read all that belongs to a number before they write it, at the place where it was or before."""


def overwrites(step: Step, shapes: Shapes) -> list[int]:
    """Return which inputs of a step its output may take the place of."""
    operation = step.operation
    if isinstance(operation, _NUMBER_BY_NUMBER):
        return [0]
    if isinstance(operation, Combine):
        return [nth for nth, place in enumerate(step.inputs) if shapes[place] == step.shape]
    if isinstance(operation, Pool) and _is_behind(operation, shapes[step.inputs[0]], step.shape):
        return [0]
    return []


def moved(step: Step, shapes: Shapes) -> int | None:
    """Return where the output of a step is inside its input, if the step moves no number; else None."""
    if isinstance(step.operation, Reshape):
        return 0
    if isinstance(step.operation, Select):
        return _run_of(step.operation.parts, shapes[step.inputs[0]])
    return None


def starts_of(step: Step, shapes: Shapes) -> list[int]:
    """Return where each input of a step is inside its output, if the output has the inputs one after another; else none."""
    operation = step.operation
    if not isinstance(operation, Concatenate) or prod(step.shape[: operation.axis - 1]) != 1:
        return []
    sizes = [prod(shapes[place]) for place in step.inputs]
    return [sum(sizes[:nth]) for nth in range(len(sizes))]


def work_of(step: Step, shapes: Shapes) -> int:
    """Return how many numbers of its own a step needs while it runs."""
    operation = step.operation
    if isinstance(operation, Recurrent):
        units = int(operation.kernel.shape[1])
        inner = operation.kind == "gru" and operation.state_bias is None
        return units * ((operation.returns == "last") + (operation.kind == "lstm") + inner)
    if isinstance(operation, Attention):
        return int(shapes[step.inputs[1]][-2])
    return 0


def _run_of(parts: Sequence[int | slice], shape: Sequence[int]) -> int | None:
    """Return the first place of a selection whose places follow each other, row-major; None for others."""
    ranges = [
        range(part, part + 1) if isinstance(part, int) else range(length)[part] for part, length in zip(parts, shape, strict=True)
    ]
    whole = True  # whether all axes after this one are taken as a whole, or are of length 1 before it
    for each, length in zip(reversed(ranges), reversed(shape), strict=True):
        if not whole and len(each) > 1:
            return None
        if len(each) > 1 and each.step != 1:
            return None
        whole = whole and len(each) == length
    return sum(each.start * prod(shape[axis + 1 :]) for axis, each in enumerate(ranges))


def _is_behind(pool: Pool, shape: tuple[int, ...], made: tuple[int, ...]) -> bool:
    """Whether each average or maximum is written at a place that no later window reads, as for windows side by side."""
    space, lengths = (shape[1:], made[1:]) if pool.channels == "first" else (shape[:-1], made[:-1])
    if prod(lengths) > prod(space):
        return False
    strides = [prod(space[axis + 1 :]) for axis in range(len(space))]
    firsts = [
        sum(
            max(place * step - before, 0) * stride
            for place, step, (before, _), stride in zip(places, pool.strides, pool.padding, strides, strict=True)
        )
        for places in product(*map(range, lengths))
    ]
    least = prod(space)
    for place in reversed(range(len(firsts))):
        if place >= least:
            return False
        least = min(least, firsts[place])
    return True
