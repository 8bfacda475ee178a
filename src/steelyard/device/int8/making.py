"""Quantised programs of float programs, by what calibration found of their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from steelyard.device.int8 import operations as ints
from steelyard.device.int8.calibrating import CALIBRATIONS, calibrated
from steelyard.device.int8.kernels import summed
from steelyard.device.int8.program import IntegerOperation, IntegerStep, QuantizedProgram
from steelyard.device.int8.requantizing import HIGHEST, LOWEST, ROUNDINGS, Quantization, multipliers, nearest
from steelyard.device.program.activations import Activation
from steelyard.device.program.folding import folded
from steelyard.device.program.linear import Affine, Conv, ConvTranspose, Dense, Embedding, Prelu
from steelyard.device.program.norms import Softmax
from steelyard.device.program.shaping import Combine, Concatenate, Constant, Permute, Reshape, Scale, Select
from steelyard.device.program.windows import GlobalPool, Pad, Pool, Upsample
from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.program.program import Operation, Program, Step

UNIT = Quantization(1 / 256, -128)
"""The quantisation of shares and of a sigmoid, as TFLite has it."""
_FIXED = {"sigmoid": UNIT, "tanh": Quantization(1 / 128, 0)}
_MOVING = (Reshape, Permute, Select, Upsample, Pad)
_SAME = (*_MOVING, Pool, GlobalPool)
"""Operations whose output has the quantisation of their input."""
_MOST_ADDED = 8
"""inputs of a sum, which then stays below 2^31"""


class Site(NamedTuple):
    """A step of the float program with the quantisations of its inputs and its output, and the range of its codes."""

    step: Step
    inputs: tuple[Quantization, ...]
    output: Quantization
    ends: tuple[int, int]
    bits: int
    rounding: str

    def requantization(self, factors: object, largest: int = 0) -> ints.Requantization:
        """Return the requantisation to the output by factors from its sums, of which none is above the `largest`."""
        by = multipliers(factors)  # type: ignore[arg-type]
        if largest << max(int(by.shifts.max()), 0) >= 1 << 31:
            self.refuse("has an output whose range is far smaller than those of its inputs; calibrate with other data")
        return ints.Requantization(by, self.output.zero_point, *self.ends)

    def refuse(self, why: str) -> NoReturn:
        """Raise `ShapeError` for the step, by the name of its layer."""
        raise ShapeError(f"{quoted(self.step.name)} ({type(self.step.operation).__name__}) {why}")


def quantized(
    program: Program, data: Sequence[Array], *, rounding: str, calibrate: str = "minmax", bits: int = 8, symmetric: bool = False
) -> QuantizedProgram:
    """Return a program on codes of 8 bits, calibrated by the numbers that a float program has on examples of its inputs.

    `rounding` is "single" or "double", as `requantizing` describes; which one a device has depends on its kernels, so there is
    no usual one. `calibrate` is "minmax", "percentile" or "mse". Kernels have a scale for each output and no zero point, of
    `bits` 8 or 4, tables one scale; with `symmetric` activations have no zero point either. Batch norms are folded first.
    Raises `ShapeError` for a layer that has no integer form, and for one whose sums may leave 32 bits, by its name.

    Examples:
        >>> import numpy as np
        >>> from sklearn.linear_model import LinearRegression
        >>> from steelyard.device.program import program_of
        >>> x = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 5.0]], "float32")
        >>> made = quantized(program_of(LinearRegression().fit(x, [1.0, 2.0, 7.0])), [x], rounding="single")
        >>> made.predict(x).round(1).ravel().tolist()
        [1.0, 2.0, 7.0]
    """
    if rounding not in ROUNDINGS:
        raise ShapeError('int8 needs rounding="single" or rounding="double": kernels for devices have the one or the other')
    if calibrate not in CALIBRATIONS or bits not in (4, 8):
        raise ShapeError(f"calibrate is one of {', '.join(CALIBRATIONS)}, bits is 4 or 8")
    program = folded(program)
    making = _Making(program, calibrated(program, data, calibrate, symmetric=symmetric), rounding, bits)
    for place, step in enumerate(program.steps, start=len(program.input_names)):
        making.add(place, step)
    whole = making.whole
    known = [None if place in whole else making.known[place] for place in range(len(program.input_names))]
    outputs = [making.places[place] for place in program.outputs]
    return QuantizedProgram(
        program.input_names, program.input_shapes, known, making.steps, outputs, rounding, tuple(making.origins)
    )


class _Making:
    """The steps so far; `places` has the value of the quantised program for each of the float program."""

    __slots__ = ("_fused", "_rounding", "bits", "known", "origins", "places", "program", "steps", "whole")

    def __init__(self, program: Program, known: list[Quantization], rounding: str, bits: int) -> None:
        self.program = program
        self.known = known
        self.bits = bits
        self._rounding = rounding
        count = len(program.input_names)
        self.places = {place: place for place in range(count)}
        self.origins = [*range(count)]
        self.steps: list[IntegerStep] = []
        self._fused = _fusions(program)
        self.whole = {step.inputs[0] for step in program.steps if isinstance(step.operation, Embedding)}

    def _settle(self, place: int, step: Step) -> None:
        """Give a value the quantisation that its operation demands, if it demands one."""
        operation = step.operation
        if isinstance(operation, _SAME):
            self.known[place] = self.known[step.inputs[0]]
        elif isinstance(operation, Softmax):
            self.known[place] = UNIT
        elif isinstance(operation, Embedding):
            self.known[place] = _of_table(operation)
        elif isinstance(operation, Activation) and operation.word in _FIXED:
            self.known[place] = _FIXED[operation.word]

    def add(self, place: int, step: Step) -> None:
        """Add a step, unless it is an activation that is the range of the step before."""
        if place in self._fused.values():
            self.places[place] = self.places[step.inputs[0]]
            return
        self._settle(place, step)
        end = self._fused.get(place, place)
        output, ends = self.known[end], (LOWEST, HIGHEST)
        if end != place:
            ends = _codes(self.program.steps[end - len(self.program.input_names)].operation, output)
        site = Site(step, tuple(self.known[each] for each in step.inputs), output, ends, self.bits, self._rounding)
        if any(each in self.whole for each in step.inputs) and not isinstance(step.operation, Embedding):
            site.refuse("takes the whole numbers that select the rows of a table, which is not known in int8")
        operation = _made(site)
        self.places[place] = len(self.origins)
        self.origins.append(end)
        self.steps.append(IntegerStep(step.name, operation, tuple(self.places[each] for each in step.inputs), step.shape, output))


def _fusions(program: Program) -> dict[int, int]:
    """Return the activations that are but a range of codes, by the steps that alone feed them."""
    first = len(program.input_names)
    used = [place for step in program.steps for place in step.inputs] + list(program.outputs)
    found = {}
    for place, step in enumerate(program.steps, start=first):
        before = step.inputs[0] if step.inputs else -1
        if before < first or not isinstance(step.operation, Activation) or used.count(before) > 1:
            continue
        sums = isinstance(program.steps[before - first].operation, (Dense, Conv, ConvTranspose, Affine))
        adds = getattr(program.steps[before - first].operation, "word", "") in ("add", "subtract", "average", "multiply")
        if (sums or adds) and range_of_activation(step.operation) is not None:
            found[before] = place
    return found


def range_of_activation(activation: Activation) -> tuple[float, float] | None:
    """Return the ends of an activation that only cuts numbers off; None for another one."""
    ends = {
        "relu": (0.0, math.inf),
        "relu6": (0.0, 6.0),
        "clipped_relu": (0.0, activation.settings.get("highest", math.inf)),
        "hard_tanh": (activation.settings.get("lowest", -1.0), activation.settings.get("highest", 1.0)),
    }
    return ends.get(activation.word)


def codes_of_range(ends: tuple[float, float], output: Quantization) -> tuple[int, int]:
    """Return the least and the greatest code of numbers between two ends."""
    import numpy as np

    low, high = (output.codes(np.array([end])).item() for end in ends)
    return low, high


def _codes(operation: Operation, output: Quantization) -> tuple[int, int]:
    ends = range_of_activation(operation) if isinstance(operation, Activation) else None
    return (LOWEST, HIGHEST) if ends is None else codes_of_range(ends, output)


def _made(site: Site) -> IntegerOperation:
    maker = _MAKERS.get(type(site.step.operation))
    if maker is None:
        site.refuse("has no form in integers yet; export the net in float32")
    return maker(site)


def _sums(site: Site) -> IntegerOperation:
    return summed(site)


def _rows(site: Site) -> IntegerOperation:
    import numpy as np

    assert isinstance(site.step.operation, Embedding)
    return ints.Rows(site.output.codes(np.asarray(site.step.operation.table, np.float32)))


def _of_table(operation: Embedding) -> Quantization:
    """Return the one scale of a table."""
    import numpy as np

    largest = float(np.abs(operation.table).max(initial=0))
    return Quantization(float(np.float32(largest / HIGHEST or 2.0**-7)), 0)


def _pooled(site: Site) -> IntegerOperation:
    operation = site.step.operation
    assert isinstance(operation, (Pool, GlobalPool))
    counts = isinstance(operation, Pool) and operation.word == "average" and operation.count_padding
    around = isinstance(operation, Pool) and any(map(any, operation.padding))
    return ints.Pooling(operation, site.inputs[0].zero_point if counts and around else 0)


def _moved(site: Site) -> IntegerOperation:
    import numpy as np

    operation = site.step.operation
    if isinstance(operation, Pad):
        known = site.inputs[0]
        code = known.codes(np.array([operation.value]))
        if abs(float(known.numbers(code)[0]) - operation.value) > known.scale:
            site.refuse(f"pads with {operation.value:g}, which is outside of the range of its input")
        return ints.Moves(operation._replace(value=float(code[0])))
    assert isinstance(operation, (Reshape, Permute, Select, Upsample))
    return ints.Moves(operation)


def _fixed(site: Site) -> IntegerOperation:
    assert isinstance(site.step.operation, Constant)
    return ints.Fixed(site.output.codes(site.step.operation.values))


def _combined(site: Site) -> IntegerOperation:
    assert isinstance(site.step.operation, Combine)
    word = site.step.operation.word
    if word in ("add", "subtract", "average"):
        return added(site, word)
    if word == "multiply" and len(site.inputs) == 2:
        first, second = site.inputs
        factor = float(first.scale) * float(second.scale) / float(site.output.scale)
        return ints.Multiplied((first.zero_point, second.zero_point), site.requantization(factor, 1 << 16))
    if word not in ("maximum", "minimum"):
        site.refuse(f"combines {len(site.inputs)} inputs by {word!r}, which has no form in integers yet")
    return joined(site, word, 0)


def added(site: Site, word: str) -> ints.Added:
    """Return a sum, a difference or an average as TFLite's ADD and SUB have it: all inputs at twice the largest scale."""
    count = len(site.inputs)
    if count > _MOST_ADDED:
        site.refuse(f"adds {count} inputs, where {_MOST_ADDED} at most stay inside 32 bits")
    twice = 2 * max(float(each.scale) for each in site.inputs)
    factors = [float(each.scale) / twice for each in site.inputs]
    out = twice / ((1 << ints.SUM_SHIFT) * float(site.output.scale)) / (count if word == "average" else 1)
    negative = tuple(place > 0 and word == "subtract" for place in range(count))
    zeros = tuple(each.zero_point for each in site.inputs)
    return ints.Added(zeros, multipliers(factors), negative, site.requantization(out, 1 << 30))  # type: ignore[arg-type]


