"""The calls of each step of a quantised program, by the kind of its operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.device.forward.c.int8 import merges, sums, windows
from steelyard.device.forward.c.interface import emitter_of
from steelyard.device.forward.spelling import pointer

if TYPE_CHECKING:
    from steelyard.device.forward.c.kernels import Call
    from steelyard.device.forward.integers import IntegerForward
    from steelyard.device.forward.memory import Place
    from steelyard.device.int8.program import IntegerStep

    Emitter = Callable[["At", Any], list[Call]]


class At(NamedTuple):
    """A step that is written: the number of the `step` in its program, and where its codes are."""

    forward: IntegerForward
    tables: dict[str, str]
    step: int

    @property
    def own(self) -> IntegerStep:
        """The step itself."""
        return self.forward.program.steps[self.step]

    @property
    def size(self) -> int:
        """The number of codes of the output."""
        return prod(self.own.shape)

    def shape(self, nth: int = 0) -> tuple[int, ...]:
        """Return the shape of an input."""
        return self.forward.shape(self.own.inputs[nth])

    def input(self, nth: int = 0) -> str:
        """Return an expression of C for an input."""
        return self._pointer(self.forward.memory.places[self.own.inputs[nth]], 0)

    def input_from(self, start: int) -> str:
        """Return an expression for the only input from one of its codes on."""
        return self._pointer(self.forward.memory.places[self.own.inputs[0]], start)

    @property
    def output(self) -> str:
        """An expression of C for the output."""
        return self.output_from(0)

    def output_from(self, start: int) -> str:
        """Return an expression for the output from one of its codes on."""
        return self._pointer(self.forward.place(self.step), start)

    def table(self, word: str) -> str:
        """Return an expression of C for an array of the operation."""
        return self.tables[self.forward.symbols[self.step, word]]

    def _pointer(self, place: Place, start: int) -> str:
        if place.memory == "scratch":
            word = "scratch"
        elif place.memory == "table":
            word = self.tables[self.forward.symbols[place.number, "values"]]
        else:
            word = pointer(self.forward, place.memory, place.number)
        count = place.offset + start
        return f"{word} + {count}" if count else word


def calls(forward: IntegerForward, tables: dict[str, str]) -> Iterator[tuple[IntegerStep, list[Call]]]:
    """Yield the calls of each step. Raises `ShapeError` for an operation that cannot be written yet."""
    for nth, step in enumerate(forward.program.steps):
        if forward.is_idle(nth):
            continue
        yield step, emitter_of(EMITTERS, step)(At(forward, tables, nth), step.operation)


EMITTERS: dict[str, Emitter] = {
    "Sums": sums.sums,
    "Means": sums.means,
    "Rows": sums.rows,
    "Pooling": windows.pooling,
    "Added": merges.added,
    "Multiplied": merges.multiplied,
    "Joined": merges.joined,
    "Moves": merges.moves,
    "Lookup": merges.lookup,
    "Shares": merges.shares,
}
"""The emitter of each operation, by the name of its class."""
