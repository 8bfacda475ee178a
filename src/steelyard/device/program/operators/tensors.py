"""The tensors of a file while its program is made, and the call of an operator on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias

from steelyard.core.graph import Layer
from steelyard.device.program.building import Building, refuse
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.core.computation import Operator
    from steelyard.core.graph import Setting
    from steelyard.core.weight import Array
    from steelyard.device.program.program import Operation

    Tensor: TypeAlias = "Data | Array | Unknown | None"
    """What flows into the net or is computed from it, a constant, a tensor that cannot be known, or an input that is left out."""
    Maker: TypeAlias = Callable[["Call"], "Tensor | list[Tensor]"]

BATCH = -(1 << 40)
"""The number of examples among lengths that are known while the program is made."""


class Data(NamedTuple):
    """A value of the program: its number, and the axis of the tensor that has the examples, which the program has first."""

    place: int
    batch: int = 0


class Unknown(NamedTuple):
    """A tensor that no program computes; the layer that takes it is refused for this reason."""

    why: str


class Call(NamedTuple):
    """An operator, the tensors that are `given` to it, and the program that is made.

    `uses` has the number of operators and outputs that take each tensor, `sizes` the fixed numbers of examples of the inputs.
    """

    operator: Operator
    given: Sequence[Tensor]
    building: Building
    version: int
    uses: Mapping[str, int]
    sizes: frozenset[int]

    @property
    def layer(self) -> Layer:
        """The operator as a layer, by whose name it is refused."""
        return Layer(self.operator.name, "other", self.operator.word)

    def refuse(self, why: str) -> NoReturn:
        """Raise `ShapeError` for the operator, by its name."""
        refuse(self.layer, why)

    def setting(self, name: str, usual: Setting = None) -> Setting:
        """Return an attribute."""
        return self.operator.attributes.get(name, usual)

    def integer(self, name: str, usual: int) -> int:
        """Return an attribute that is an integer or a flag."""
        value = self.setting(name, usual)
        if not isinstance(value, int):
            self.refuse(f"has {printable(name)}={printable(value)}, where an integer is known")
        return value

    def real(self, name: str, usual: float) -> float:
        """Return an attribute that is a number."""
        value = self.setting(name, usual)
        if not isinstance(value, (int, float)):
            self.refuse(f"has {printable(name)}={printable(value)}, where a number is known")
        return float(value)

    def integers(self, name: str, usual: Sequence[int] | None = None) -> tuple[int, ...] | None:
        """Return an attribute that is a list of integers."""
        value = self.setting(name)
        if value is None or value == "":
            return None if usual is None else tuple(usual)
        if not isinstance(value, tuple) or not all(isinstance(each, int) for each in value):
            self.refuse(f"has {printable(name)}={printable(value)}, where integers are known")
        return tuple(each for each in value if isinstance(each, int))

    def only(self, **usual: Setting) -> None:
        """Refuse the operator if one of these attributes has another value."""
        for name, value in usual.items():
            if (given := self.setting(name, value)) != value:
                self.refuse(f"has {printable(name)}={printable(given)}, which is not known")

    def has(self, place: int) -> bool:
        """Whether an input is given."""
        return place < len(self.given) and self.given[place] is not None

    def data(self, place: int = 0) -> Data:
        """Return an input that depends on the net's inputs."""
        found = self.given[place] if self.has(place) else None
        if isinstance(found, Unknown):
            self.refuse(found.why)
        if not isinstance(found, Data):
            self.refuse(f"has an input {place} that does not depend on the net's inputs, which is not known")
        return found

    def is_known(self, place: int) -> bool:
        """Whether an input is a constant."""
        return self.has(place) and not isinstance(self.given[place], (Data, Unknown))

    def known(self, place: int) -> Array:
        """Return an input that is a constant."""
        found = self.given[place] if self.has(place) else None
        if isinstance(found, Unknown):
            self.refuse(found.why)
        if found is None or isinstance(found, Data):
            self.refuse(f"has an input {place} that is computed, where a constant is known")
        return found

    def weight(self, place: int) -> Array:
        """Return a constant of floats."""
        found = self.known(place)
        if found.dtype.kind != "f":
            self.refuse(f"has weights of {found.dtype}, which are not known")
        return self.building.shared(found)

    def lengths(self, place: int) -> tuple[int, ...]:
        """Return a constant of integers; `BATCH` stands for the number of examples."""
        found = self.known(place)
        if found.dtype.kind not in "iu":
            self.refuse(f"has an input {place} of {found.dtype}, where integers are known")
        return tuple(int(each) for each in found.reshape(-1))

    def shape(self, data: Data) -> tuple[int, ...]:
        """Return the shape of a tensor; the number of examples is `BATCH`."""
        held = self.building.shapes[data.place]
        return (*held[: data.batch], BATCH, *held[data.batch :])

    def axis(self, given: int, data: Data) -> int:
        """Return an axis of a tensor, which must exist, counted from 0."""
        count = len(self.building.shapes[data.place]) + 1
        if not -count <= given < count:
            self.refuse(f"works along axis {given} of {count}")
        return given % count

    def own_axis(self, given: int, data: Data) -> int:
        """Return an axis of a tensor as a program counts it, from 1 for the first of an example; it must not be the examples'."""
        axis = self.axis(given, data)
        if axis == data.batch:
            self.refuse("works along the axis of the examples")
        return axis + 1 if axis < data.batch else axis

    def add(self, operation: Operation, *inputs: int) -> int:
        """Add a step to the program, and return the number of its value."""
        return self.building.add(self.layer, operation, *inputs)

    def is_image(self, data: Data) -> None:
        """Refuse the operator if the examples are not the first axis."""
        if data.batch:
            self.refuse(f"takes the examples as axis {data.batch}, where they must be the first")

    def used_once(self, place: int) -> bool:
        """Whether only this operator takes an input."""
        return self.uses.get(self.operator.inputs[place], 0) == 1


def count(shape: Sequence[int]) -> int:
    """Return the number of elements of an example."""
    return prod(length for length in shape if length != BATCH)
