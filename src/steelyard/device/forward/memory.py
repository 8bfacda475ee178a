"""Where the values of a program are: in its inputs and outputs, in tables, and in one scratch that they share.

A value lives from the step that computes it to the last that reads it. Values whose lives do not overlap share places of the
scratch; an operation that reads each number before it writes there takes over the place of its input, and a reshape is another
name for it. Values that are joined are written straight into their places, where that takes no more scratch. The last values are
written straight into the outputs, and an input is never copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.forward.overwriting import moved, overwrites, starts_of, work_of

if TYPE_CHECKING:
    from steelyard.device.program.program import Program, Step

    Sizes = Callable[[int], int]


class Place(NamedTuple):
    """Where a value begins: `memory` is "input", "output", "scratch" or "table".

    `number` is that of the input or output, or the step of the table; `offset` counts numbers from the beginning.
    """

    memory: str
    number: int
    offset: int = 0

    def after(self, count: int) -> Place:
        """Return the place so many numbers after this one."""
        return self._replace(offset=self.offset + count)


class Memory(NamedTuple):
    """The `places` of all values, where the `work` of each step is in the scratch, and the `size` of the scratch in numbers.

    The steps `idle` have nothing to do: each is a table, or its numbers are already where its output is.
    """

    places: tuple[Place, ...]
    work: tuple[int, ...]
    size: int
    idle: frozenset[int]


class _Buffer:
    """Numbers that several values share in turn: those of the steps `first` to `last`.

    `held` has the first and the last step of each value, and where it ends in the buffer.
    """

    def __init__(self, memory: str, number: int, size: int, first: int, last: int) -> None:
        self.memory = memory
        self.number = number
        self.size = size
        self.first = first
        self.last = last
        self.offset = 0
        self.held = [(first, last, size)]

    def meets(self, other: _Buffer) -> bool:
        """Whether both are in use at the same step."""
        return self.first <= other.last and other.first <= self.last

    def size_beside(self, other: _Buffer) -> int:
        """Return how many numbers are in use while another buffer is, too: those that shrink in place leave the rest free."""
        return max((end for first, last, end in self.held if first <= other.last and other.first <= last), default=0)


def planned(program: Program) -> Memory:
    """Return the memory of a program, each of whose outputs is a value of its own that a step computes.

    Examples:
        >>> import numpy as np
        >>> from steelyard.device.program.activations import Activation
        >>> from steelyard.device.program.linear import Dense
        >>> from steelyard.device.program.program import Program, Step
        >>> wide, narrow = Dense(np.zeros((64, 784)), None), Dense(np.zeros((10, 64)), None)
        >>> steps = [Step("a", wide, (0,), (64,)), Step("b", Activation("relu", {}), (1,), (64,)), Step("c", narrow, (2,), (10,))]
        >>> memory = planned(Program(["x"], [(784,)], steps, [3]))
        >>> memory.size, [place.memory for place in memory.places]
        (64, ['input', 'scratch', 'scratch', 'output'])
    """
    return min((_planned(program, joins=joins) for joins in (True, False)), key=lambda memory: memory.size)


def _planned(program: Program, *, joins: bool) -> Memory:
    apart: set[int] = set()
    while (plan := _Plan(program, apart, joins=joins)).too_large:
        apart |= plan.too_large  # a value that shrinks in place does not fit into an output, so that it gets its own
    return plan.memory()


class _Plan:
    """The buffers of a program's values; the steps `apart` overwrite no input.

    If it `joins`, values that are joined are written into their places.
    """

    def __init__(self, program: Program, apart: set[int], *, joins: bool) -> None:
        self._program = program
        self._first = len(program.input_names)
        self._shapes = [*program.input_shapes, *(step.shape for step in program.steps)]
        self._ends = self._last_uses()
        self._starts = [0] * self._first
        self._buffers = [_Buffer("input", at, prod(shape), 0, len(self._shapes)) for at, shape in enumerate(program.input_shapes)]
        for at, step in enumerate(program.steps, start=self._first):
            self._add(at, step, may_overwrite=at not in apart)
            if joins:
                self._join(at, step)
        self.too_large = {at for at in program.outputs if prod(self._shapes[at]) < self._buffers[at].size and at not in apart}

    def _last_uses(self) -> list[int]:
        ends = list(range(len(self._shapes)))
        for at, step in enumerate(self._program.steps, start=self._first):
            for place in step.inputs:
                ends[place] = at
        for place in self._program.outputs:
            ends[place] = len(self._shapes)
        return ends

    def _add(self, at: int, step: Step, *, may_overwrite: bool) -> None:
        """Give the output of a step the buffer of an input, or its own."""
        offset = moved(step, self._shapes)
        shared = None if offset is None else self._buffers[step.inputs[0]]
        if shared is not None and at in self._program.outputs and (shared.memory, shared.size) != ("scratch", prod(step.shape)):
            shared = None  # an output is in a place of its own
        if shared is not None:
            start = self._starts[step.inputs[0]] + (offset or 0)
        else:
            start, shared = 0, self._overwritten(at, step) if may_overwrite else None
        self._starts.append(start)
        self._buffers.append(shared or self._own(at, step))
        self._extend(at)

    def _overwritten(self, at: int, step: Step) -> _Buffer | None:
        """Return the buffer of an input that a step may overwrite, since nothing reads it later."""
        for nth in overwrites(step, self._shapes):
            place = step.inputs[nth]
            buffer = self._buffers[place]
            others = [each for each in step.inputs if self._buffers[each] is buffer]
            alike = all(self._is_alike(each, place) or self._starts[each] >= prod(step.shape) for each in others)
            if buffer.memory == "scratch" and not self._starts[place] and buffer.last <= at and alike:
                return buffer
        return None

    def _is_alike(self, one: int, other: int) -> bool:
        """Whether two values of the same buffer have all their numbers at the same places."""
        return (self._shapes[one], self._starts[one]) == (self._shapes[other], self._starts[other])

    def _join(self, at: int, step: Step) -> None:
        """Let the buffers of values that are joined be parts of that of the output, which begins with the first of them."""
        whole = self._buffers[at]
        for place, start in zip(step.inputs, starts_of(step, self._shapes), strict=False):
            part = self._buffers[place]
            if part.memory != "scratch" or part is whole or part.size != prod(self._shapes[place]):
                continue
            for value, buffer in enumerate(self._buffers):
                if buffer is part:
                    self._buffers[value], self._starts[value] = whole, self._starts[value] + start
            whole.first, whole.last = min(whole.first, part.first), max(whole.last, part.last)
            whole.held += [(first, last, end + start) for first, last, end in part.held]

    def _own(self, at: int, step: Step) -> _Buffer:
        memory = "table" if type(step.operation).__name__ == "Constant" and at not in self._program.outputs else "scratch"
        return _Buffer(memory, at - self._first, prod(step.shape), at, at)

    def _extend(self, at: int) -> None:
        """Let a buffer last as long as its newest value; one that ends as an output is that output from the beginning."""
        buffer = self._buffers[at]
        buffer.last = max(buffer.last, self._ends[at])
        value = at, self._ends[at], self._starts[at] + prod(self._shapes[at])
        buffer.held = [value] if buffer.first == at else [*buffer.held, value]
        if at in self._program.outputs:
            buffer.memory, buffer.number = "output", self._program.outputs.index(at)

    def memory(self) -> Memory:
        """Return the places of the values."""
        known = {id(buffer): buffer for buffer in self._buffers if buffer.memory == "scratch"}
        work = [_Buffer("scratch", 0, size, at, at) for at, size in self._work()]
        size = arranged([*known.values(), *[buffer for buffer in work if buffer.size]])
        pairs = zip(self._buffers, self._starts, strict=True)
        places = tuple(Place(buffer.memory, buffer.number, buffer.offset + start) for buffer, start in pairs)
        return Memory(places, tuple(buffer.offset for buffer in work), size, frozenset(self._idle(places)))

    def _idle(self, places: Sequence[Place]) -> Iterator[int]:
        """Yield the steps with nothing to do."""
        for nth, step in enumerate(self._program.steps):
            made, given = places[self._first + nth], [places[each] for each in step.inputs]
            shift, starts = moved(step, self._shapes), starts_of(step, self._shapes)
            is_there = bool(starts) and given == [made.after(start) for start in starts]
            if made.memory == "table" or is_there or (shift is not None and made == given[0].after(shift)):
                yield nth

    def _work(self) -> Iterator[tuple[int, int]]:
        for at, step in enumerate(self._program.steps, start=self._first):
            yield at, work_of(step, self._shapes)


def arranged(buffers: Sequence[_Buffer]) -> int:
    """Give each buffer the first offset at which it meets no other, and return the size of all: the better of two orders."""
    orders = (lambda each: (-each.size, each.first)), (lambda each: (each.first, -each.size))
    best: tuple[int, list[int]] | None = None
    for order in orders:
        placed: list[_Buffer] = []
        for buffer in sorted(buffers, key=order):
            buffer.offset = _gap(buffer, [each for each in placed if each.meets(buffer)])
            placed.append(buffer)
        size = max((each.offset + each.size for each in buffers), default=0)
        if best is None or size < best[0]:
            best = size, [each.offset for each in buffers]
    for buffer, offset in zip(buffers, best[1] if best else [], strict=True):
        buffer.offset = offset
    return best[0] if best else 0


def _gap(buffer: _Buffer, others: Sequence[_Buffer]) -> int:
    """Return the least offset at which a buffer is beside each of the others while both are in use."""
    pairs = [(other.offset, other.offset + other.size_beside(buffer), buffer.size_beside(other)) for other in others]
    for offset in sorted({0, *(end for _, end, _ in pairs)}):
        if all(offset >= end or offset + size <= start for start, end, size in pairs):
            return offset
    raise AssertionError("the place after all others is free")
