"""Operations that move numbers, or combine those of several inputs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.c.kernels import Call, Kernel, literal
from steelyard.device.forward.c.loops import nested, row_major

if TYPE_CHECKING:
    from steelyard.device.forward.c.steps import At
    from steelyard.device.program.linear import Embedding
    from steelyard.device.program.resampling import Resample
    from steelyard.device.program.shaping import Combine, Concatenate, Constant, Permute, Reshape, Scale, Select
    from steelyard.device.program.windows import Pad, Upsample

    Axis = tuple[int, int, int]
    """The length of an axis, and the steps along it in the input and in the output."""

_SIGNS = {"add": "+", "average": "+", "subtract": "-", "multiply": "*", "divide": "/"}
_EMBEDDING = """
for (size_t row = 0; row < rows; row++)
    for (size_t i = 0; i < outs; i++)
        y[row * outs + i] = table[(size_t)x[row] * outs + i];
"""


def strides(shape: Sequence[int]) -> list[int]:
    """Return the steps of row-major axes."""
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def copied(source: str, target: str, axes: Sequence[Axis]) -> Call:
    """Return a call that copies numbers along axes; axes that follow each other in both places are one."""
    merged: list[Axis] = []
    for length, read, written in axes:
        if length == 1:
            continue
        if merged and merged[-1][1:] == (length * read, length * written):
            merged[-1] = (merged[-1][0] * length, read, written)
        else:
            merged.append((length, read, written))
    merged = merged or [(1, 1, 1)]
    counters = [f"i{at}" for at in range(len(merged))]
    sides = (" + ".join(f"i{at} * {side}{at}" for at in range(len(merged))) for side in ("a", "b"))
    read_at, written_at = sides
    loops = [(counter, f"n{at}") for at, counter in enumerate(counters)]
    body = "\n".join(nested(loops, [f"y[{written_at}] = x[{read_at}];"]))
    sizes = {f"{word}{at}": value for at, axis in enumerate(merged) for word, value in zip("nab", axis, strict=True)}
    return Call(Kernel(f"copy{len(merged)}", ("const REAL *x", "REAL *y"), body), (source, target), sizes)


def reshape(at: At, _: Reshape) -> list[Call]:
    """Return the call for numbers that must be in another place."""
    return [copied(at.input(), at.output, [(at.size, 1, 1)])]


def constant(at: At, _: Constant) -> list[Call]:
    """Return the call for a table that is an output."""
    return [copied(at.table("values"), at.output, [(at.size, 1, 1)])]


def select(at: At, operation: Select) -> list[Call]:
    """Return the call for a selection."""
    start, axes = 0, list[tuple[int, int]]()
    for part, length, step in zip(operation.parts, at.shape(), strides(at.shape()), strict=True):
        each = range(part, part + 1) if isinstance(part, int) else range(length)[part]
        start += each.start * step
        axes.append((len(each), each.step * step))
    made = strides([length for length, _ in axes])
    return [copied(at.shifted(at.input(), start), at.output, [(*axis, step) for axis, step in zip(axes, made, strict=True)])]


def permute(at: At, operation: Permute) -> list[Call]:
    """Return the call for another order of the axes."""
    shape, steps = at.shape(), strides(at.shape())
    axes = [(shape[axis - 1], steps[axis - 1]) for axis in operation.axes]
    return [copied(at.input(), at.output, [(*axis, step) for axis, step in zip(axes, strides(at.own.shape), strict=True)])]


def concatenate(at: At, operation: Concatenate) -> list[Call]:
    """Return a call for each input that is not in its place already."""
    calls, start, axis = [], 0, operation.axis - 1
    outer, inner = prod(at.own.shape[:axis]), prod(at.own.shape[axis + 1 :])
    for nth in range(len(at.own.inputs)):
        width = at.shape(nth)[axis] * inner
        axes = [(outer, width, at.own.shape[axis] * inner), (width, 1, 1)]
        if at.place(nth) != at.forward.place(at.step).after(start):
            calls.append(copied(at.input(nth), at.shifted(at.output, start), axes))
        start += width
    return calls


def pad(at: At, operation: Pad) -> list[Call]:
    """Return the calls that fill the output, and copy the input into it."""
    if operation.mode != "constant":
        return [_reflected(at, operation)]
    fill = Kernel("fill", ("REAL *y", "REAL value"), "for (size_t i = 0; i < count; i++)\n    y[i] = value;")
    value = literal(operation.value, at.arithmetic.numbers)
    made = strides(at.own.shape)
    start = sum(before * step for (before, _), step in zip(operation.padding, made, strict=True))
    axes = list(zip(at.shape(), strides(at.shape()), made, strict=True))
    return [Call(fill, (at.output, value), {"count": at.size}), copied(at.input(), at.shifted(at.output, start), axes)]


_BEYOND = {
    "edge": ("0", "n{0} - 1"),
    "reflect": ("b{0} - i{0}", "2 * n{0} - 2 - r{0}"),
    "symmetric": ("b{0} - 1 - i{0}", "2 * n{0} - 1 - r{0}"),
    "wrap": ("n{0} - b{0} + i{0}", "r{0} - n{0}"),
}
"""The places of an image that the places before and after it have, by the mode of a padding."""


def _reflected(at: At, operation: Pad) -> Call:
    """Return the call for a padding with numbers of the image."""
    axes = range(len(at.shape()))
    before, after = _BEYOND[operation.mode]
    lines = [f"const size_t r{axis} = i{axis} - b{axis};" for axis in axes]
    for axis, (start, end) in enumerate(operation.padding):  # a comparison that is always true has a warning
        first = f"i{axis} < b{axis} ? {before.format(axis)} : " if start else ""
        last = f" < n{axis} ? r{axis} : {after.format(axis)}" if end else ""
        lines.append(f"const size_t j{axis} = {first}r{axis}{last};")
    read = row_major([f"j{axis}" for axis in axes], [f"n{axis}" for axis in axes])
    written = row_major([f"i{axis}" for axis in axes], [f"m{axis}" for axis in axes])
    body = "\n".join(nested([(f"i{axis}", f"m{axis}") for axis in axes], [*lines, f"y[{written}] = x[{read}];"]))
    sizes = {f"n{axis}": length for axis, length in enumerate(at.shape())}
    sizes |= {f"m{axis}": length for axis, length in enumerate(at.own.shape)}
    sizes |= {f"b{axis}": start for axis, (start, _) in enumerate(operation.padding)}
    kernel = Kernel(f"pad_{operation.mode}{len(at.shape())}d", ("const REAL *x", "REAL *y"), body)
    return Call(kernel, (at.input(), at.output), sizes)


_RESAMPLE = """
for (size_t o = 0; o < outer; o++)
    for (size_t c = 0; c < made; c++)
        for (size_t i = 0; i < inner; i++) {
            SUM sum = 0.0S;
            for (size_t t = 0; t < terms; t++)
                sum += (SUM)x[(o * length + places[c * terms + t]) * inner + i] * (SUM)shares[c * terms + t];
            y[(o * made + c) * inner + i] = (REAL)sum;
        }
