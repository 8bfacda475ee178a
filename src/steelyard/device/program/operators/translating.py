"""The programs of files that list their operators, one operator after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from steelyard.core.graph import names_of_inputs
from steelyard.device.program.building import Building
from steelyard.device.program.operators import onnx, tflite
from steelyard.device.program.operators.constants import ONNX, computed
from steelyard.device.program.operators.tensors import Call, Data, Unknown
from steelyard.device.program.program import Program, needed
from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.computation import Computation
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.device.program.operators.tensors import Maker, Tensor

_MAKERS: dict[str, Mapping[str, Maker]] = {"ONNX": onnx.MAKERS, "TFLite": tflite.MAKERS}
_FUNCTIONS = {"ONNX": ONNX, "TFLite": tflite.FUNCTIONS}


def translated(computation: Computation, weights: Weights, shapes: Sequence[tuple[int, ...]]) -> Program:
    """Return the program of the operators of a file for inputs of these shapes, without the examples.

    Constants are those of `weights`, where these have them, else those of the file. Raises `ShapeError` for an operator that
    is not known, by its name.
    """
    building = Building(shapes, "first" if computation.language == "ONNX" else "last", {})
    tensors: dict[str, Tensor] = {name: Data(place) for place, name in enumerate(computation.inputs)}
    uses = Counter(name for operator in computation.operators for name in operator.inputs)
    uses.update(computation.outputs)
    sizes = frozenset(shape[0] for shape in computation.inputs.values() if shape and shape[0] is not None)
    held = _Constants(computation, weights)
    for operator in computation.operators:
        if operator.word == "Constant":
            continue
        given = [tensors[name] if name in tensors else held.read(name) for name in operator.inputs]
        if operator.word == "ConstantOfShape":  # its value is an attribute
            given.append(held.read(f"{operator.name}.value"))
        call = Call(operator, given, building, computation.version, uses, sizes)
        made = _made(call, computation.language)
        listed = made if isinstance(made, list) else [made]
        tensors.update((name, each) for name, each in zip(operator.outputs, listed, strict=False) if name)
        for name in operator.outputs[len(listed) :]:
            tensors[name] = Unknown(f"takes an output of {quoted(operator.name)} that is not known")
    names = names_of_inputs(computation.inputs, (step.name for step in building.steps))
    outputs = [_output(name, tensors, building) for name in computation.outputs]
    return needed(Program(names, shapes, building.steps, outputs))


class _Constants:
    """The constants of a file, each read once."""

    __slots__ = ("_computation", "_read", "_weights")

    def __init__(self, computation: Computation, weights: Weights) -> None:
        self._computation = computation
        self._weights = weights
        self._read: dict[str, Array] = {}

    def read(self, name: str) -> Array | None:
        """Return a constant; None for a name that the file does not have."""
        weight = self._computation.constants.get(name)
        if weight is None:
            return None
        if name not in self._read:
            own = self._weights.get(weight.name, weight)
            self._read[name] = _floating(own.numpy())
        return self._read[name]


def _floating(values: Array) -> Array:
    """Return short floats, also those that NumPy lacks, as float32."""
    is_short = values.dtype.itemsize < 4 and values.dtype.kind not in "biu"
    return values.astype("float32") if is_short else values


def _made(call: Call, language: str) -> Tensor | list[Tensor]:
    word = call.operator.word
    if call.setting("quantised"):
        call.refuse("computes with quantised numbers, which is not known")
    if word.upper() == "SHAPE" and any(isinstance(each, Data) for each in call.given):
        return onnx.shape(call)
    if not any(isinstance(each, Data) for each in call.given):
        unknown = next((each for each in call.given if isinstance(each, Unknown)), None)
        return computed(call, _FUNCTIONS[language]) if unknown is None else unknown
    maker = _MAKERS[language].get(word)
    if maker is None:
        call.refuse("is not known")
    return maker(call)


def _output(name: str, tensors: Mapping[str, Tensor], building: Building) -> int:
    found = tensors.get(name)
    if not isinstance(found, Data):
        why = found.why if isinstance(found, Unknown) else "does not depend on its inputs"
        raise ShapeError(f"the output {quoted(name)} {why}")
    if found.batch:
        raise ShapeError(f"the output {quoted(name)} has the examples as axis {found.batch}, where they must be the first")
    return found.place
