"""Operations that move numbers or combine those of several inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Array
    from steelyard.device.program.arithmetic import Arithmetic


class Reshape(NamedTuple):
    """The same numbers, row by row, in another shape of an example."""

    shape: tuple[int, ...]

    def run(self, inputs: Sequence[Array], _: Arithmetic) -> Array:
        """Return the numbers in the shape."""
        return inputs[0].reshape(len(inputs[0]), *self.shape)


class Constant(NamedTuple):
    """Numbers that do not depend on the inputs: the same `values` for each example."""

    values: Array

    def run(self, _: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the numbers of one example, which serve all."""
        return arithmetic.cast(self.values)[None]


class Permute(NamedTuple):
    """The axes of an example in another order, counted from 1."""

    axes: tuple[int, ...]

    def run(self, inputs: Sequence[Array], _: Arithmetic) -> Array:
        """Return the numbers in the order."""
        return inputs[0].transpose(0, *self.axes)


class Select(NamedTuple):
    """A place, or a range with a step, along each axis of an example; an axis of which one place is taken is dropped."""

    parts: tuple[int | slice, ...]

    def run(self, inputs: Sequence[Array], _: Arithmetic) -> Array:
        """Return the numbers selected."""
        return inputs[0][(slice(None), *self.parts)]


class Concatenate(NamedTuple):
    """The inputs after one another along an axis of an example, counted from 1."""

    axis: int

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the inputs joined in their order."""
        import numpy as np

        return np.concatenate([arithmetic.cast(each) for each in inputs], self.axis)


class Combine(NamedTuple):
    """The inputs combined number by number, in their order: "add", "subtract", "multiply", "divide", "maximum" ...

    Axes of length 1 are repeated. "average" divides the sum by the number of inputs.
    """

    word: str

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the combined numbers."""
        import numpy as np

        function = getattr(np, "add" if self.word == "average" else self.word)
        first, *others = map(arithmetic.cast, inputs)
        for other in others:
            first = function(first, other)
        return arithmetic.cast(first / np.asarray(len(inputs), first.dtype)) if self.word == "average" else first


class Scale(NamedTuple):
    """Each number combined with one value, which comes second, by a word of `Combine`."""

    word: str
    value: float

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the changed numbers."""
        import numpy as np

        made: Array = getattr(np, self.word)(arithmetic.cast(inputs[0]), np.asarray(self.value, arithmetic.numbers))
        return made
