"""A program while it is made: its steps so far, their shapes, and what had to be assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from steelyard.device.program.activations import CURVES, Activation, known_settings
from steelyard.device.program.arithmetic import Arithmetic
from steelyard.device.program.norms import Softmax
from steelyard.device.program.program import Operation, Step
from steelyard.device.program.shaping import Constant
from steelyard.errors import ShapeError, printable, quoted

if TYPE_CHECKING:
    from steelyard.core.axes import Part
    from steelyard.core.graph import Layer, Setting
    from steelyard.core.weight import Array
    from steelyard.transfers.layers.layer_weights import LayerWeights
    from steelyard.transfers.layers.norms import ComputedPart

_WITHOUT_EFFECT = ("weights", "momentum", "depthwise", "fast_variance", "weight_norm", "spectral_norm", "rate", "wraps")
"""Settings that change no output, or whose effect is in the arrays."""
_NAMES = {"exp": "exponential", "swish": "silu", "identity": "linear"}


class Building:
    """The steps of a program so far. `assumptions` are sentences about what the graph does not show; a run must prove them.

    `ran` has the outputs of layers on the probe, from which those of layers without inputs are taken. `causal` is whether
    attention is assumed to be masked.
    """

    __slots__ = ("_arrays", "_ran", "assumptions", "causal", "channels", "shapes", "steps")

    def __init__(
        self, input_shapes: Sequence[tuple[int, ...]], channels: str, ran: Mapping[str, Array], *, causal: bool = False
    ) -> None:
        self._ran = ran
        self.shapes = list(input_shapes)
        self.channels = channels
        self.steps: list[Step] = []
        self.assumptions: list[str] = []
        self.causal = causal
        self._arrays: dict[object, list[Array]] = {}

    def add(self, layer: Layer, operation: Operation, *inputs: int) -> int:
        """Add a step, and return the number of its output, whose shape follows from a run on no examples."""
        import numpy as np

        given = [np.zeros((0, *self.shapes[place]), "float32") for place in inputs]
        try:
            made = operation.run(given, Arithmetic())
        except (ValueError, IndexError) as error:
            shapes = ", ".join(str(self.shapes[place]) for place in inputs)
            refuse(layer, f"does not take inputs of shape {shapes} ({error})")
        if min(made.shape[1:], default=1) < 1:
            refuse(layer, f"has an output of shape {made.shape[1:]}, which has no numbers")
        self.steps.append(Step(layer.name, operation, inputs, made.shape[1:]))
        self.shapes.append(made.shape[1:])
        return len(self.shapes) - 1

    def constant(self, layer: Layer) -> int:
        """Add the output of a layer into which nothing flows, as it was on the probe."""
        values = self._ran.get(layer.name)
        if values is None:
            refuse(layer, "takes no input, and its output is not known")
        values = _narrowed(values)
        if values.dtype.kind != "f":
            refuse(layer, f"has numbers of {values.dtype}, which are not known")
        self.assumptions.append(f"{quoted(layer.name)}: its output does not depend on the inputs")
        # numbers for all examples have one example, or lack its axis
        return self.add(layer, Constant(values[0] if values.ndim > 1 and values.shape[0] == 1 else values))

    def has_run(self, layer: Layer) -> bool:
        """Whether the output of a layer on the probe is known."""
        return layer.name in self._ran

    def is_constant(self, value: int) -> bool:
        """Whether a value is a constant."""
        step = value - (len(self.shapes) - len(self.steps))
        return step >= 0 and isinstance(self.steps[step].operation, Constant)

    def known(self, value: int) -> Array | None:
        """Return the numbers of a constant as the net has them; None for another value."""
        step = self.steps[value - len(self.shapes) + len(self.steps)] if self.is_constant(value) else None
        return None if step is None or step.name not in self._ran else _narrowed(self._ran[step.name])

    def activate(self, layer: Layer, value: int) -> int:
        """Add the activation that is a setting of a layer."""
        word, settings = str(layer.settings.get("activation") or "linear"), layer.settings
        word = _NAMES.get(word, word)
        if word in ("softmax", "log_softmax"):
            return self.add(layer, Softmax(word, self.axis(layer, settings.get("axis", -1), value)), value)
        if word == "relu" and "highest" in settings:
            word = "clipped_relu"
        if word not in CURVES:
            refuse(layer, f"has the activation {quoted(word)}, which is not known")
        known = known_settings(word, settings)
        return value if word == "linear" else self.add(layer, Activation(word, known), value)

    def axis(self, layer: Layer, given: object, value: int) -> int:
        """Return an axis of a value, counted with the batch, which it must not be."""
        count = len(self.shapes[value]) + 1
        if not isinstance(given, int) or not -count <= given < count or not given % count:
            refuse(layer, f"works along axis {printable(given)} of {count}, with the examples first")
        return given % count

    def array(self, part: Part | ComputedPart) -> Array:
        """Return the numbers of a part in a float type of NumPy; the same array for tied weights."""
        names = tuple(weight.tied or weight.name for weight in part.weights)
        read = {weight.name: weight.numpy() for weight in part.weights}
        values = part.values(read.__getitem__)
        return self.shared(values, names)

    def shared(self, values: Array, names: tuple[str, ...] = ()) -> Array:
        """Return numbers row by row, in a float of at least 32 bits; the same array for equal ones, of weights of these names."""
        import numpy as np

        made = np.ascontiguousarray(values.astype("float32" if values.dtype.itemsize < 4 else values.dtype))
        held = self._arrays.setdefault((names, made.shape, made.dtype.str), [])
        same = next((each for each in held if np.array_equal(each, made, equal_nan=made.dtype.kind == "f")), None)
        if same is None:
            held.append(made)
        return made if same is None else same


def _narrowed(values: Array) -> Array:
    """Return numbers in float32 where that can hold them, as short floats, flags and numbers of places."""
    short: Array = values.astype("float32")
    return short if values.dtype.itemsize < 4 or (short == values).all() else values


class Node(NamedTuple):
    """A layer of the graph with its `weights`, the numbers of its `inputs`, and the program that is made.

    `given` has the weights of a function, by purpose.
    """

    layer: Layer
    weights: Sequence[LayerWeights]
    inputs: tuple[int, ...]
    building: Building
    given: Mapping[str, Array] = MappingProxyType({})

    @property
    def input(self) -> int:
        """The number of its only input."""
        if len(self.inputs) != 1:
            refuse(self.layer, f"has {len(self.inputs)} inputs, where one is known")
        return self.inputs[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its only input."""
        return self.building.shapes[self.input]

    @property
    def rank(self) -> int:
        """The number of spatial axes of its input."""
        return len(self.shape) - 1

    def array(self, purpose: str, gate: str = "", of: int = 0) -> Array | None:
        """Return the numbers of a part of one of its weights, None if it has none."""
        if purpose in self.given:
            return self.building.shared(self.given[purpose])
        held = self.weights[of] if of < len(self.weights) else None
        part = held and (held.parts.get((purpose, gate)) or held.computed.get((purpose, gate)))
        return self.building.array(part) if part else None

    def needed(self, purpose: str, gate: str = "", of: int = 0) -> Array:
        """Return the numbers of a part that it must have."""
        made = self.array(purpose, gate, of)
        if made is None:
            refuse(self.layer, f"has no {purpose}{f' {gate}' if gate else ''} that is known")
        if made.dtype.kind != "f":
            refuse(self.layer, f"has a {purpose} of {made.dtype}, which is quantised; this is not known yet")
        return made

    def fits(self, wanted: int, given: int, what: str) -> None:
        """Refuse a layer whose weights are for another number of what it is given."""
        if wanted != given:
            refuse(self.layer, f"has weights for {wanted} {what}, and is given {given}")

    def add(self, operation: Operation, *inputs: int) -> int:
        """Add a step to the program."""
        return self.building.add(self.layer, operation, *inputs)

    def assume(self, what: str) -> None:
        """Note what the graph does not show."""
        self.building.assumptions.append(f"{quoted(self.layer.name)} ({printable(self.layer.class_name)}): {what}")

    def only(self, *words: str) -> None:
        """Refuse a layer with other settings than these, since their effect is not known."""
        foreign = [word for word in self.layer.settings if word not in (*words, *_WITHOUT_EFFECT)]
        if foreign:
            refuse(self.layer, f"has {foreign[0]}={printable(self.layer.settings[foreign[0]])}, which is not known")

    def has(self, *purposes: str) -> None:
        """Refuse a layer with other weights than these."""
        foreign = [purpose for held in self.weights for purpose in held.shapes if purpose not in purposes]
        if foreign:
            refuse(self.layer, f"has weights of which the use is not known ({printable(foreign[0])})")


def refuse(layer: Layer, why: str) -> NoReturn:
    """Raise `ShapeError` for a layer, by its name."""
    raise ShapeError(f"{quoted(layer.name)} ({printable(layer.class_name) or layer.kind}) {why}")


def integers(layer: Layer, value: Setting, count: int, usual: int | None = None) -> tuple[int, ...]:
    """Return a setting as an integer for each of some axes."""
    if value is None and usual is not None:
        value = usual
    each = tuple(value) if isinstance(value, (tuple, list)) else (value,) * count
    if len(each) != count or not all(isinstance(number, int) for number in each):
        refuse(layer, f"has a setting {printable(value)}, where {count} integers are known")
    return each  # type: ignore[return-value]
