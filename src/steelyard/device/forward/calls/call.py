"""A call, its arguments, and the step that it is made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.forward.memory import Place
from steelyard.device.forward.overwriting import work_of

if TYPE_CHECKING:
    from steelyard.device.forward.forward import Forward
    from steelyard.device.program.program import Step


class Buffer(NamedTuple):
    """So many numbers from a place on, `offset` counts from it."""

    place: Place
    size: int
    offset: int = 0

    @property
    def start(self) -> int:
        """Where it begins in its memory."""
        return self.place.offset + self.offset


class Table(NamedTuple):
    """An array of the net by its symbol, from an offset on; an empty one has no symbol."""

    symbol: str
    offset: int = 0


class Curve(NamedTuple):
    """An activation by its word, with its settings."""

    word: str
    settings: Mapping[str, float]


class Pairs(NamedTuple):
    """Inputs of a combination, each with the axes that it is read by, and the word that combines two numbers."""

    inputs: tuple[tuple[Buffer | Table, Axes], ...]
    word: str


Axes = tuple[tuple[int, ...], ...]
"""A row of integers for each axis: its length, then strides."""
Argument = Buffer | Table | Curve | Pairs | Axes | tuple[int, ...] | int | float | bool


class Call(NamedTuple):
    """A function of a language by its name, with the arguments in order."""

    name: str
    arguments: tuple[Argument, ...]


class At(NamedTuple):
    """A step that is written: its number in the program."""

    forward: Forward
    number: int

    @property
    def step(self) -> Step:
        """The step itself."""
        return self.forward.program.steps[self.number]

    @property
    def output(self) -> Buffer:
        """The numbers that it computes."""
        return Buffer(self.forward.place(self.number), prod(self.step.shape))

    @property
    def work(self) -> Buffer:
        """The numbers that it has to itself while it runs."""
        shapes = [self.forward.shape(place) for place in range(len(self.forward.memory.places))]
        return Buffer(Place("scratch", 0, self.forward.memory.work[self.number]), work_of(self.step, shapes))

    def input(self, nth: int = 0) -> Buffer | Table:
        """Return the numbers of an input."""
        value = self.step.inputs[nth]
        place = self.forward.memory.places[value]
        if place.memory == "table":
            return Table(self.forward.symbols[place.number, "values"], place.offset)
        return Buffer(place, prod(self.forward.shape(value)))

    def shape(self, nth: int = 0) -> tuple[int, ...]:
        """Return the shape of an input."""
        return self.forward.shape(self.step.inputs[nth])

    def table(self, field: str) -> Table:
        """Return an array of the operation, an empty one where it has none."""
        return Table(self.forward.symbols.get((self.number, field), ""))


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Return how far apart the places of each axis are, row-major.

    >>> strides_of((2, 3, 4))
    (12, 4, 1)
    """
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def repeated(shape: Sequence[int], whole: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of an array whose axes of length 1, and those that it lacks before, are repeated.

    >>> repeated((3, 1, 4), (2, 3, 5, 4))
    (0, 4, 0, 1)
    """
    given = (*[1] * (len(whole) - len(shape)), *shape)
    return tuple(way if own == length else 0 for own, length, way in zip(given, whole, strides_of(given), strict=True))


def joined(axes: Sequence[tuple[int, ...]], columns: int = 3) -> Axes:
    """Return axes with those joined that follow each other in all strides, and without those of length 1; at least one is left.

    >>> joined([(2, 12, 12), (3, 4, 4), (1, 9, 9), (4, 1, 1)]), joined([(2, 1, 3), (3, 2, 1)])
    (((24, 1, 1),), ((2, 1, 3), (3, 2, 1)))
    """
    made: list[tuple[int, ...]] = []
    for length, *strides in axes:
        if length == 1:
            continue
        before = made[-1] if made else None
        if before is not None and all(far == length * near for far, near in zip(before[1:], strides, strict=True)):
            made[-1] = (before[0] * length, *strides)
        else:
            made.append((length, *strides))
    return tuple(made) or ((1,) * columns,)
