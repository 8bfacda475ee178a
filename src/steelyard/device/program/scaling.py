"""Programs of nets whose inputs are scaled first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from steelyard.device.program.linear import Affine, Dense
from steelyard.device.program.program import Operation, Program, Step

if TYPE_CHECKING:
    from steelyard.core.scaling import Scaler
    from steelyard.core.weight import Array

LARGEST = 16.0
"""The centre of an input in units of its scale above which it is subtracted first; else the sum would lose digits."""


def with_scalers(net: Program, scalers: Sequence[Scaler], width: int) -> Program:
    """Return the program of a net with one input after its scalers, which take examples of `width` numbers."""
    steps: list[Step] = []
    for scaler in scalers:
        for operation in _operations(scaler):
            length = len(operation.kernel if isinstance(operation, Dense) else operation.scale)
            steps.append(Step(scaler.name, operation, (len(steps),), (length,)))
    shift = len(steps)
    moved = [step._replace(inputs=tuple(place + shift for place in step.inputs)) for step in net.steps]
    return Program(net.input_names, [(width,)], [*steps, *moved], [place + shift for place in net.outputs])


def _operations(scaler: Scaler) -> Iterator[Affine | Dense]:
    import numpy as np

    centre, scale = scaler.centre, scaler.scale
    is_far = bool((np.abs(centre * scale) > LARGEST).any())
    if is_far:
        yield Affine(np.ones(len(centre)), -centre, 1)
    rest = np.zeros(len(centre)) if is_far else -centre
    if scale.ndim > 1:
        yield Dense(scale, scale @ rest if rest.any() else None)
    elif not is_far or (scale != 1).any():
        yield Affine(scale, rest * scale, 1)


def scalers_folded(program: Program) -> Program:
    """Return a program whose first dense layer has the factors and offsets of the scalers before it in its kernel and bias.

    They are computed in float64 and rounded once, when the program runs. Offsets that are large against the spread of an
    input cost digits of the outputs. A program without scalers is returned as it is.

    Examples:
        >>> from sklearn.linear_model import LinearRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> from steelyard.device.program import program_of
        >>> fitted = make_pipeline(StandardScaler(), LinearRegression()).fit([[0.0], [1.0], [3.0]], [1.0, 2.0, 4.0])
        >>> [type(step.operation).__name__ for step in program_of(fitted).steps]
        ['Affine', 'Dense']
        >>> [type(step.operation).__name__ for step in scalers_folded(program_of(fitted)).steps]
        ['Dense']
    """
    steps = list(program.steps)
    while len(steps) > 1 and (made := _folded(steps[0].operation, steps[1].operation)) is not None:
        if steps[1].inputs != (1,) or any(1 in step.inputs for step in steps[2:]) or 1 in program.outputs:
            break
        rest = [step._replace(inputs=tuple(max(place - 1, 0) for place in step.inputs)) for step in steps[2:]]
        steps = [steps[1]._replace(operation=made, inputs=(0,)), *rest]
    lost = len(program.steps) - len(steps)
    outputs = [place - lost for place in program.outputs]
    made_program = Program(program.input_names, program.input_shapes, steps, outputs, None if lost else program.error)
    made_program.probe, made_program.answers, made_program.assumptions = program.probe, program.answers, program.assumptions
    return made_program


def _folded(first: Operation, second: Operation) -> Affine | Dense | None:
    """Return one operation for two; None if they are not a scaler and what may take it up."""
    import numpy as np

    if isinstance(first, Affine) and first.axis == 1:
        scale, offset = (each.astype(np.float64) for each in (first.scale, first.offset))
        if isinstance(second, Affine) and second.axis == 1:
            return Affine(scale * second.scale, offset * second.scale + second.offset, 1)
        if isinstance(second, Dense):
            return Dense(second.kernel * scale, _bias(second.bias, second.kernel @ offset))
    if isinstance(first, Dense) and isinstance(second, Dense):
        kernel = first.kernel.astype(np.float64)
        offset = np.zeros(len(kernel)) if first.bias is None else first.bias
        return Dense(second.kernel @ kernel, _bias(second.bias, second.kernel @ offset))
    return None


def _bias(bias: Array | None, offset: Array) -> Array:
    return offset if bias is None else offset + bias
