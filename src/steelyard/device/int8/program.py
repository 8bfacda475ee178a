"""A quantised program: operations on codes of 8 bits in order, and their computation by NumPy in integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.int8.requantizing import Quantization


class IntegerOperation(Protocol):
    """What a step of a quantised program computes."""

    def run(self, inputs: Sequence[Array], rounding: str, /) -> Array:
        """Return the codes for codes whose first axis has the examples."""


class IntegerStep(NamedTuple):
    """An operation on codes, as `Step` is one on numbers. `quantization` is that of its output."""

    name: str
    operation: IntegerOperation
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    quantization: Quantization


class QuantizedProgram:
    """The operations of a net on int8 codes; its values are numbered as those of `Program`.

    `input_quantizations` has None for an input of whole numbers, which select rows of a table. `rounding` is "single" or
    "double". `origins` are the values of the float program that the values stand for, empty if there is none.
    """

    __slots__ = ("input_names", "input_quantizations", "input_shapes", "origins", "outputs", "rounding", "steps")

    def __init__(
        self,
        input_names: Sequence[str],
        input_shapes: Sequence[tuple[int, ...]],
        input_quantizations: Sequence[Quantization | None],
        steps: Sequence[IntegerStep],
        outputs: Sequence[int],
        rounding: str,
        origins: Sequence[int] = (),
    ) -> None:
        self.input_names = tuple(input_names)
        self.input_shapes = tuple(input_shapes)
        self.input_quantizations = tuple(input_quantizations)
        self.steps = tuple(steps)
        self.outputs = tuple(outputs)
        self.rounding = rounding
        self.origins = tuple(origins)

    @property
    def quantizations(self) -> tuple[Quantization | None, ...]:
        """The quantisation of each value: the inputs, then the outputs of the steps."""
        return (*self.input_quantizations, *(step.quantization for step in self.steps))

    def values(self, *inputs: Array) -> list[Array]:
        """Return the codes of all values for codes of the inputs, whose first axis has the examples."""
        import numpy as np

        values = [np.asarray(each) for each in inputs]
        if [each.shape[1:] for each in values] != list(self.input_shapes):
            given = ", ".join(str(each.shape) for each in values)
            raise ShapeError(f"the program takes examples of shapes {list(self.input_shapes)}, not arrays of shapes {given}")
        for value, known in zip(values, self.input_quantizations, strict=True):
            if value.dtype.kind not in "iu" or (known is not None and value.dtype != np.int8):
                raise ShapeError(f"the program takes {'int8 codes' if known else 'whole numbers'}, not {value.dtype}")
        for step in self.steps:
            values.append(step.operation.run([values[place] for place in step.inputs], self.rounding))
        return values

    def run(self, *inputs: Array) -> Array | list[Array]:
        """Return the codes of the outputs: one array, or a list if there are several outputs."""
        values = self.values(*inputs)
        outputs = [values[place] for place in self.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def predict(self, *inputs: Array) -> Array | list[Array]:
        """Return the numbers of the outputs for numbers of the inputs, which become codes first."""
        values = self.values(*self.codes(*inputs))
        made = [self.numbers(place, values[place]) for place in self.outputs]
        return made[0] if len(made) == 1 else made

    def codes(self, *inputs: Array) -> list[Array]:
        """Return the codes of numbers of the inputs; whole numbers stay."""
        known = zip(inputs, self.input_quantizations, strict=True)
        return [each if quantization is None else quantization.codes(each) for each, quantization in known]

    def numbers(self, place: int, codes: Array) -> Array:
        """Return the numbers that the codes of a value stand for."""
        quantization = self.quantizations[place]
        return codes if quantization is None else quantization.numbers(codes)

    def __repr__(self) -> str:
        lines = [f"input {name} {shape}" for name, shape in zip(self.input_names, self.input_shapes, strict=True)]
        lines += [f"{printable(each.name)}: {type(each.operation).__name__} {each.inputs} {each.shape}" for each in self.steps]
        facts = (f"scale {each.scale:.6g}, zero point {each.zero_point}" if each else "whole" for each in self.quantizations)
        return "\n".join(f"{place} {line} {fact}" for place, (line, fact) in enumerate(zip(lines, facts, strict=True)))
