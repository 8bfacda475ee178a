"""What a writer of a forward pass gets: the program, its arithmetic, memory and tables, and what its test compares."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.forward import writer
from steelyard.device.program.arithmetic import Arithmetic
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.device.exported import Export
    from steelyard.device.forward.memory import Memory, Place
    from steelyard.device.forward.proof import Proof
    from steelyard.device.program.program import Program
    from steelyard.device.writers import Pieces


class Choices(NamedTuple):
    """The options of a forward pass, as `steelyard.device.export.export` describes them."""

    fold: bool | str = True
    accumulate: str = "float"
    rounding: str = ""
    calibrate: str = "minmax"
    libm: bool = True


class Examples(NamedTuple):
    """The inputs on which a net is proven, one array or a list of them, and its outputs for these, as far as they are given."""

    inputs: object = None
    outputs: object = None


class Forward(NamedTuple):
    """A program that is ready to be written.

    `integers` are the numbers of the inputs that count rows of a table. `symbols` has the symbol of each array by the number of
    its step and the name of its field.
    """

    program: Program
    arithmetic: Arithmetic
    memory: Memory
    proof: Proof
    integers: frozenset[int]
    symbols: Mapping[tuple[int, str], str]
    choices: Choices

    def lines(self) -> Iterator[str]:
        """Yield what a header states of the forward pass: how it is computed, and how far it is off."""
        proof, choices = self.proof, self.choices
        scalers = " and scalers" if choices.fold == "scalers" else ""
        folded = f"batch norms{scalers} folded into kernels" if choices.fold else "batch norms kept apart"
        types = f"in {self.arithmetic.numbers}, sums in {self.arithmetic.sums}{'' if choices.libm else ', own functions'}"
        yield f"forward  {types}, {folded}; {self.memory.size:,} numbers of scratch"
        origin = "those of the net" if proof.is_run else "those of its graph in float64, since the net itself was not run"
        yield f"error    {proof.error:.3g} of the largest output on {proof.examples:,} examples, from {origin}"
        known = "not known" if proof.bound is None else f"{proof.bound:.3g} of the largest output"
        yield f"bound    {known}, for any order of sums and fused products"
        yield from (f"assumed  {printable(each, 1000)}" for each in self.program.assumptions)

    def report(self) -> Iterator[str]:
        """Yield what is printed of the forward pass after the arrays."""
        proof = self.proof
        bound = "" if proof.bound is None else f", bounded by {proof.bound:.3g}"
        whose = "" if proof.is_run else " of its graph"
        examples = f"{proof.examples:,} example{'s' * (proof.examples != 1)}"
        yield (
            f"forward  off by {proof.error:.3g} of the largest output{whose} on {examples}{bound}; scratch {self.memory.size:,}"
        )

    def files(self, export: Export, file: str) -> dict[str, Pieces]:
        """Return the pieces of each file, the one that was asked for first, in the language of its suffix."""
        return writer(os.path.splitext(file)[1].lower()).files(export, self, file)

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
