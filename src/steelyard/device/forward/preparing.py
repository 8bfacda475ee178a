"""The program that is written: folded, without what no output needs, each output a value of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.device.forward.overwriting import moved
from steelyard.device.program.folding import folded
from steelyard.device.program.linear import Embedding
from steelyard.device.program.program import Operation, Program, Step
from steelyard.device.program.recurrent import Recurrent
from steelyard.device.program.scaling import scalers_folded
from steelyard.device.program.shaping import Constant, Reshape, Select
from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_BIASES = ("bias", "state_bias", "offset")


def prepared(program: Program, dtype: str, *, fold: bool | str) -> Program:
    """Return the program that is written, whose arrays have the type of the numbers. Raises `ShapeError` for NaN and Inf."""
    assumptions = program.assumptions
    program = scalers_folded(program) if fold == "scalers" else program
    program = _without_idle(_with_own_outputs(folded(program) if fold else program))
    program = _without_idle(_returning_last(program))
    known: dict[int, tuple[Array, Array]] = {}
    steps = [step._replace(operation=_cast(step, dtype, known)) for step in program.steps]
    made = Program(program.input_names, program.input_shapes, steps, program.outputs)
    made.assumptions = assumptions
    return made


def arrays(operation: object) -> Mapping[str, Array]:
    """Return the arrays of an operation by the names of their fields."""
    import numpy as np

    fields: Mapping[str, object] = operation._asdict()  # type: ignore[attr-defined]
    return {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}


def counting(program: Program) -> frozenset[int]:
    """Return the inputs that count rows of a table. Raises `ShapeError` for one that is computed with as well."""
    counts = set(range(len(program.input_names)))
    used: dict[int, set[bool]] = {}
    origin = {place: place for place in counts}
    shapes = [*program.input_shapes, *(step.shape for step in program.steps)]
    for at, step in enumerate(program.steps, start=len(program.input_names)):
        for place in step.inputs:
            if place not in origin:
                continue
            if isinstance(step.operation, (Reshape, Select)) and moved(step, shapes) is not None:
                origin[at] = origin[place]
            else:
                used.setdefault(origin[place], set()).add(isinstance(step.operation, Embedding))
        if isinstance(step.operation, Embedding) and step.inputs[0] not in origin:
            raise ShapeError(f"{quoted(step.name)} takes rows by numbers that are computed, which is not known")
    if mixed := next((place for place, kinds in used.items() if len(kinds) > 1), None):
        raise ShapeError(f"the input {quoted(program.input_names[mixed])} counts rows, and is computed with, which is not known")
    return frozenset(place for place, kinds in used.items() if kinds == {True})


def _with_own_outputs(program: Program) -> Program:
    """Return a program that copies an output which is an input, a constant, or another output."""
    first = len(program.input_names)
    steps, outputs = list(program.steps), list[int]()
    for place in program.outputs:
        is_own = place >= first and not isinstance(program.steps[place - first].operation, Constant) and place not in outputs
        if not is_own:
            shape = program.steps[place - first].shape if place >= first else program.input_shapes[place]
            steps.append(Step("output", Reshape(shape), (place,), shape))
        outputs.append(place if is_own else first + len(steps) - 1)
    return Program(program.input_names, program.input_shapes, steps, outputs)


def _without_idle(program: Program) -> Program:
    """Return a program without steps that no output needs."""
    first = len(program.input_names)
    needed = set(program.outputs)
    for at in reversed(range(len(program.steps))):
        if first + at in needed:
            needed.update(program.steps[at].inputs)
    places = {place: place for place in range(first)}
    steps: list[Step] = []
    for at, step in enumerate(program.steps, start=first):
        if at in needed:
            places[at] = first + len(steps)
            steps.append(step._replace(inputs=tuple(places[place] for place in step.inputs)))
    return Program(program.input_names, program.input_shapes, steps, [places[place] for place in program.outputs])


def _returning_last(program: Program) -> Program:
    """Return a program whose recurrent steps give their last state only, where no other is read."""
    first, uses = len(program.input_names), list(_uses(program))
    steps = list(program.steps)
    for at, step in enumerate(program.steps):
        before = steps[step.inputs[0] - first] if step.inputs and step.inputs[0] >= first else None
        if before is None or uses.count(step.inputs[0]) > 1 or not isinstance(step.operation, Select):
            continue
        operation = before.operation
        if isinstance(operation, Recurrent) and _is_last(operation, step.operation, before.shape):
            steps[step.inputs[0] - first] = before._replace(operation=operation._replace(returns="last"), shape=before.shape[1:])
            steps[at] = step._replace(operation=Reshape(step.shape))
    return Program(program.input_names, program.input_shapes, steps, program.outputs)


def _uses(program: Program) -> Iterator[int]:
    for step in program.steps:
        yield from step.inputs
    yield from program.outputs


def _is_last(recurrent: Recurrent, select: Select, shape: tuple[int, ...]) -> bool:
    """Whether all units of the step that is computed last are selected."""
    end = 0 if recurrent.backward and recurrent.returns == "all" else shape[0] - 1
    step, units = (
        range(part, part + 1) if isinstance(part, int) else range(length)[part]
        for part, length in zip(select.parts, shape, strict=True)
    )
    return recurrent.returns != "last" and list(step) == [end] and units == range(shape[1])


def _cast(step: Step, dtype: str, known: dict[int, tuple[Array, Array]]) -> Operation:
    """Return an operation with its arrays in a type; the same array for one that several steps share."""
    import numpy as np

    made = {}
    for name, array in arrays(step.operation).items():
        if array.dtype.kind in "iu":
            made[name] = known.setdefault(id(array), (array, _counted(step, name, array)))[1]
            continue
        with np.errstate(over="ignore", under="ignore"):
            # a sum that begins with -0.0 would begin with 0.0 in NumPy
            cast = (
                np.ascontiguousarray(array.astype(dtype)) + np.zeros((), dtype)
                if name in _BIASES
                else array.astype(dtype, order="C")
            )
        if not np.isfinite(cast).all():
            raise ShapeError(
                f"{quoted(step.name)} has a {name} with NaN or Inf in {dtype}; a forward pass takes finite numbers only"
            )
        made[name] = known.setdefault(id(array), (array, cast))[1]
    return step.operation._replace(**made)  # type: ignore[attr-defined,no-any-return]


def _counted(step: Step, name: str, array: Array) -> Array:
    """Return places in the type that all languages read them in."""
    import numpy as np

    if array.size and not 0 <= int(array.min()) <= int(array.max()) <= np.iinfo(np.uint16).max:
        raise ShapeError(f"{quoted(step.name)} has {name} above 65,535, which is not known")
    return np.ascontiguousarray(array.astype(np.uint16))
