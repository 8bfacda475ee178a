"""An int8 model of TensorFlow Lite as a quantised program: its own scales, zero points and integers.

The factors between scales are computed as TFLite's kernels do: in double for kernels with a scale for each channel, and from
products of floats for those with one scale and for MUL. Fields that are read besides those of `formats.tflite`:

    Conv2D, DepthwiseConv2D   4 padding, 6 stride_w, 8 stride_h; then 10 activation, 12 dilation_w, 14 dilation_h; or
                              10 multiplier, 12 activation, 14 dilation_w, 16 dilation_h
    Pool2D                    4 padding, 6 stride_w, 8 stride_h, 10 filter_w, 12 filter_h, 14 activation
    FullyConnected            4 activation, 8 keep_num_dims
    Add, Sub, Mul             4 activation
    Concatenation             4 axis, 6 activation
    Reducer                   4 keep_dims
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from steelyard.codecs.flatbuffers import Table, root
from steelyard.device.int8 import operations as ints
from steelyard.device.int8.making import Site, added, codes_of_range, joined, looked_up, shared
from steelyard.device.int8.program import IntegerOperation, IntegerStep, QuantizedProgram
from steelyard.device.int8.requantizing import HIGHEST, LOWEST, ROUNDINGS, Multipliers, Quantization, clipped, multipliers, scaled
from steelyard.device.program.activations import Activation, known_settings
from steelyard.device.program.linear import Conv, Dense
from steelyard.device.program.norms import Softmax
from steelyard.device.program.program import Operation, Step
from steelyard.device.program.shaping import Combine, Concatenate, Reshape
from steelyard.device.program.windows import GlobalPool, Pad, Pool
from steelyard.errors import ShapeError, quoted
from steelyard.storage.source import Source, open_path

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_INT32, _INT8 = 2, 9
_NUMPY = {0: "float32", _INT32: "int32", 4: "int64", _INT8: "int8"}
_RANGES = {1: (0.0, math.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
"""The ends of fused activations by their numbers."""
_WORDS = {14: "sigmoid", 28: "tanh", 111: "elu", 117: "hard_silu", 150: "gelu"}
_QUANTIZE, _DEQUANTIZE = 114, 6
_OF_SHAPES = (45, 77, 83)
"""The operators STRIDED_SLICE, SHAPE and PACK."""


class _Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]
    kind: int
    buffer: int
    scales: tuple[float, ...]
    zeros: tuple[int, ...]

    @property
    def quantization(self) -> Quantization:
        if len(self.scales) != 1 or self.kind != _INT8:
            raise ShapeError(f"{quoted(self.name)} has no codes of 8 bits with one scale; only those are known")
        return Quantization(self.scales[0], self.zeros[0] if self.zeros else 0)


class _Reading:
    """A model while its operators become steps; `places` has the value of each tensor."""

    __slots__ = ("_buffers", "_source", "places", "rounding", "steps", "tensors", "whole")

    def __init__(self, source: Source, rounding: str) -> None:
        model = root(source)
        self._source, self._buffers = source, list(model.tables(12))
        self.rounding = rounding
        graphs = list(model.tables(8))
        if len(graphs) != 1:
            raise ShapeError(f"the model has {len(graphs)} subgraphs, where one is known")
        self.tensors = [_tensor(each) for each in graphs[0].tables(4)]
        self.places: dict[int, int] = {}
        self.steps: list[IntegerStep] = []
        self.whole = 0

    def constant(self, index: int) -> Array | None:
        """Return the numbers of a constant tensor; None for a computed one, or none at all."""
        import numpy as np

        if not 0 <= index < len(self.tensors):
            return None
        tensor = self.tensors[index]
        begin, count = self._buffers[tensor.buffer].vector(4, 1) if tensor.buffer < len(self._buffers) else (0, 0)
        if not count or tensor.kind not in _NUMPY:
            return None
        return np.frombuffer(self._source.read(begin, count), _NUMPY[tensor.kind]).reshape(tensor.shape)

    def value(self, index: int) -> int:
        """Return the value of a tensor; a constant becomes a step."""
        if index not in self.places:
            values = self.constant(index)
            if values is None:
                raise ShapeError(f"{quoted(self.tensors[index].name)} is computed by an operator that is not known")
            tensor = self.tensors[index]
            codes = values[0] if values.ndim > 1 and len(values) == 1 else values
            self.put(index, ints.Fixed(codes), (), codes.shape, tensor.quantization)
        return self.places[index]

    def put(
        self, index: int, operation: IntegerOperation, inputs: tuple[int, ...], shape: tuple[int, ...], known: Quantization
    ) -> None:
        """Add the step that computes a tensor."""
        self.steps.append(IntegerStep(self.tensors[index].name, operation, inputs, shape, known))
        self.places[index] = self.whole + len(self.steps) - 1


class _Operator(NamedTuple):
    """An operator with its tensors and options."""

    reading: _Reading
    inputs: tuple[int, ...]
    output: int
    options: Table | None

    def tensor(self, nth: int) -> _Tensor:
        return self.reading.tensors[self.inputs[nth]]

    @property
    def made(self) -> _Tensor:
        return self.reading.tensors[self.output]

    def option(self, field: int, code: str = "i", default: int = 0) -> int:
        return self.options.number(field, code, default) if self.options else default

    def ends(self, fused: int) -> tuple[int, int]:
        """Return the range of codes of the activation in a field."""
        word = self.option(fused, "b")
        if word and word not in _RANGES:
            self.refuse(f"has the activation {word}, which is not a range")
        return codes_of_range(_RANGES[word], self.made.quantization) if word else (LOWEST, HIGHEST)

    def constant(self, nth: int, what: str) -> Array:
        values = self.reading.constant(self.inputs[nth]) if nth < len(self.inputs) else None
        if values is None:
            self.refuse(f"computes its {what}, which is not known")
        return values

    def site(self, operation: Operation, count: int, fused: int = 0) -> Site:
        """Return a site of the float operation for this operator."""
        known = tuple(self.tensor(nth).quantization for nth in range(count))
        ends = self.ends(fused) if fused else (LOWEST, HIGHEST)
        step = Step(self.made.name, operation, (), self.made.shape[1:])
        return Site(step, known, self.made.quantization, ends, 8, self.reading.rounding)

    def put(self, operation: IntegerOperation, count: int = 1) -> None:
        inputs = tuple(self.reading.value(index) for index in self.inputs[:count])
        self.reading.put(self.output, operation, inputs, self.made.shape[1:], self.made.quantization)

    def refuse(self, why: str) -> NoReturn:
        raise ShapeError(f"{quoted(self.made.name)} {why}")


def quantized_of_tflite(path: str | os.PathLike[str], *, rounding: str) -> QuantizedProgram:
    """Return an int8 model of TensorFlow Lite as a quantised program, which takes codes also where the file takes floats.

    `rounding` is "double" for the outputs of TFLite's reference and built-in kernels, "single" for those of XNNPACK.
    Raises `ShapeError` for an operator that is not known, by the name of its output, and for tensors that are not int8.
    """
    if rounding not in ROUNDINGS:
        raise ShapeError('int8 needs rounding="single" or rounding="double": kernels for devices have the one or the other')
    source = open_path(path)
    reading = _Reading(source, rounding)
    model = root(source)
    codes = [max(code.number(4, "b"), code.number(10, "i")) for code in model.tables(6)]
    graph = next(model.tables(8))
    given, outputs = graph.numbers(6, "i"), graph.numbers(8, "i")
    reading.whole = len(given)
    reading.places.update((index, place) for place, index in enumerate(given))
    listed = [reading.tensors[index] for index in given]
    known = [each.quantization if each.kind == _INT8 else None for each in listed]
    for operator in graph.tables(10):
        _read(reading, operator, codes, known)
    shapes, names = [each.shape[1:] for each in listed], [each.name for each in listed]
    return QuantizedProgram(names, shapes, known, reading.steps, [reading.value(index) for index in outputs], rounding)


def _read(reading: _Reading, operator: Table, codes: list[int], known: list[Quantization | None]) -> None:
    """Add the steps of an operator; those that only turn floats into codes or back are none."""
    number, inputs, outputs = operator.number(4, "I"), operator.numbers(6, "i"), operator.numbers(8, "i")
    code = codes[number] if number < len(codes) else -1
    if code in _OF_SHAPES and reading.tensors[outputs[0]].kind == _INT32:
        return  # they compute the shape of a reshape, which its output has
    made = _Operator(reading, inputs, outputs[0], operator.table(12))
    place = reading.places.get(inputs[0], -1)
    if code == _DEQUANTIZE:
        reading.places[outputs[0]] = reading.value(inputs[0])
    elif code == _QUANTIZE and 0 <= place < reading.whole and known[place] is None:
        known[place] = made.made.quantization
        reading.places[outputs[0]] = place
    elif code in _WORDS:
        made.put(looked_up(made.site(Activation(_WORDS[code], known_settings(_WORDS[code], {})), 1)))
    elif code in _OPERATORS:
        _OPERATORS[code](made)
    else:
        made.refuse(f"is computed by operator {code}, which is not known in int8")


def _tensor(table: Table) -> _Tensor:
    facts = table.table(12)
    scales = facts.numbers(8, "f") if facts else ()
    zeros = facts.numbers(10, "q") if facts else ()
    return _Tensor(table.text(10), table.numbers(4, "i"), table.number(6, "b"), table.number(8, "I"), scales, zeros)


def _real(operator: _Operator, field: int) -> float:
    import struct

    place = operator.options.position(field, 4) if operator.options else 0
    return float(struct.unpack("<f", operator.options.data.read(place, 4))[0]) if place and operator.options else 0.0


def _sums(operator: _Operator, operation: Dense | Conv, fused: int) -> None:
    """Add a layer whose kernel and bias are integers already."""
    import numpy as np

    data, kernel = operator.tensor(0).quantization, operator.tensor(1)
    if any(kernel.zeros):
        operator.refuse("has a kernel with a zero point, which is not known")
    bias = operator.reading.constant(operator.inputs[2]) if len(operator.inputs) > 2 else None
    whole = np.zeros(len(operation.kernel), np.int32) if bias is None else bias.astype(np.int32)
    out = operator.made.quantization
    scales = np.array(kernel.scales, np.float32)
    steps = np.float64(data.scale) * scales.astype(np.float64)
    if len(scales) == 1 and isinstance(operation, Dense):
        steps = (np.float32(data.scale) * scales).astype(np.float64)
    by = multipliers(np.broadcast_to(steps / np.float64(out.scale), (len(operation.kernel),)))
    requantization = ints.Requantization(by, out.zero_point, *operator.ends(fused))
    operator.put(ints.Sums(operation._replace(bias=whole), data.zero_point, requantization))


def _convolved(operator: _Operator) -> None:
    kernel = operator.constant(1, "kernel")
    groups = operator.tensor(0).shape[-1] // kernel.shape[-1]
    dilation = operator.option(14, default=1), operator.option(12, default=1)
    strides, padding = _around(operator, kernel.shape[1:3], dilation)
    _sums(operator, Conv(kernel.transpose(0, 3, 1, 2), None, strides, padding, dilation, groups, "last"), 10)


def _depthwise(operator: _Operator) -> None:
    kernel = operator.constant(1, "kernel")
    dilation = operator.option(16, default=1), operator.option(14, default=1)
    strides, padding = _around(operator, kernel.shape[1:3], dilation)
    groups = operator.tensor(0).shape[-1]
    _sums(operator, Conv(kernel.transpose(3, 0, 1, 2), None, strides, padding, dilation, groups, "last"), 12)


def _around(
    operator: _Operator, size: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Return the strides, and the places before and after each axis."""
    strides = operator.option(8, default=1), operator.option(6, default=1)
    if operator.option(4, "b"):
        return strides, ((0, 0), (0, 0))
    padding = []
    for length, width, step, gap in zip(operator.tensor(0).shape[1:3], size, strides, dilation, strict=True):
        whole = max((-(-length // step) - 1) * step + gap * (width - 1) + 1 - length, 0)
        padding.append((whole // 2, whole - whole // 2))
    return strides, tuple(padding)


def _dense(operator: _Operator) -> None:
    kernel = operator.constant(1, "kernel")
    given = operator.tensor(0).shape
    if len(given) > 2 and not operator.option(8, "B"):
        reading = operator.reading
        known, shape = operator.tensor(0).quantization, (kernel.shape[1],)
        value = reading.value(operator.inputs[0])
        reading.put(operator.inputs[0], ints.Moves(Reshape(shape)), (value,), shape, known)
    _sums(operator, Dense(kernel, None), 4)


def _pooled(word: str) -> Callable[[_Operator], None]:
    def add(operator: _Operator) -> None:
        size = operator.option(12), operator.option(10)
        strides, padding = _around(operator, size, (1, 1))
        if operator.ends(14) != (LOWEST, HIGHEST) or operator.tensor(0).quantization != operator.made.quantization:
            operator.refuse("is a pool with an activation or another scale, which is not known")
        operator.put(ints.Pooling(Pool(word, size, strides, padding, (1, 1), False, "last")))

    return add


def _mean(operator: _Operator) -> None:
    import numpy as np

    axes = sorted(int(axis) % len(operator.tensor(0).shape) for axis in operator.constant(1, "axes").reshape(-1))
    if axes != [*range(1, len(operator.tensor(0).shape) - 1)]:
        operator.refuse("is a mean over other axes than those of an image, which is not known")
    count = prod(operator.tensor(0).shape[1:-1])
    data, out = operator.tensor(0).quantization, operator.made.quantization
    by = multipliers(np.array([np.float64(data.scale) / np.float64(out.scale)]))
    shift = min(count.bit_length() - 1, 32, 31 + int(by.shifts[0]))
    value = (int(by.values[0]) << shift) // count
    by = Multipliers(np.array([value], np.int32), by.shifts - np.int32(shift))
    pool = GlobalPool("average", bool(operator.option(4, "B")), "last")
    operator.put(ints.Means(pool, data.zero_point, ints.Requantization(by, out.zero_point)))


def _combined(word: str) -> Callable[[_Operator], None]:
    def add(operator: _Operator) -> None:
        operator.put(added(operator.site(Combine(word), 2, 4), word), 2)

    return add


def _multiplied(operator: _Operator) -> None:
    import numpy as np

    first, second = (operator.tensor(nth).quantization for nth in (0, 1))
    factor = np.float64(np.float32(first.scale) * np.float32(second.scale) / np.float32(operator.made.quantization.scale))
    site = operator.site(Combine("multiply"), 2, 4)
    operator.put(ints.Multiplied((first.zero_point, second.zero_point), site.requantization(factor, 1 << 16)), 2)


def _concatenated(operator: _Operator) -> None:
    count, axis = len(operator.inputs), operator.option(4) % len(operator.made.shape)
    operator.put(joined(operator.site(Concatenate(axis), count, 6), "concatenate", axis), count)


def _rescaled(operator: _Operator) -> None:
    operator.put(joined(operator.site(Combine("maximum"), 1), "maximum", 0))


def _rectified(operator: _Operator) -> None:
    """Add a ReLU, or a leaky one: positive and negative codes have factors of their own, which are quotients of floats."""
    import numpy as np

    data, out = operator.tensor(0).quantization, operator.made.quantization
    ratio = np.float32(data.scale) / np.float32(out.scale)
    slope = np.float32(data.scale) * np.float32(_real(operator, 4)) / np.float32(out.scale)
    steps = np.arange(LOWEST, HIGHEST + 1) - data.zero_point
    positive, negative = (
        scaled(steps, multipliers(np.array([np.float64(factor)])), operator.reading.rounding) if factor else 0 * steps
        for factor in (ratio, slope)
    )
    operator.put(ints.Lookup(clipped(np.where(steps >= 0, positive, negative) + out.zero_point)))


def _reshaped(operator: _Operator) -> None:
    operator.put(ints.Moves(Reshape(operator.made.shape[1:])))


def _padded(operator: _Operator) -> None:
    around = operator.constant(1, "padding").tolist()
    if any(around[0]):
        operator.refuse("pads the examples, which is not known")
    code = float(operator.tensor(0).quantization.zero_point)
    operator.put(ints.Moves(Pad(tuple((int(a), int(b)) for a, b in around[1:]), code)))


def _shared(operator: _Operator) -> None:
    if _real(operator, 4) != 1:
        operator.refuse("is a softmax with another beta than 1, which is not known")
    operator.put(shared(operator.site(Softmax("softmax", len(operator.made.shape) - 1), 1)))


_OPERATORS: dict[int, Callable[[_Operator], None]] = {
    0: _combined("add"),
    1: _pooled("average"),
    2: _concatenated,
    3: _convolved,
    4: _depthwise,
    9: _dense,
    17: _pooled("max"),
    18: _multiplied,
    19: _rectified,
    22: _reshaped,
    25: _shared,
    34: _padded,
    40: _mean,
    41: _combined("subtract"),
    98: _rectified,
    _QUANTIZE: _rescaled,
}
