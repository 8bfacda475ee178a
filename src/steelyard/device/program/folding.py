"""Batch norms folded into the kernels before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.device.program.linear import Affine, Conv, ConvTranspose, Dense
from steelyard.device.program.program import Program, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.weight import Array


def folded(program: Program) -> Program:
    """Return a program with each factor and offset of the channels multiplied into the kernel that alone feeds it.

    The products are computed in float64 and rounded once, when the program runs, so the outputs differ in their last digits.
    Arrays that several layers share are kept apart. `error` is not known for the program that is made.

    Examples:
        >>> from torch import nn
        >>> from steelyard.device.program import program_of
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU())
        >>> [type(step.operation).__name__ for step in folded(program_of(net)).steps]
        ['Dense', 'Activation']
    """
    first = len(program.input_names)
    used = [place for step in program.steps for place in step.inputs] + list(program.outputs)
    merged: dict[int, int] = {}  # the steps that are left out, by the one that they are folded into
    steps = dict(enumerate(program.steps, start=first))
    for place, step in steps.items():
        if not isinstance(step.operation, Affine) or used.count(step.inputs[0]) > 1:
            continue
        before = steps.get(step.inputs[0])
        operation = None if before is None else _scaled(before, step.operation)
        if before is not None and operation is not None:
            steps[step.inputs[0]] = before._replace(operation=operation)
            merged[place] = step.inputs[0]
    return _without(program, steps, merged)


def _scaled(step: Step, norm: Affine) -> Dense | Conv | ConvTranspose | None:
    """Return the operation of a step with the factors and offsets of its outputs; None if it has no kernel for them."""
    import numpy as np

    operation = step.operation
    if isinstance(operation, Dense):
        fits = norm.axis == len(step.shape)
    elif isinstance(operation, (Conv, ConvTranspose)):
        fits = norm.axis == (1 if operation.channels == "first" else len(step.shape))
    else:
        return None
    if not fits:
        return None
    kernel: Array = operation.kernel.astype(np.float64)
    bias = norm.offset if operation.bias is None else operation.bias * norm.scale + norm.offset
    if isinstance(operation, ConvTranspose):  # (in, out / groups, ...): the outputs of each group are those of its inputs
        shape = (operation.groups, kernel.shape[0] // operation.groups, *kernel.shape[1:])
        factors = norm.scale.reshape(operation.groups, 1, kernel.shape[1], *[1] * (kernel.ndim - 2))
        return operation._replace(kernel=(kernel.reshape(shape) * factors).reshape(kernel.shape), bias=bias)
    return operation._replace(kernel=kernel * norm.scale.reshape(-1, *[1] * (kernel.ndim - 1)), bias=bias)


def _without(program: Program, steps: dict[int, Step], merged: dict[int, int]) -> Program:
    """Return the program without the merged steps, with the others numbered anew."""
    places = {place: place for place in range(len(program.input_names))}

    def kept() -> Iterator[Step]:
        for place, step in steps.items():
            if place in merged:
                places[place] = places[merged[place]]
                continue
            places[place] = len(set(places.values()))
            yield Step(step.name, step.operation, tuple(places[each] for each in step.inputs), step.shape)

    listed = list(kept())
    return Program(program.input_names, program.input_shapes, listed, [places[each] for each in program.outputs])
