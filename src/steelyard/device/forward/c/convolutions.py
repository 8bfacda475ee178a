"""Convolutions and transposed convolutions over any number of axes.

A sum has the order of the kernel's axes after the first, channels before places, wherever the channels of the image are.
Places in the padding are left out: they would add zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.device.forward.c.kernels import Call, Kernel
from steelyard.device.forward.c.loops import indented, nested, row_major

if TYPE_CHECKING:
    from steelyard.device.forward.c.steps import At
    from steelyard.device.program.linear import Conv, ConvTranspose


def conv(at: At, operation: Conv) -> list[Call]:
    """Return the call for a convolution."""
    outs, ins, *size = operation.kernel.shape
    last, groups = operation.channels == "last", operation.groups
    space, lengths = at.space(operation.channels)
    axes = list(zip(space, lengths, size, operation.strides, operation.dilation, operation.padding, strict=True))
    checked = [
        before > 0 or (out - 1) * step + (width - 1) * gap - before >= length
        for length, out, width, step, gap, (before, _) in axes
    ]
    kind = "" if groups == 1 else "_depthwise" if ins == 1 and outs == groups else "_grouped"
    body = _body(len(size), checked, kind, last=last, biased=operation.bias is not None)
    words = ["_last" * last, kind, "_padded" * any(checked), "_plain" * (operation.bias is None)]
    sizes = {"outs": outs, "ins": ins}
    if kind:
        sizes |= {"channels": groups * ins}
    if kind == "_grouped":
        sizes |= {"per": outs // groups}
    for axis, (length, out, width, step, gap, (before, _)) in enumerate(axes):
        sizes |= {
            f"in{axis}": length,
            f"out{axis}": out,
            f"k{axis}": width,
            f"s{axis}": step,
            f"d{axis}": gap,
            f"p{axis}": before,
        }
    return [_call(at, f"conv{len(size)}d{''.join(words)}", body, sizes, biased=operation.bias is not None)]


def _body(rank: int, checked: Sequence[bool], kind: str, *, last: bool, biased: bool) -> str:
    axes = range(rank)
    channel = {"": "c", "_depthwise": "o", "_grouped": "o / per * ins + c"}[kind]
    channels = "channels" if kind else "ins"
    space = [f"r{axis}" for axis in axes]
    place, lengths = [f"({channel})" if " " in channel else channel, *space], ["", *(f"in{axis}" for axis in axes)]
    if last:
        place, lengths = [*place[1:], place[0]], [*lengths, channels]
        lengths = lengths[1:]
    channel_of_kernel = [] if kind == "_depthwise" else [("c", "ins")]
    of_kernel = [("o", ""), *channel_of_kernel, *((f"w{axis}", f"k{axis}") for axis in axes)]
    weight = row_major([word for word, _ in of_kernel], [length for _, length in of_kernel])
    term = f"sum += (SUM)x[{row_major(place, lengths)}] * (SUM)kernel[{weight}];"
    inner = [term]
    for axis in reversed(axes):
        check = [f"if (r{axis} >= in{axis})", "    continue;"] if checked[axis] else []
        inner = [
            f"for (size_t w{axis} = 0; w{axis} < k{axis}; w{axis}++) {{",
            *indented([f"const size_t r{axis} = a{axis} * s{axis} + w{axis} * d{axis} - p{axis};", *check, *inner], 1),
            "}",
        ]
    if kind != "_depthwise":
        inner = ["for (size_t c = 0; c < ins; c++) {", *indented(inner, 1), "}"]
    return _around(rank, inner, last=last, biased=biased)


def _around(rank: int, inner: Sequence[str], *, last: bool, biased: bool) -> str:
    """Return loops over the outputs around the terms of a sum."""
    axes = range(rank)
    place, lengths = ["o", *(f"a{axis}" for axis in axes)], ["outs", *(f"out{axis}" for axis in axes)]
    if last:
        place, lengths = [*place[1:], "o"], [*lengths[1:], "outs"]
    start = "(SUM)bias[o]" if biased else "0.0S"
    lines = [f"SUM sum = {start};", *inner, f"y[{row_major(place, lengths)}] = (REAL)sum;"]
    return "\n".join(nested(list(zip(place, lengths, strict=True)), lines))


def conv_transpose(at: At, operation: ConvTranspose) -> list[Call]:
    """Return the call for a transposed convolution."""
    ins, per, *size = operation.kernel.shape
    last, groups, biased = operation.channels == "last", operation.groups, operation.bias is not None
    space, lengths = at.space(operation.channels)
    sizes = {"outs": per * groups, "ins": ins // groups}
    if groups > 1:
        sizes |= {"per": per, "channels": ins}
    each = zip(space, lengths, size, operation.strides, operation.dilation, operation.cropped, strict=True)
    for axis, (length, out, width, step, gap, crop) in enumerate(each):
        sizes |= {f"in{axis}": length, f"out{axis}": out, f"k{axis}": width, f"s{axis}": step, f"d{axis}": gap, f"p{axis}": crop}
    body = _transposed(len(size), grouped=groups > 1, last=last, biased=biased)
    words = ["_last" * last, "_grouped" * (groups > 1), "_plain" * (not biased)]
    return [_call(at, f"conv_transpose{len(size)}d{''.join(words)}", body, sizes, biased=biased)]


def _transposed(rank: int, *, grouped: bool, last: bool, biased: bool) -> str:
    axes = range(rank)
    channel = "(o / per * ins + c)" if grouped else "c"
    own, per = ("o % per", "per") if grouped else ("o", "outs")
    place, lengths = [channel, *(f"t{axis} / s{axis}" for axis in axes)], ["", *(f"in{axis}" for axis in axes)]
    if last:
        place, lengths = [*place[1:], channel], [*lengths[1:], "channels" if grouped else "ins"]
    kernel = row_major([channel, own, *(f"w{axis}" for axis in axes)], ["", per, *(f"k{axis}" for axis in axes)])
    inner = [f"sum += (SUM)x[{row_major(place, lengths)}] * (SUM)kernel[{kernel}];"]
    for axis in reversed(axes):
        inner = [
            f"for (size_t w{axis} = 0; w{axis} < k{axis}; w{axis}++) {{",
            f"    const size_t t{axis} = a{axis} + p{axis} - w{axis} * d{axis};",
            f"    if (t{axis} % s{axis} != 0 || t{axis} / s{axis} >= in{axis})",
            "        continue;",
            *indented(inner, 1),
            "}",
        ]
    inner = ["for (size_t c = 0; c < ins; c++) {", *indented(inner, 1), "}"]
    return _around(rank, inner, last=last, biased=biased)


def _call(at: At, name: str, body: str, sizes: dict[str, int], *, biased: bool) -> Call:
    parameters = ("const REAL *x", "REAL *y", "const REAL *kernel", *["const REAL *bias"] * biased)
    arguments = (at.input(), at.output, at.table("kernel"), *([at.table("bias")] if biased else []))
    return Call(Kernel(name, parameters, body), arguments, sizes)
