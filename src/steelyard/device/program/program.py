"""A program: the operations of a net in order, without its framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from steelyard.device.program.arithmetic import Arithmetic
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array


class Operation(Protocol):
    """What a step computes: a small class with its arrays and settings."""

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic, /) -> Array:
        """Return the output for inputs whose first axis has the examples."""


class Step(NamedTuple):
    """An operation, and the numbers of its `inputs` among the values: first the program's inputs, then the steps in order.

    `name` is that of the layer it belongs to, which may have several steps; `shape` is that of its output for one example.
    """

    name: str
    operation: Operation
    inputs: tuple[int, ...]
    shape: tuple[int, ...]


class Program:
    """The operations of a net: `steps` in order, each after those that it needs, `input_shapes` for one example.

    `outputs` are the numbers of the values that the net returns. `error` is the largest difference of `run` from the
    net's own outputs on the probe, divided by the largest of these; None if the net could not be run. `probe` has the inputs
    on which it was run, `answers` its outputs; `assumptions` are sentences about what the graph does not show.
    """

    __slots__ = ("answers", "assumptions", "error", "input_names", "input_shapes", "outputs", "probe", "steps")

    def __init__(
        self,
        input_names: Sequence[str],
        input_shapes: Sequence[tuple[int, ...]],
        steps: Sequence[Step],
        outputs: Sequence[int],
        error: float | None = None,
    ) -> None:
        self.input_names = tuple(input_names)
        self.input_shapes = tuple(input_shapes)
        self.steps = tuple(steps)
        self.outputs = tuple(outputs)
        self.error = error
        self.probe: tuple[Array, ...] | None = None
        self.answers: tuple[Array, ...] | None = None
        self.assumptions: tuple[str, ...] = ()

    def run(
        self, *inputs: Array, dtype: str = "float32", accumulate: str | None = None, libm: bool = True
    ) -> Array | list[Array]:
        """Return the outputs for arrays whose first axis has the examples: one array, or a list if the net has several outputs.

        All operations are computed in `dtype` and in the order of the steps. Sums are accumulated in `accumulate`, by default
        `dtype`, and rounded once. With `libm` false elementary functions in float32 are our own, which have the same bits on
        every device (`steelyard.device.forward.math`). Raises `ShapeError` for inputs of other shapes.
        """
        values = self.values(*inputs, dtype=dtype, accumulate=accumulate, libm=libm)
        outputs = [values[place] for place in self.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def values(self, *inputs: Array, dtype: str = "float32", accumulate: str | None = None, libm: bool = True) -> list[Array]:
        """Return all values for arrays, as `run` computes them: the inputs, then the outputs of the steps."""
        import numpy as np

        arithmetic = Arithmetic(dtype, accumulate or dtype, libm)
        values = [np.asarray(each) for each in inputs]
        if [each.shape[1:] for each in values] != list(self.input_shapes):
            given = ", ".join(str(each.shape) for each in values)
            raise ShapeError(f"the program takes examples of shapes {list(self.input_shapes)}, not arrays of shapes {given}")
        values = [each if each.dtype.kind in "iub" else arithmetic.cast(each) for each in values]
        for step in self.steps:
            values.append(step.operation.run([values[place] for place in step.inputs], arithmetic))
        return values

    def __repr__(self) -> str:
        lines = [f"input {name} {shape}" for name, shape in zip(self.input_names, self.input_shapes, strict=True)]
        lines += [f"{printable(each.name)}: {type(each.operation).__name__} {each.inputs} {each.shape}" for each in self.steps]
        return "\n".join(f"{place} {line}" for place, line in enumerate(lines))


def needed(program: Program) -> Program:
    """Return a program without the steps that no output needs."""
    first = len(program.input_names)
    needed = set(program.outputs)
    for place in range(first + len(program.steps) - 1, first - 1, -1):
        if place in needed:
            needed.update(program.steps[place - first].inputs)
    kept = [*range(first), *(place for place in sorted(needed) if place >= first)]
    places = {place: nth for nth, place in enumerate(kept)}
    steps = [program.steps[place - first] for place in kept[first:]]
    moved = [step._replace(inputs=tuple(places[each] for each in step.inputs)) for step in steps]
    return Program(program.input_names, program.input_shapes, moved, [places[place] for place in program.outputs])
