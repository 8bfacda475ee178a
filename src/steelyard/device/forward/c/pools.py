"""Pools over windows, and over all places of a channel."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.c.kernels import Call, Kernel
from steelyard.device.forward.c.loops import indented, nested, row_major

if TYPE_CHECKING:
    from steelyard.device.forward.c.steps import At
    from steelyard.device.program.windows import GlobalPool, Pool

_GLOBAL_AVERAGE = """
for (size_t c = 0; c < channels; c++) {
    SUM sum = 0.0S;
    for (size_t i = 0; i < count; i++)
        sum += (SUM)x[c * wide + i * step];
    y[c] = (REAL)(sum / (TO_SUM)count);
}
"""
_GLOBAL_MAX = """
for (size_t c = 0; c < channels; c++) {
    REAL most = x[c * wide];
    for (size_t i = 1; i < count; i++)
        if (x[c * wide + i * step] > most)
            most = x[c * wide + i * step];
    y[c] = most;
}
"""


def pool(at: At, operation: Pool) -> list[Call]:
    """Return the call for a pool over windows."""
    last, rank = operation.channels == "last", len(operation.size)
    space, lengths = at.space(operation.channels)
    axes = zip(space, lengths, operation.size, operation.strides, operation.dilation, operation.padding, strict=True)
    sizes = {"channels": at.own.shape[-1 if last else 0]}
    checked = []
    for axis, (length, out, width, step, gap, (before, _)) in enumerate(axes):
        sizes |= {
            f"in{axis}": length,
            f"out{axis}": out,
            f"k{axis}": width,
            f"s{axis}": step,
            f"d{axis}": gap,
            f"p{axis}": before,
        }
        checked.append(before > 0 or (out - 1) * step + (width - 1) * gap - before >= length)
    counts = operation.word == "average" and not operation.count_padding and any(checked)
    if operation.word == "average" and not counts:
        sizes |= {"area": prod(operation.size)}
    body = _body(rank, checked, operation.word, counts=counts, last=last)
    name = f"{operation.word}_pool{rank}d{'_last' * last}{'_padded' * any(checked)}{'_counted' * counts}"
    return [Call(Kernel(name, ("const REAL *x", "REAL *y"), body), (at.input(), at.output), sizes)]


def _body(rank: int, checked: list[bool], word: str, *, counts: bool, last: bool) -> str:
    axes = range(rank)
    read, lengths = ["c", *(f"r{axis}" for axis in axes)], ["channels", *(f"in{axis}" for axis in axes)]
    made, ends = ["c", *(f"a{axis}" for axis in axes)], ["channels", *(f"out{axis}" for axis in axes)]
    if last:
        read, lengths, made, ends = ([*each[1:], each[0]] for each in (read, lengths, made, ends))
    number = f"x[{row_major(read, lengths)}]"
    inner = [f"if ({number} > most)", f"    most = {number};"] if word == "max" else [f"sum += (SUM){number};"]
    inner += ["count++;"] * counts
    for axis in reversed(axes):
        check = [f"if (r{axis} >= in{axis})", "    continue;"] if checked[axis] else []
        inner = [
            f"for (size_t w{axis} = 0; w{axis} < k{axis}; w{axis}++) {{",
            *indented([f"const size_t r{axis} = a{axis} * s{axis} + w{axis} * d{axis} - p{axis};", *check, *inner], 1),
            "}",
        ]
    place = f"y[{row_major(made, ends)}]"
    if word == "max":
        lines = ["REAL most = (REAL)-INFINITY;", *inner, f"{place} = most;"]
    else:
        divisor = "count" if counts else "area"
        lines = ["SUM sum = 0.0S;", *["size_t count = 0;"] * counts, *inner, f"{place} = (REAL)(sum / (TO_SUM){divisor});"]
    return "\n".join(nested(list(zip(made, ends, strict=True)), lines))


def global_pool(at: At, operation: GlobalPool) -> list[Call]:
    """Return the call for a pool over all places of each channel."""
    shape, last = at.shape(), operation.channels == "last"
    channels = shape[-1 if last else 0]
    count = prod(shape) // channels
    sizes = {"channels": channels, "count": count, "wide": 1 if last else count, "step": channels if last else 1}
    body = _GLOBAL_MAX if operation.word == "max" else _GLOBAL_AVERAGE
    kernel = Kernel(f"global_{operation.word}", ("const REAL *x", "REAL *y"), body)
    return [Call(kernel, (at.input(), at.output), sizes)]