"""


def resample(at: At, operation: Resample) -> list[Call]:
    """Return the call for sums of places along an axis."""
    shape, axis = at.shape(), operation.axis
    made, terms = operation.places.shape
    sizes = {
        "outer": prod(shape[: axis - 1]),
        "length": shape[axis - 1],
        "inner": prod(shape[axis:]),
        "made": made,
        "terms": terms,
    }
    parameters = ("const REAL *x", "REAL *y", "const uint16_t *places", "const REAL *shares")
    arguments = (at.input(), at.output, at.table("places"), at.table("shares"))
    return [Call(Kernel("resample", parameters, _RESAMPLE), arguments, sizes)]


def upsample(at: At, operation: Upsample) -> list[Call]:
    """Return the call for places that are repeated."""
    shape, steps, made = at.shape(), strides(at.shape()), strides(at.own.shape)
    scale = (1, *operation.scale) if operation.channels == "first" else (*operation.scale, 1)
    axes: list[Axis] = []
    for length, times, step, wide in zip(shape, scale, steps, made, strict=True):
        axes += [(length, step, wide * times), (times, 0, wide)]
    return [copied(at.input(), at.output, axes)]


def embedding(at: At, operation: Embedding) -> list[Call]:
    """Return the call for rows of a table."""
    outs = operation.table.shape[1]
    kernel = Kernel("rows", ("const int32_t *x", "REAL *y", "const REAL *table"), _EMBEDDING)
    return [Call(kernel, (at.input(), at.output, at.table("table")), {"rows": at.size // outs, "outs": outs})]


def combined(word: str, terms: Sequence[str]) -> str:
    """Return the expression for numbers that are combined in their order."""
    made = terms[0]
    for term in terms[1:]:
        if word in _SIGNS:
            made = f"({made}) {_SIGNS[word]} {term}" if " " in made and _SIGNS[word] in "*/" else f"{made} {_SIGNS[word]} {term}"
        else:
            made = f"({made}) {'>' if word == 'maximum' else '<'} {term} ? ({made}) : {term}"
    return made


def combine(at: At, operation: Combine) -> list[Call]:
    """Return the call for inputs that are combined; axes of length 1 are repeated."""
    count, shape = len(at.own.inputs), at.own.shape
    names = [f"x{nth}" for nth in range(count)]
    parameters = (*(f"const REAL *{name}" for name in names), "REAL *y")
    arguments = (*map(at.input, range(count)), at.output)
    if all(at.shape(nth) == shape for nth in range(count)):
        shape, given = (at.size,), [[1]] * count
    else:
        each = [(1,) * (len(shape) - len(at.shape(nth))) + at.shape(nth) for nth in range(count)]
        given = [[step if length > 1 else 0 for length, step in zip(one, strides(one), strict=True)] for one in each]
    axes = range(len(shape))
    terms = [f"{name}[{' + '.join(f'i{axis} * s{nth}{axis}' for axis in axes)}]" for nth, name in enumerate(names)]
    value = combined(operation.word, terms)
    if operation.word == "average":
        value = f"({value}) / {literal(count, at.arithmetic.numbers)}"
    where = " + ".join(f"i{axis} * b{axis}" for axis in axes)
    body = "\n".join(nested([(f"i{axis}", f"n{axis}") for axis in axes], [f"y[{where}] = {value};"]))
    sizes = {f"n{axis}": length for axis, length in enumerate(shape)} | {
        f"b{axis}": step for axis, step in enumerate(strides(shape))
    }
    sizes |= {f"s{nth}{axis}": step for nth, steps in enumerate(given) for axis, step in enumerate(steps)}
    return [Call(Kernel(f"{operation.word}{count}_{len(shape)}d", parameters, body), arguments, sizes)]


def scale(at: At, operation: Scale) -> list[Call]:
    """Return the call for numbers that are combined with one."""
    body = f"for (size_t i = 0; i < count; i++)\n    y[i] = {combined(operation.word, ['x[i]', 'value'])};"
    kernel = Kernel(f"{operation.word}_number", ("const REAL *x", "REAL *y", "REAL value"), body)
    return [Call(kernel, (at.input(), at.output, literal(operation.value, at.arithmetic.numbers)), {"count": at.size})]
