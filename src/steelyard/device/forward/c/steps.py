"""The calls of each step of a program, by the kind of its operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.device.forward.c import attention, convolutions, curves, dense, norms, pools, recurrent, shaping
from steelyard.device.forward.c.interface import emitter_of
from steelyard.device.forward.spelling import pointer

if TYPE_CHECKING:
    from steelyard.device.forward.c.kernels import Call
    from steelyard.device.forward.forward import Forward
    from steelyard.device.forward.memory import Place
    from steelyard.device.program.arithmetic import Arithmetic
    from steelyard.device.program.program import Step

    Emitter = Callable[["At", Any], list[Call]]


class At(NamedTuple):
    """A step that is written: the number of the `step` in its program, and where its numbers are."""

    forward: Forward
    tables: dict[str, str]
    step: int

    @property
    def own(self) -> Step:
        """The step itself."""
        return self.forward.program.steps[self.step]

    @property
    def arithmetic(self) -> Arithmetic:
        """The types of the numbers and sums."""
        return self.forward.arithmetic

    @property
    def size(self) -> int:
        """The number of numbers of the output."""
        return prod(self.own.shape)

    def shape(self, nth: int = 0) -> tuple[int, ...]:
        """Return the shape of an input."""
        return self.forward.shape(self.own.inputs[nth])

    def place(self, nth: int) -> Place:
        """Return where an input is."""
        return self.forward.memory.places[self.own.inputs[nth]]

    def input(self, nth: int = 0) -> str:
        """Return an expression of C for an input."""
        return self._pointer(self.place(nth))

    @property
    def output(self) -> str:
        """An expression of C for the output."""
        return self._pointer(self.forward.place(self.step))

    @property
    def work(self) -> str:
        """An expression of C for the numbers that the step has to itself."""
        return offset("scratch", self.forward.memory.work[self.step])

    def shifted(self, start: str, count: int) -> str:
        """Return an expression for the address so many numbers after another."""
        return offset(start, count)

    def space(self, channels: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the lengths of the spatial axes of the input and of the output, whose channels are first or last."""
        places = slice(1, None) if channels == "first" else slice(None, -1)
        return self.shape()[places], self.own.shape[places]

    def table(self, field: str) -> str:
        """Return an expression of C for an array of the operation."""
        return self.tables[self.forward.symbols[self.step, field]]

    def _pointer(self, place: Place) -> str:
        if place.memory == "scratch":
            return offset("scratch", place.offset)
        if place.memory == "table":
            return offset(self.tables[self.forward.symbols[place.number, "values"]], place.offset)
        return offset(pointer(self.forward, place.memory, place.number), place.offset)


def offset(start: str, count: int) -> str:
    """Return an expression for the address so many numbers after another."""
    return f"{start} + {count}" if count else start


def calls(forward: Forward, tables: dict[str, str]) -> Iterator[tuple[Step, list[Call]]]:
    """Yield the calls of each step. Raises `ShapeError` for an operation that cannot be written yet."""
    for nth, step in enumerate(forward.program.steps):
        if forward.is_idle(nth):
            continue
        yield step, emitter_of(EMITTERS, step)(At(forward, tables, nth), step.operation)


EMITTERS: dict[str, Emitter] = {
    "Activation": curves.activation,
    "Affine": norms.affine,
    "Attention": attention.attention,
    "Combine": shaping.combine,
    "Concatenate": shaping.concatenate,
    "Constant": shaping.constant,
    "Conv": convolutions.conv,
    "ConvTranspose": convolutions.conv_transpose,
    "Dense": dense.dense,
    "Embedding": shaping.embedding,
    "GlobalPool": pools.global_pool,
    "GroupNorm": norms.group_norm,
    "LayerNorm": norms.layer_norm,
    "MatMul": attention.matmul,
    "Pad": shaping.pad,
    "Permute": shaping.permute,
    "Pool": pools.pool,
    "Prelu": norms.prelu,
    "Recurrent": recurrent.recurrent,
    "Resample": shaping.resample,
    "Reshape": shaping.reshape,
    "Scale": shaping.scale,
    "Select": shaping.select,
    "Softmax": norms.softmax,
    "Upsample": shaping.upsample,
}
"""The emitter of each operation, by the name of its class."""
