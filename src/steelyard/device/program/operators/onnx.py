"""ONNX's operators as steps of a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.device.program.activations import SELU_ALPHA, SELU_SCALE
from steelyard.device.program.attention import MASKED
from steelyard.device.program.norms import Softmax
from steelyard.device.program.operators import onnx_layers
from steelyard.device.program.operators.combining import activated, combined, reduced
from steelyard.device.program.operators.constants import sliced
from steelyard.device.program.operators.moving import as_data, joined, permuted, reshaped, selected
from steelyard.device.program.operators.onnx_recurrent import recurrent
from steelyard.device.program.operators.onnx_resizing import resized
from steelyard.device.program.operators.tensors import Call, Data
from steelyard.device.program.shaping import Combine, Constant, Scale
from steelyard.device.program.windows import Pad

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.program.operators.tensors import Maker, Tensor

_PAD_MODES = {"": "constant", "constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def shape(call: Call) -> Array:
    """Return the shape of a tensor, in which `BATCH` stands for the number of examples."""
    import numpy as np

    lengths = np.array(call.shape(call.data()), np.int64)
    return lengths[call.integer("start", 0) : call.setting("end", len(lengths))]


def _passed(call: Call) -> Data:
    return call.data()


def _dropout(call: Call) -> Data:
    if call.has(2) and call.known(2).any():
        call.refuse("drops numbers as in training")
    return call.data()


def _cast(call: Call) -> Data:
    """Pass floats on; integers are the numbers of rows, which an embedding rounds down as a cast does."""
    if call.integer("to", 1) not in (1, 11, 6, 7):
        call.refuse("casts what it is given to a type that is not known")
    if (
        call.integer("to", 1) in (6, 7)
        and call.building.steps
        and call.data().place >= len(call.building.shapes) - len(call.building.steps)
    ):
        call.refuse("casts computed numbers to integers, which is not known")
    return call.data()


def _reshape(call: Call) -> Data:
    data = call.data()
    target = call.lengths(1) if call.has(1) else call.integers("shape") or ()
    call.only(allowzero=0)
    held = call.shape(data)
    return reshaped(call, data, [held[at] if length == 0 and at < len(held) else length for at, length in enumerate(target)])


def _transpose(call: Call) -> Data:
    data = call.data()
    count = len(call.shape(data))
    return permuted(call, data, call.integers("perm", range(count)[::-1]) or ())


def _axes(call: Call, place: int = 1) -> tuple[int, ...] | None:
    return call.lengths(place) if call.has(place) else call.integers("axes")


def _squeeze(call: Call) -> Data:
    data, given = call.data(), _axes(call)
    held = call.shape(data)
    axes = {call.axis(axis, data) for axis in given} if given else {at for at, length in enumerate(held) if length == 1}
    if any(held[axis] != 1 for axis in axes):
        call.refuse("drops an axis whose length is not 1")
    return reshaped(call, data, [length for at, length in enumerate(held) if at not in axes])


def _unsqueeze(call: Call) -> Data:
    data = call.data()
    given = _axes(call) or ()
    held = list(call.shape(data))
    count = len(held) + len(given)
    for axis in sorted(axis % count for axis in given):
        held.insert(axis, 1)
    return reshaped(call, data, held)


def _concat(call: Call) -> Data:
    tensors = [call.known(place) if call.is_known(place) else call.data(place) for place in range(len(call.given))]
    return joined(call, tensors, call.integer("axis", 0))


def _slice(call: Call) -> Data:
    data = call.data()
    rest = [call.known(place) if call.has(place) else None for place in range(1, len(call.given))]
    ranges = {call.axis(axis, data): part for axis, part in sliced(call, *rest).items()}
    whole = ranges.get(data.batch)
    if whole is not None and (whole.start, whole.step) == (0, 1) and whole.stop >= 1 << 31:
        del ranges[data.batch]
    return selected(call, data, ranges)


def _gather(call: Call) -> Data:
    """Add a table whose rows are taken, or a selection of known places."""
    if call.is_known(0):
        return onnx_layers.gather(call)
    data, places = call.data(), call.known(1)
    axis, numbers = call.axis(call.integer("axis", 0), data), call.lengths(1)
    if not places.ndim:
        return selected(call, data, {axis: numbers[0]})
    start = numbers[0] if numbers else 0
    if places.ndim > 1 or start < 0 or numbers != tuple(range(start, start + len(numbers))):
        call.refuse("takes places that do not follow each other, which is not known")
    return selected(call, data, {axis: slice(start, start + len(numbers))})


def _split(call: Call) -> list[Tensor]:
    data, count = call.data(), len(call.operator.outputs)
    axis = call.axis(call.integer("axis", 0), data)
    length = call.shape(data)[axis]
    given = call.lengths(1) if call.has(1) else call.integers("split")
    each = -(-length // count)
    sizes = given or tuple(min(each, length - each * place) for place in range(count))
    if sum(sizes) != length or len(sizes) != count:
        call.refuse(f"splits {length} places into {sizes}")
    starts = [sum(sizes[:place]) for place in range(count)]
    return [
        selected(call, data, {axis: slice(start, start + size)}) if call.uses.get(name) else None
        for name, start, size in zip(call.operator.outputs, starts, sizes, strict=True)
    ]


def _expand(call: Call) -> Data:
    """Pass on what is not repeated."""
    data, lengths = call.data(), call.lengths(1)
    held = call.shape(data)
    if len(lengths) > len(held) or any(a not in (1, b) for a, b in zip(lengths[::-1], held[::-1], strict=False)):
        call.refuse("repeats what it is given, which is not known")
    return data


def _pad(call: Call) -> Data:
    data = call.data()
    pads = call.lengths(1) if call.has(1) else call.integers("pads") or call.integers("paddings") or ()
    axes = (
        [call.axis(axis, data) for axis in _axes(call, 3) or range(len(call.shape(data)))]
        if call.version >= 11
        else [*range(len(call.shape(data)))]
    )
    mode = _PAD_MODES.get(str(call.setting("mode", "")))
    value = float(call.known(2).reshape(-1)[0]) if call.has(2) else call.real("value", 0.0)
    if len(pads) != 2 * len(axes) or min(pads, default=0) < 0 or mode is None:
        call.refuse(f"has the pads {pads}, which are not known")
    held = {axis: (pads[at], pads[at + len(axes)]) for at, axis in enumerate(axes)}
    if any(held.get(data.batch, (0, 0))):
        call.refuse("pads the examples")
    padding = tuple(held.get(axis, (0, 0)) for axis in range(len(call.shape(data))) if axis != data.batch)
    return Data(call.add(Pad(padding, value, mode), data.place), data.batch)


def _softmax(call: Call) -> Data:
    data = call.data()
    last = len(call.shape(data)) - 1
    axis = call.axis(call.integer("axis", -1 if call.version >= 13 else 1), data)
    if call.version < 13 and axis != last:
        call.refuse("is of several axes, which is not known")
    if call.used_once(0):
        _make_finite(call, data)
    word = "softmax" if call.operator.word == "Softmax" else "log_softmax"
    return Data(call.add(Softmax(word, call.own_axis(axis, data)), data.place), data.batch)


def _make_finite(call: Call, data: Data) -> None:
    """Put a large number in place of minus infinity in a mask that is added before: the softmax makes zero of both."""
    import numpy as np

    steps = call.building.steps
    first = len(call.building.shapes) - len(steps)
    added = steps[data.place - first] if data.place >= first else None
    if added is None or not isinstance(added.operation, Combine) or added.operation.word != "add":
        return
    for place in added.inputs:
        mask = steps[place - first] if place >= first else None
        if mask is not None and isinstance(mask.operation, Constant) and np.isneginf(mask.operation.values).any():
            values = np.where(np.isneginf(mask.operation.values), MASKED, mask.operation.values)
            steps[place - first] = mask._replace(operation=Constant(values.astype(mask.operation.values.dtype)))


def _clip(call: Call) -> Data:
    lowest, highest = (
        float(call.known(place).reshape(-1)[0]) if call.has(place) else call.real(name, usual)
        for place, name, usual in ((1, "min", float("-inf")), (2, "max", float("inf")))
    )
    if lowest == 0:
        return activated(call, "relu") if highest == float("inf") else activated(call, "clipped_relu", {"highest": highest})
    return activated(call, "hard_tanh", {"lowest": lowest, "highest": highest})


def _selu(call: Call) -> Data:
    if abs(call.real("alpha", SELU_ALPHA) - SELU_ALPHA) > 1e-6 or abs(call.real("gamma", SELU_SCALE) - SELU_SCALE) > 1e-6:
        call.refuse("has factors that are not those of SELU")
    return activated(call, "selu")


def _gelu(call: Call) -> Data:
    return activated(call, "gelu_tanh" if call.setting("approximate", "none") == "tanh" else "gelu")


def _shrink(call: Call) -> Data:
    edge, bias = call.real("lambd", 0.5), call.real("bias", 0.0)
    if bias not in (0.0, edge):
        call.refuse("has a bias that is not known")
    return activated(call, "soft_shrink" if bias else "hard_shrink", {"threshold": edge})


def _power(call: Call) -> Data:
    """Add the powers that are products, roots or reciprocals."""
    exponent = float(call.known(1).reshape(-1)[0]) if call.known(1).size == 1 else 0.0
    if exponent == 1:
        return call.data()
    if exponent in (2, 3):
        return combined(call, "multiply", (0,) * int(exponent))
    if abs(exponent) == 0.5:
        root = activated(call, "square_root")
        return root if exponent > 0 else _reciprocal(call, root)
    if exponent == -1:
        return _reciprocal(call)
    return call.refuse(f"takes the power {call.known(1).reshape(-1)[:3]}, which is not known")


def _reciprocal(call: Call, data: Data | None = None) -> Data:
    import numpy as np

    given = call.data() if data is None else data
    one = as_data(call, np.ones((), np.float32), given)
    return Data(call.add(Combine("divide"), one, given.place), given.batch)


def _negative(call: Call) -> Data:
    data = call.data()
    return Data(call.add(Scale("multiply", -1.0), data.place), data.batch)


def _several(word: str) -> Maker:
    return lambda call: call.data() if len(call.given) == 1 else combined(call, word, range(len(call.given)))


def _reduce(word: str) -> Maker:
    def make(call: Call) -> Data:
        data, axes = call.data(), _axes(call)
        if not axes:
            call.refuse("makes one number of all axes")
        return reduced(call, data, axes, word, keeps=bool(call.integer("keepdims", 1)))

    return make


def _curve(word: str, **settings: tuple[str, float]) -> Maker:
    """Return the maker of an activation; `settings` has the attribute and the usual value of each of its settings."""
    return lambda call: activated(call, word, {name: call.real(*given) for name, given in settings.items()})


def _logarithmic_curve(call: Call) -> Data:
    return activated(call, "softplus", {"beta": 1.0, "threshold": float("inf")})


MAKERS: dict[str, Maker] = {
    "Add": onnx_layers.add,
    "BatchNormalization": onnx_layers.batch_norm,
    "Conv": onnx_layers.conv,
    "ConvTranspose": onnx_layers.conv_transpose,
    "Flatten": onnx_layers.flatten,
    "Gemm": onnx_layers.gemm,
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), onnx_layers.global_pool),
    **dict.fromkeys(("GroupNormalization", "InstanceNormalization"), onnx_layers.group_norm),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"), onnx_layers.layer_norm),
    "MatMul": onnx_layers.matmul,
    "PRelu": onnx_layers.prelu,
    **dict.fromkeys(("AveragePool", "MaxPool"), onnx_layers.pool),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), recurrent),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Dropout": _dropout,
    "Expand": _expand,
    "Gather": _gather,
    "Gelu": _gelu,
    "Identity": _passed,
    "Neg": _negative,
    "Pad": _pad,
    "Pow": _power,
    "Reciprocal": _reciprocal,
    "Reshape": _reshape,
    "Selu": _selu,
    "Shrink": _shrink,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    **dict.fromkeys(("LogSoftmax", "Softmax"), _softmax),
    **dict.fromkeys(("Resize", "Upsample"), resized),
    "Softplus": _logarithmic_curve,
    "Unsqueeze": _unsqueeze,
    "Sub": lambda call: combined(call, "subtract"),
    "Mul": lambda call: combined(call, "multiply"),
    "Div": lambda call: combined(call, "divide"),
    "Sum": _several("add"),
    "Mean": _several("average"),
    "Max": _several("maximum"),
    "Min": _several("minimum"),
    "ReduceMean": _reduce("average"),
    "ReduceSum": _reduce("sum"),
    "ReduceMax": _reduce("max"),
    **{word: _curve(word.lower()) for word in ("Relu", "Sigmoid", "Tanh", "Softsign", "Mish", "Erf")},
    "Abs": _curve("absolute"),
    "Exp": _curve("exponential"),
    "Sqrt": _curve("square_root"),
    "HardSwish": _curve("hard_silu"),
    "Celu": _curve("celu", alpha=("alpha", 1.0)),
    "Elu": _curve("elu", alpha=("alpha", 1.0)),
    "HardSigmoid": _curve("hard_sigmoid", alpha=("alpha", 0.2), beta=("beta", 0.5)),
    "LeakyRelu": _curve("leaky_relu", negative_slope=("alpha", 0.01)),
    "ThresholdedRelu": _curve("thresholded_relu", alpha=("alpha", 1.0)),
}
