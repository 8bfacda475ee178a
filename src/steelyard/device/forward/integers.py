"""The export of a forward pass in integers: a quantised program, its tables, and the codes that its test compares."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.forward import integer_writer
from steelyard.device.forward.memory import planned
from steelyard.device.forward.proof import STORED
from steelyard.device.int8 import operations as ints
from steelyard.device.int8.making import quantized
from steelyard.device.int8.report import Errors, errors_of
from steelyard.device.int8.tflite import quantized_of_tflite
from steelyard.device.program import program_of
from steelyard.device.program.activations import Activation
from steelyard.device.program.linear import Embedding, Prelu
from steelyard.device.program.norms import Softmax
from steelyard.device.program.program import Operation, Program, Step
from steelyard.device.program.shaping import Combine, Concatenate, Constant
from steelyard.device.tables import tabled
from steelyard.errors import ShapeError, printable
from steelyard.io import weights
from steelyard.numerics.packed import packed_pairs
from steelyard.transfers.probes import listed_inputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weight import Array
    from steelyard.device.exported import Export
    from steelyard.device.forward.forward import Examples
    from steelyard.device.forward.memory import Memory, Place
    from steelyard.device.forward.planning import Facts
    from steelyard.device.int8.program import IntegerOperation, IntegerStep, QuantizedProgram
    from steelyard.device.symbols import Symbols
    from steelyard.device.writers import Pieces

BITS = {"int8": 8, "int4": 4}
"""The bits of kernels by the dtype that is asked for."""
SEED, EXAMPLES = 0, 8
"""The seed and the number of random codes for a model that brings its own scales."""


class IntegerForward(NamedTuple):
    """A quantised program that is ready to be written.

    `inputs` and `outputs` are the codes of the examples that its test compares. `symbols` has the symbol of each array by the
    number of its step and its word. `errors` are those against the float net, None for a model that brings its own scales.
    """

    program: QuantizedProgram
    memory: Memory
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    symbols: Mapping[tuple[int, str], str]
    errors: Errors | None

    def lines(self) -> Iterator[str]:
        """Yield what a header states of the forward pass: how it is computed, and how far each layer is off."""
        yield f"forward  in int8, sums in int32, {self.program.rounding} rounding; {self.memory.size:,} bytes of scratch"
        yield from self.report()

    def report(self) -> Iterator[str]:
        """Yield the error of each layer on the examples, and how often the greatest output is that of the float net."""
        if self.errors is None:
            return
        yield (
            f"int8     the greatest output is that of the float net for {self.errors.agreement:.2%} of "
            f"{self.errors.examples:,} examples"
        )
        for each in self.errors.layers:
            yield (
                f"error    {printable(each.name, 60)} ({each.operation}): {each.sqnr:.1f} dB, at most {each.max:.3g} of "
                f"{each.largest:.3g}"
            )

    def files(self, export: Export, file: str) -> dict[str, Pieces]:
        """Return the pieces of each file, the one that was asked for first, in the language of its suffix."""
        return integer_writer(os.path.splitext(file)[1].lower()).files(export, self, file)

    def shape(self, value: int) -> tuple[int, ...]:
        """Return the shape of a value for one example."""
        inputs = self.program.input_shapes
        return inputs[value] if value < len(inputs) else self.program.steps[value - len(inputs)].shape

    def place(self, step: int) -> Place:
        """Return where the output of a step is."""
        return self.memory.places[len(self.program.input_names) + step]

    def is_idle(self, nth: int) -> bool:
        """Whether nothing is to be done for a step: it is a table, or its numbers are already where its output is."""
        return nth in self.memory.idle


def planned_integers(
    source: object, examples: Examples, facts: Facts, symbols: Symbols, derived: Callable[[int], list[str]]
) -> Export:
    """Return the export of a source's forward pass in integers without its files. Raises as `export` does."""
    options, choices = facts.options, facts.choices
    bits = BITS[options.dtype or "int8"]
    if isinstance(source, (str, os.PathLike)) and os.fspath(source).endswith((".tflite", ".lite")):
        program, errors = quantized_of_tflite(source, rounding=choices.rounding), None
        given = examples.inputs
        codes: Sequence[Array] = _random(program) if given is None else program.codes(*listed_inputs(given))
    else:
        known = program_of(source, examples.inputs, outputs=examples.outputs)
        data = _data(known, examples.inputs)
        program = quantized(known, data, rounding=choices.rounding, calibrate=choices.calibrate, bits=bits)
        errors, codes = errors_of(program, known, data), program.codes(*data)
    _check(program)
    listed, names = _named(program)
    kept_types = options._replace(dtype=None)
    made = tabled(weights(listed), facts.source, facts.digest, kept_types, symbols, bits=False, derived=derived)
    made.options = options
    known_symbols = {true: symbol for symbol, true in made.true_names.items()}
    places = {key: known_symbols[true] for key, true in names.items()}
    count = max(1, STORED // max(sum(map(prod, program.input_shapes)), 1))
    kept = tuple(each[:count] for each in codes)
    outputs = program.values(*kept)
    memory = planned(shadow(program))
    made.forward = IntegerForward(program, memory, kept, tuple(outputs[place] for place in program.outputs), places, errors)
    return made


def _data(program: Program, probe: object) -> tuple[Array, ...]:
    if probe is None:
        raise ShapeError(
            "int8 is calibrated with examples: pass some as probe=, at least as many as classes; nothing was written"
        )
    return tuple(program.probe) if program.probe is not None else tuple(listed_inputs(probe))


def _random(program: QuantizedProgram) -> list[Array]:
    """Return random codes of the inputs."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    return [rng.integers(-128, 128, (EXAMPLES, *shape)).astype(np.int8) for shape in program.input_shapes]


def _check(program: QuantizedProgram) -> None:
    """Refuse outputs that no step of their own computes."""
    first = len(program.input_names)
    own = [
        place
        for place in program.outputs
        if place >= first and not isinstance(program.steps[place - first].operation, ints.Fixed)
    ]
    if len(set(own)) != len(program.outputs):
        raise ShapeError("an output of the net is an input, a constant or another output, which is not known in int8")


def shadow(program: QuantizedProgram) -> Program:
    """Return a program whose operations use memory as those of a quantised one do."""
    steps = [Step(step.name, _like(step), step.inputs, step.shape) for step in program.steps]
    return Program(program.input_names, program.input_shapes, steps, program.outputs)


def _like(step: IntegerStep) -> Operation:
    import numpy as np

    operation = step.operation
    match operation:
        case ints.Sums() | ints.Pooling() | ints.Means() | ints.Moves():
            made: Operation = operation.operation
        case ints.Fixed():
            made = Constant(operation.values)
        case ints.Rows():
            made = Embedding(operation.table)
        case ints.Lookup(table=table, axis=axis):
            made = Activation("linear", {}) if table.ndim == 1 else Prelu(np.zeros(len(table)), axis)
        case ints.Shares():
            made = Softmax("softmax", operation.axis)
        case ints.Joined(word="concatenate") if not any(operation.rescaled):
            made = Concatenate(operation.axis)
        case _:
            made = Combine("add")
    return made


def arrays_of(operation: IntegerOperation) -> dict[str, Array]:
    """Return the arrays that the code of an operation reads, by words; kernels of 4 bits are packed, the low half first."""
    import numpy as np

    found: dict[str, Array] = {}
    if isinstance(operation, ints.Sums):
        fields = operation.operation._asdict()
        for word, name in (("kernel", "kernel"), ("kernel", "scale"), ("bias", "bias"), ("bias", "offset")):
            if name in fields:
                found[word] = np.ascontiguousarray(fields[name])
        if operation.bits == 4:
            found["kernel"] = packed_pairs(found["kernel"].reshape(-1))
        found["multiplier"] = operation.requantization.by.values
        found["shift"] = operation.requantization.by.shifts.astype(np.int8)
    elif isinstance(operation, (ints.Rows, ints.Lookup)):
        found["table"] = np.ascontiguousarray(operation.table)
    elif isinstance(operation, ints.Shares):
        found["power"] = operation.powers
    elif isinstance(operation, ints.Fixed):
        found["values"] = np.ascontiguousarray(operation.values)
    return found


def _named(program: QuantizedProgram) -> tuple[dict[str, Array], dict[tuple[int, str], str]]:
    """Return the arrays of a program by names of their own, and these names by step and word."""
    listed: dict[str, Array] = {}
    names: dict[tuple[int, str], str] = {}
    for nth, step in enumerate(program.steps):
        for word, array in arrays_of(step.operation).items():
            stem = f"{step.name}.{word}"
            name = next(each for each in (stem, *(f"{stem}.{number}" for number in range(2, 10_000))) if each not in listed)
            listed[name], names[nth, word] = array, name
    return listed, names
