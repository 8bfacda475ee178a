"""TensorFlow Lite's operators as steps of a program; channels are last."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.device.program.norms import Softmax
from steelyard.device.program.operators import constants, tflite_layers
from steelyard.device.program.operators.combining import activated, combined, reduced
from steelyard.device.program.operators.moving import joined, permuted, reshaped, selected
from steelyard.device.program.operators.tensors import BATCH, Call, Data, Unknown
from steelyard.device.program.operators.tflite_layers import fused
from steelyard.device.program.shaping import Concatenate, Scale
from steelyard.device.program.windows import Pad

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.program.operators.tensors import Maker, Tensor


def _reshape(call: Call) -> Data:
    target = call.lengths(1) if call.has(1) else call.integers("new_shape") or ()
    return reshaped(call, call.data(), target)


def _transpose(call: Call) -> Data:
    return permuted(call, call.data(), call.lengths(1))


def _squeeze(call: Call) -> Data:
    data, given = call.data(), call.integers("squeeze_dims")
    held = call.shape(data)
    axes = {call.axis(axis, data) for axis in given} if given else {at for at, length in enumerate(held) if length == 1}
    return reshaped(call, data, [length for at, length in enumerate(held) if at not in axes])


def _expand_dims(call: Call) -> Data:
    held = list(call.shape(call.data()))
    axis = call.lengths(1)[0]
    held.insert(axis + len(held) + 1 if axis < 0 else axis, 1)
    return reshaped(call, call.data(), held)


def _concatenation(call: Call) -> Data:
    tensors = [call.known(place) if call.is_known(place) else call.data(place) for place in range(len(call.given))]
    return fused(call, joined(call, tensors, call.integer("axis", 0)))


def _binary(word: str) -> Maker:
    return lambda call: fused(call, combined(call, word))


def _ranges(call: Call, shape: tuple[int, ...]) -> dict[int, int | slice]:
    """Return the parts that a STRIDED_SLICE takes of each axis; a bit of each mask belongs to an axis."""
    call.only(ellipsis=0, new_axis=0)
    masks = {name: call.integer(name, 0) for name in ("begin", "end", "shrink")}
    begin, end, steps = (call.lengths(place) for place in (1, 2, 3))
    parts: dict[int, int | slice] = {}
    for axis, (start, stop, step) in enumerate(zip(begin, end, steps, strict=True)):
        bit = 1 << axis
        if masks["shrink"] & bit:
            parts[axis] = start
            continue
        whole = slice(None if masks["begin"] & bit else start, None if masks["end"] & bit else stop, step)
        is_whole = (whole.start, whole.stop, step) in ((None, None, 1), (0, None, 1), (0, BATCH, 1))
        if not (is_whole and shape[axis] == BATCH):
            parts[axis] = whole
    return parts


def _strided_slice(call: Call) -> Data:
    data = call.data()
    return selected(call, data, _ranges(call, call.shape(data)))


def _slice(call: Call) -> Data:
    data = call.data()
    begin, size = call.lengths(1), call.lengths(2)
    axes = enumerate(zip(begin, size, strict=True))
    parts = {axis: slice(start, None if length == -1 else start + length) for axis, (start, length) in axes}
    if begin[data.batch] == 0 and size[data.batch] in (-1, BATCH):
        del parts[data.batch]
    return selected(call, data, parts)


def _split(call: Call) -> list[Tensor]:
    """Add the parts of a SPLIT, whose axis is its first input, or of a SPLIT_V, whose sizes and axis are its last ones."""
    count = len(call.operator.outputs)
    place, at = (1, 0) if call.operator.word == "SPLIT" else (0, 2)
    data = call.data(place)
    axis = call.axis(call.lengths(at)[0], data)
    length = call.shape(data)[axis]
    sizes = (length // count,) * count if place else call.lengths(1)
    if sum(sizes) != length or len(sizes) != count:
        call.refuse(f"splits {length} places into {sizes}")
    starts = [sum(sizes[:nth]) for nth in range(count)]
    return [selected(call, data, {axis: slice(start, start + size)}) for start, size in zip(starts, sizes, strict=True)]


def _unpack(call: Call) -> list[Tensor]:
    data = call.data()
    axis = call.axis(call.integer("axis", 0), data)
    return [selected(call, data, {axis: place}) for place in range(len(call.operator.outputs))]


def _pad(call: Call) -> Data:
    data, given = call.data(), call.known(1)
    value = float(call.known(2).reshape(-1)[0]) if call.has(2) else 0.0
    modes = {0: "reflect", 1: "symmetric"}
    mode = modes.get(call.integer("mode", 0), "") if call.operator.word == "MIRROR_PAD" else "constant"
    pairs = [(int(before), int(after)) for before, after in given.reshape(-1, 2)]
    if len(pairs) != len(call.shape(data)) or any(pairs[data.batch]):
        call.refuse(f"has the padding {pairs}, which is not known")
    del pairs[data.batch]
    return Data(call.add(Pad(tuple(pairs), value, mode), data.place), data.batch)


def _reduce(word: str) -> Maker:
    return lambda call: reduced(call, call.data(), call.lengths(1), word, keeps=bool(call.integer("keep_dims", 0)))


def _softmax(call: Call) -> Data:
    data = call.data()
    if call.operator.word == "SOFTMAX" and call.real("beta", 1.0) != 1:
        call.refuse(f"has beta={call.real('beta', 1.0)}, which is not known")
    word = "softmax" if call.operator.word == "SOFTMAX" else "log_softmax"
    return Data(call.add(Softmax(word, call.own_axis(-1, data)), data.place), data.batch)


def _cast(call: Call) -> Data:
    """Pass the numbers of rows on, and floats of 32 bits."""
    data = call.data()
    if call.integer("out_data_type", 0) not in (0, 2, 4) or data.place >= len(call.building.shapes) - len(call.building.steps):
        call.refuse("casts computed numbers, which is not known")
    return data


def _square(call: Call) -> Data:
    return combined(call, "multiply", (0, 0))


def _reciprocal_root(call: Call) -> Data:
    root = activated(call, "square_root")
    return Data(call.add(Scale("power", -1.0), root.place), root.batch)


def _squared_difference(call: Call) -> Data:
    made = combined(call, "subtract")
    return combined(call._replace(given=(made, made)), "multiply")


def _negative(call: Call) -> Data:
    data = call.data()
    return Data(call.add(Scale("multiply", -1.0), data.place), data.batch)


def _less(call: Call) -> Tensor:
    """Return no tensor: only a selection of the numbers of rows takes what this compares."""
    return _COMPARED if call.is_known(1) and not call.known(1).any() else Unknown("takes a comparison, which is not known")


def _select(call: Call) -> Data:
    """Pass on numbers of rows, of which those below zero are counted from the end, as an embedding counts them itself."""
    first = len(call.building.shapes) - len(call.building.steps)
    if call.given[0] is not _COMPARED or call.data(2).place >= first:
        call.refuse("selects by a condition, which is not known")
    return call.data(2)


def _tile(call: Call) -> Data:
    """Add the input several times after itself along some axes."""
    data, times = call.data(), call.lengths(1)
    place = data.place
    for axis, count in enumerate(times):
        if count > 1:
            place = call.add(Concatenate(call.own_axis(axis, data)), *[place] * count)
        elif count != 1:
            call.refuse(f"repeats its input {count} times")
    return Data(place, data.batch)


def _broadcast(call: Call) -> Data:
    data, lengths = call.data(), call.lengths(1)
    if tuple(lengths) != call.shape(data):
        call.refuse("repeats what it is given, which is not known")
    return data


def _gelu(call: Call) -> Data:
    return activated(call, "gelu_tanh" if call.integer("approximate", 0) else "gelu")


def _leaky(call: Call) -> Data:
    return activated(call, "leaky_relu", {"negative_slope": call.real("alpha", 0.0)})


def _curve(word: str, **settings: float) -> Maker:
    return lambda call: activated(call, word, dict(settings))


_COMPARED = Unknown("takes a comparison with zero, which is not known")
MAKERS: dict[str, Maker] = {
    "LESS": _less,
    "SELECT_V2": _select,
    "ADD": tflite_layers.add,
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), tflite_layers.pool),
    "CONCATENATION": _concatenation,
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), tflite_layers.conv),
    "FULLY_CONNECTED": tflite_layers.fully_connected,
    "LOGISTIC": _curve("sigmoid"),
    "MUL": _binary("multiply"),
    "RELU": _curve("relu"),
    "RELU_N1_TO_1": _curve("hard_tanh", lowest=-1.0, highest=1.0),
    "RELU6": _curve("relu6"),
    "RESHAPE": _reshape,
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), tflite_layers.resize),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX"), _softmax),
    "TANH": _curve("tanh"),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _pad),
    "GATHER": tflite_layers.gather,
    "TRANSPOSE": _transpose,
    "MEAN": _reduce("average"),
    "SUB": _binary("subtract"),
    "DIV": _binary("divide"),
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "EXP": _curve("exponential"),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), _split),
    "CAST": _cast,
    "PRELU": tflite_layers.prelu,
    "MAXIMUM": lambda call: combined(call, "maximum"),
    "MINIMUM": lambda call: combined(call, "minimum"),
    "NEG": _negative,
    "SLICE": _slice,
    "TRANSPOSE_CONV": tflite_layers.transpose_conv,
    "TILE": _tile,
    "EXPAND_DIMS": _expand_dims,
    "SUM": _reduce("sum"),
    "SQRT": _curve("square_root"),
    "RSQRT": _reciprocal_root,
    "REDUCE_MAX": _reduce("max"),
    "UNPACK": _unpack,
    "SQUARE": _square,
    "LEAKY_RELU": _leaky,
    "SQUARED_DIFFERENCE": _squared_difference,
    "ABS": _curve("absolute"),
    "ELU": _curve("elu", alpha=1.0),
    "HARD_SWISH": _curve("hard_silu"),
    "BATCH_MATMUL": tflite_layers.batch_matmul,
    "BROADCAST_TO": _broadcast,
    "GELU": _gelu,
}


def _known_slice(call: Call, x: Array, *_: Array) -> Array:
    parts = _ranges(call, x.shape)
    return x[tuple(parts.get(axis, slice(None)) for axis in range(x.ndim))]


def _packed(call: Call, *parts: Array) -> Array:
    import numpy as np

    return np.stack(parts, axis=call.integer("axis", 0))


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "ADD": constants.numpy_function("add"),
    "CAST": lambda _, x: x,
    "CONCATENATION": constants.joined,
    "DEQUANTIZE": lambda _, x: x,
    "EXPAND_DIMS": lambda _, x, axis: constants.numpy_function("expand_dims")(_, x, int(axis.reshape(-1)[0])),
    "MUL": constants.numpy_function("multiply"),
    "PACK": _packed,
    "RESHAPE": lambda _, x, shape: x.reshape([int(length) for length in shape]),
    "STRIDED_SLICE": _known_slice,
    "SUB": constants.numpy_function("subtract"),
    "TRANSPOSE": lambda _, x, order: x.transpose([int(axis) for axis in order]),
}
"""What a file computes from constants."""
