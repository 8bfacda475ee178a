"""The operators of the main subgraph of a TensorFlow Lite model with the options that decide what they compute.

Each option has its place in the vtable of the operator's table of options (schema.fbs), and its type as in `struct`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from steelyard.core.computation import Computation, Operator

if TYPE_CHECKING:
    from steelyard.codecs.flatbuffers import Table
    from steelyard.core.graph import Setting
    from steelyard.core.weight import Weight

    Field = tuple[str, int, str]

_FUSED: dict[int, str] = {0: "", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH", 5: "SIGN_BIT"}
_STEPS: tuple[Field, ...] = (("padding", 4, "b"), ("stride_w", 6, "i"), ("stride_h", 8, "i"))
_POOL: tuple[Field, ...] = (*_STEPS, ("filter_width", 10, "i"), ("filter_height", 12, "i"), ("fused", 14, "b"))
_REDUCE: tuple[Field, ...] = (("keep_dims", 4, "b"),)
_BINARY: tuple[Field, ...] = (("fused", 4, "b"),)
OPERATORS: dict[int, tuple[str, tuple[Field, ...]]] = {
    0: ("ADD", _BINARY),
    1: ("AVERAGE_POOL_2D", _POOL),
    2: ("CONCATENATION", (("axis", 4, "i"), ("fused", 6, "b"))),
    3: ("CONV_2D", (*_STEPS, ("fused", 10, "b"), ("dilation_w", 12, "i"), ("dilation_h", 14, "i"))),
    4: ("DEPTHWISE_CONV_2D", (*_STEPS, ("fused", 12, "b"), ("dilation_w", 14, "i"), ("dilation_h", 16, "i"))),
    6: ("DEQUANTIZE", ()),
    9: ("FULLY_CONNECTED", (("fused", 4, "b"), ("weights_format", 6, "b"), ("keep_num_dims", 8, "b"))),
    14: ("LOGISTIC", ()),
    17: ("MAX_POOL_2D", _POOL),
    18: ("MUL", _BINARY),
    19: ("RELU", ()),
    20: ("RELU_N1_TO_1", ()),
    21: ("RELU6", ()),
    22: ("RESHAPE", (("new_shape", 4, "*i"),)),
    23: ("RESIZE_BILINEAR", (("align_corners", 8, "b"), ("half_pixel_centers", 10, "b"))),
    25: ("SOFTMAX", (("beta", 4, "f"),)),
    28: ("TANH", ()),
    34: ("PAD", ()),
    36: ("GATHER", (("axis", 4, "i"), ("batch_dims", 6, "i"))),
    39: ("TRANSPOSE", ()),
    40: ("MEAN", _REDUCE),
    41: ("SUB", _BINARY),
    42: ("DIV", _BINARY),
    43: ("SQUEEZE", (("squeeze_dims", 4, "*i"),)),
    44: ("UNIDIRECTIONAL_SEQUENCE_LSTM", ()),
    45: (
        "STRIDED_SLICE",
        tuple((name, 4 + 2 * nth, "i") for nth, name in enumerate(("begin", "end", "ellipsis", "new_axis", "shrink"))),
    ),
    47: ("EXP", ()),
    49: ("SPLIT", (("num_splits", 4, "i"),)),
    50: ("LOG_SOFTMAX", ()),
    53: ("CAST", (("in_data_type", 4, "b"), ("out_data_type", 6, "b"))),
    54: ("PRELU", ()),
    55: ("MAXIMUM", ()),
    57: ("MINIMUM", ()),
    58: ("LESS", ()),
    59: ("NEG", ()),
    60: ("PADV2", ()),
    65: ("SLICE", ()),
    67: ("TRANSPOSE_CONV", (*_STEPS, ("fused", 10, "b"))),
    69: ("TILE", ()),
    70: ("EXPAND_DIMS", ()),
    74: ("SUM", _REDUCE),
    75: ("SQRT", ()),
    76: ("RSQRT", ()),
    77: ("SHAPE", ()),
    82: ("REDUCE_MAX", _REDUCE),
    83: ("PACK", (("values_count", 4, "i"), ("axis", 6, "i"))),
    88: ("UNPACK", (("num", 4, "i"), ("axis", 6, "i"))),
    92: ("SQUARE", ()),
    97: ("RESIZE_NEAREST_NEIGHBOR", (("align_corners", 4, "b"), ("half_pixel_centers", 6, "b"))),
    98: ("LEAKY_RELU", (("alpha", 4, "f"),)),
    99: ("SQUARED_DIFFERENCE", _BINARY),
    100: ("MIRROR_PAD", (("mode", 4, "b"),)),
    101: ("ABS", ()),
    102: ("SPLIT_V", (("num_splits", 4, "i"),)),
    111: ("ELU", ()),
    119: ("WHILE", ()),
    117: ("HARD_SWISH", ()),
    123: ("SELECT_V2", ()),
    126: ("BATCH_MATMUL", (("adj_x", 4, "b"), ("adj_y", 6, "b"))),
    130: ("BROADCAST_TO", ()),
    150: ("GELU", (("approximate", 4, "B"),)),
}
"""The operators whose options are read, by their codes."""
_QUANTISED = (3, 7, 9, 17, 19, 20)
"""The types of quantised numbers."""
_USUAL = {"dilation_w": 1, "dilation_h": 1}


def computation_of(model: Table, weights: Mapping[tuple[int, int], Weight]) -> Computation:
    """Return the operators of the main subgraph; `weights` are the constants by the indices of subgraph and tensor.

    An operator that computes with quantised numbers has the attribute `quantised`, one of another subgraph is not listed.
    """
    codes = [max(code.number(4, "b"), code.number(10, "i")) for code in model.tables(6)]
    main = next(iter(model.tables(8)), None)
    if main is None:
        return Computation("TFLite", 0, (), {}, (), {})
    tensors = list(main.tables(4))
    names = _names([tensor.text(10) for tensor in tensors])
    constants = {name: weights[0, index] for index, name in enumerate(names) if (0, index) in weights}
    coded = {name for name, tensor in zip(names, tensors, strict=True) if tensor.number(6, "b") in _QUANTISED}
    operators = []
    for table in main.tables(10):
        given, made = (
            [names[index] if 0 <= index < len(names) else "" for index in table.numbers(field, "i")] for field in (6, 8)
        )
        number = table.number(4, "I")
        word, fields = OPERATORS.get(codes[number] if number < len(codes) else -1, ("", ()))
        attributes = _attributes(table.table(12), fields)
        if any(name in coded and name not in constants for name in (*given, *made)):
            attributes["quantised"] = True
        word = word or f"operator {codes[number] if number < len(codes) else number}"
        operators.append(Operator(next(iter(made), word), word, tuple(given), tuple(made), attributes))
    inputs = {names[index]: _shape(tensors[index]) for index in main.numbers(6, "i") if 0 <= index < len(names)}
    outputs = tuple(names[index] for index in main.numbers(8, "i") if 0 <= index < len(names))
    return Computation("TFLite", 0, tuple(operators), inputs, outputs, constants)


def _names(texts: list[str]) -> list[str]:
    """Return the names of tensors, which may repeat, as different ones."""
    seen: dict[str, int] = {}
    for index, text in enumerate(texts):
        seen.setdefault(text or f"tensor {index}", index)
    return [text if text and seen[text] == index else f"{text or 'tensor'} {index}" for index, text in enumerate(texts)]


def _shape(tensor: Table) -> tuple[int | None, ...]:
    """Return the shape of an input: the signature where some lengths are open."""
    lengths = tensor.numbers(18, "i") or tensor.numbers(4, "i")
    return tuple(None if length < 0 else length for length in lengths)


def _attributes(options: Table | None, fields: tuple[Field, ...]) -> dict[str, Setting]:
    made: dict[str, Setting] = {}
    for name, place, code in fields:
        if code.startswith("*"):
            made[name] = options.numbers(place, code[1:]) if options is not None else ()
        elif code == "f":
            made[name] = _real(options, place)
        else:
            usual = _USUAL.get(name, 0)
            made[name] = usual if options is None else options.number(place, code, usual)
    if "fused" in made:
        made["fused"] = _FUSED.get(int(str(made["fused"])), "unknown")
    return made


def _real(options: Table | None, field: int) -> float:
    import struct

    place = options.position(field, 4) if options is not None else 0
    return float(struct.unpack("<f", options.data.read(place, 4))[0]) if options is not None and place else 0.0
