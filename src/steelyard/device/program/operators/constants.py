"""What an ONNX file computes without the inputs of the net: shapes, masks and other constants, while a program is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.codecs.limits import is_possible
from steelyard.device.program.operators.tensors import BATCH, Call, Unknown

if TYPE_CHECKING:
    from steelyard.core.weight import Array

LARGEST = 1 << 26
"""numbers of a constant that is computed, at most"""
_TYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64", 2: "uint8", 3: "int8"}


def computed(call: Call, functions: Mapping[str, Callable[..., Array]]) -> Array | Unknown:
    """Return what an operator makes of constants by the function of its word; `Unknown` where there is none."""
    import numpy as np

    word = call.operator.word
    function = functions.get(word)
    if function is None:
        return Unknown(f"takes a constant that {word} computes, which is not known")
    given = [None if each is None else call.known(place) for place, each in enumerate(call.given)]
    if word not in MOVING and any(each is not None and each.dtype.kind == "i" and (each == BATCH).any() for each in given):
        return Unknown(f"takes a number that {word} computes from that of the examples, which is not known")
    try:
        with np.errstate(all="ignore"):
            return function(call, *given)
    except (ValueError, IndexError, TypeError) as error:
        call.refuse(f"cannot be computed ({error})")


def _shaped(call: Call, lengths: Any) -> tuple[int, ...]:
    """Return a shape in which one example stands for all."""
    shape = tuple(1 if length == BATCH else int(length) for length in lengths)
    made = 1
    for length in shape:
        made *= max(length, 1)
    if not is_possible(shape) or made > LARGEST:
        call.refuse(f"makes a constant of shape {shape}")
    return shape


def _cast(call: Call, x: Array) -> Array:
    to = call.integer("to", 1)
    if to not in _TYPES:
        call.refuse("casts to a type that is not known")
    return x.astype(_TYPES[to])


def _filled(call: Call, lengths: Array, value: Array | None = None) -> Array:
    import numpy as np

    shape = _shaped(call, lengths)
    return np.zeros(shape, "float32") if value is None else np.full(shape, value.reshape(-1)[0])


def _expanded(call: Call, x: Array, lengths: Array) -> Array:
    import numpy as np

    shape = _shaped(call, lengths)
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, shape))


def _axes(call: Call, axes: Array | None) -> tuple[int, ...] | None:
    return call.integers("axes") if axes is None else tuple(int(axis) for axis in axes.reshape(-1))


def _unsqueezed(call: Call, x: Array, axes: Array | None = None) -> Array:
    import numpy as np

    return np.expand_dims(x, _axes(call, axes) or ())


def _squeezed(call: Call, x: Array, axes: Array | None = None) -> Array:
    import numpy as np

    return np.squeeze(x, _axes(call, axes))


def _gathered(call: Call, x: Array, places: Array) -> Array:
    import numpy as np

    return np.take(x, places, axis=call.integer("axis", 0))


def sliced(call: Call, *given: Array | None) -> dict[int, slice]:
    """Return the ranges of a Slice by axis: starts, ends, axes and steps are inputs, or attributes in old versions."""
    if call.version < 10:
        starts, ends = (call.integers(name) or () for name in ("starts", "ends"))
        axes, steps = call.integers("axes", range(len(starts))) or (), (1,) * len(starts)
    else:
        listed = [None if each is None else tuple(int(number) for number in each.reshape(-1)) for each in given]
        starts, ends = listed[0] or (), listed[1] or ()
        axes = listed[2] if len(listed) > 2 and listed[2] is not None else tuple(range(len(starts)))
        steps = listed[3] if len(listed) > 3 and listed[3] is not None else (1,) * len(starts)
    if BATCH in (*starts, *ends):
        call.refuse("takes a range that depends on the number of examples")
    return {axis: slice(start, end, step) for start, end, axis, step in zip(starts, ends, axes, steps, strict=True)}


def _sliced(call: Call, x: Array, *rest: Array | None) -> Array:
    ranges = sliced(call, *rest)
    parts = [slice(None)] * x.ndim
    for axis, part in ranges.items():
        parts[axis] = part
    return x[tuple(parts)]


def _reshaped(call: Call, x: Array, lengths: Array) -> Array:
    shape = [x.shape[place] if length == 0 else int(length) for place, length in enumerate(lengths.reshape(-1))]
    if BATCH in shape:
        call.refuse("makes a shape of a constant from the number of examples")
    return x.reshape(shape)


def _transposed(call: Call, x: Array) -> Array:
    return x.transpose(call.integers("perm", range(x.ndim)[::-1]))


def _range(call: Call, start: Array, stop: Array, step: Array) -> Array:
    import numpy as np

    if abs((stop - start) / step) > LARGEST:
        call.refuse("makes too many numbers")
    made: Array = np.arange(start.item(), stop.item(), step.item(), dtype=start.dtype)
    return made


def _dequantised(call: Call, x: Array, scale: Array, zero: Array | None = None) -> Array:
    import numpy as np

    call.only(block_size=0)
    shape = [1] * x.ndim
    if scale.size > 1:
        shape[call.integer("axis", 1)] = -1
    offset = 0 if zero is None else zero.astype(np.int32).reshape(shape if zero.size > 1 else 1)
    return ((x.astype(np.int32) - offset) * scale.reshape(shape if scale.size > 1 else 1)).astype(scale.dtype)


def _triangle(call: Call, x: Array, k: Array | None = None) -> Array:
    import numpy as np

    shift = 0 if k is None else int(k.reshape(-1)[0])
    return (np.triu if call.integer("upper", 1) else np.tril)(x, shift)


def joined(call: Call, *parts: Array) -> Array:
    """Return arrays that are known, joined along an axis."""
    import numpy as np

    return np.concatenate(parts, axis=call.integer("axis", 0))


def numpy_function(name: str) -> Callable[..., Array]:
    """Return an operator on arrays that are known, which is a function of NumPy."""

    def function(_: Call, *given: Array) -> Array:
        import numpy as np

        made: Array = getattr(np, name)(*given)
        return made

    return function


def _divided(_: Call, x: Array, y: Array) -> Array:
    return x // y if x.dtype.kind in "iu" else x / y


MOVING = frozenset(
    {
        *(
            "Cast",
            "Concat",
            "Expand",
            "ConstantOfShape",
            "Gather",
            "Identity",
            "Reshape",
            "Slice",
            "Squeeze",
            "Unsqueeze",
            "Shape",
        ),
        *("CAST", "CONCATENATION", "EXPAND_DIMS", "PACK", "RESHAPE", "SQUEEZE", "STRIDED_SLICE"),
    }
)
"""Operators that move numbers, also the number of examples."""
ONNX: dict[str, Callable[..., Array]] = {
    "Add": numpy_function("add"),
    "And": numpy_function("logical_and"),
    "Cast": _cast,
    "Concat": joined,
    "ConstantOfShape": _filled,
    "DequantizeLinear": _dequantised,
    "Div": _divided,
    "Equal": numpy_function("equal"),
    "Expand": _expanded,
    "Gather": _gathered,
    "Greater": numpy_function("greater"),
    "GreaterOrEqual": numpy_function("greater_equal"),
    "Identity": lambda _, x: x,
    "Less": numpy_function("less"),
    "LessOrEqual": numpy_function("less_equal"),
    "Mul": numpy_function("multiply"),
    "Neg": numpy_function("negative"),
    "Not": numpy_function("logical_not"),
    "Or": numpy_function("logical_or"),
    "Pow": numpy_function("power"),
    "Range": _range,
    "Reciprocal": numpy_function("reciprocal"),
    "Reshape": _reshaped,
    "Shape": lambda _, x: numpy_function("array")(_, x.shape),
    "Slice": _sliced,
    "Sqrt": numpy_function("sqrt"),
    "Squeeze": _squeezed,
    "Sub": numpy_function("subtract"),
    "Transpose": _transposed,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueezed,
    "Where": numpy_function("where"),
}