def joined(site: Site, word: str, axis: int) -> ints.Joined:
    """Return inputs that are brought to the scale of the output."""
    rescaled = []
    for each in site.inputs:
        factor = float(each.scale) / float(site.output.scale)
        same = each == site.output
        rescaled.append(None if same else (each.zero_point, site.requantization(factor, 255)))
    return ints.Joined(word, axis, tuple(rescaled))


def _concatenated(site: Site) -> IntegerOperation:
    assert isinstance(site.step.operation, Concatenate)
    return joined(site, "concatenate", site.step.operation.axis)


def looked_up(site: Site) -> IntegerOperation:
    """Return a function of one number as the codes of all that it may have."""
    import numpy as np

    operation, known = site.step.operation, site.inputs[0]
    numbers = known.numbers(np.arange(LOWEST, HIGHEST + 1)).astype(np.float64)
    if isinstance(operation, Prelu):
        columns = np.broadcast_to(numbers[:, None], (len(numbers), len(operation.slope)))
        made = operation._replace(axis=1).run([columns], ints.EXACT)
        return ints.Lookup(np.ascontiguousarray(site.output.codes(made).T), operation.axis)
    return ints.Lookup(site.output.codes(operation.run([numbers[:, None]], ints.EXACT)[:, 0]))


def shared(site: Site) -> IntegerOperation:
    """Return a softmax by the powers of all differences of two codes."""
    import numpy as np

    operation = site.step.operation
    assert isinstance(operation, Softmax)
    if operation.word != "softmax":
        site.refuse("gives logarithms of shares, which have no form in integers yet; export the net without it")
    powers = np.exp(-np.arange(256) * float(site.inputs[0].scale))
    return ints.Shares(nearest(powers * (1 << 20)).astype(np.int32), operation.axis)


_MAKERS: dict[type, Callable[[Site], IntegerOperation]] = {
    **dict.fromkeys((Dense, Conv, ConvTranspose, Affine), _sums),
    **dict.fromkeys((Pool, GlobalPool), _pooled),
    **dict.fromkeys(_MOVING, _moved),
    **dict.fromkeys((Activation, Scale, Prelu), looked_up),
    Embedding: _rows,
    Constant: _fixed,
    Combine: _combined,
    Concatenate: _concatenated,
    Softmax: shared,
}
