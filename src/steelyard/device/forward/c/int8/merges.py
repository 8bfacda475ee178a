"""Operations code by code: sums and products of inputs, inputs that are joined or moved, tables, and softmax."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.c.kernels import Call, Kernel
from steelyard.device.int8.operations import SUM_SHIFT
from steelyard.device.program.shaping import Permute, Reshape, Select
from steelyard.device.program.windows import Pad, Upsample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.device.forward.c.int8.steps import At
    from steelyard.device.int8.operations import Added, Joined, Lookup, Moves, Multiplied, Requantization, Shares

    Axis = tuple[int, ...]
    """The length of a loop, then how far one step goes in each array, the output first."""

_SOFTMAX = """
for (size_t a = 0; a < outer; a++)
    for (size_t b = 0; b < inner; b++) {
        const int8_t *from = x + a * count * inner + b;
        int8_t *to = y + a * count * inner + b;
        int32_t most = -128;
        int64_t total = 0;
        for (size_t i = 0; i < count; i++)
            most = from[i * inner] > most ? from[i * inner] : most;
        for (size_t i = 0; i < count; i++)
            total += power[most - from[i * inner]];
        for (size_t i = 0; i < count; i++) {
            const int64_t code = ((int64_t)power[most - from[i * inner]] * 512 + total) / (total * 2) - 128;
            to[i * inner] = (int8_t)(code > 127 ? 127 : code);
        }
    }
"""
_BY_CHANNEL = """
for (size_t a = 0; a < outer; a++)
    for (size_t c = 0; c < channels; c++)
        for (size_t b = 0; b < inner; b++) {
            const size_t place = (a * channels + c) * inner + b;
            y[place] = table[c * 256 + (size_t)((int32_t)x[place] + 128)];
        }
"""


def added(at: At, operation: Added) -> list[Call]:
    """Return the call of a sum."""
    terms = []
    for place, negative in enumerate(operation.negative):
        facts = f"{int(operation.by.values[place])}, {int(operation.by.shifts[place])}"
        term = f"SCALE_scaled(((int32_t)INPUT{place} - ({operation.zeros[place]})) * {1 << SUM_SHIFT}, {facts})"
        terms.append(f"{'-' if negative else '+'} {term}" if place else term)
    sum_of = "\n    ".join(terms)
    return _by_code(at, "add", f"const int32_t sum = {sum_of};\nOUTPUT = (int8_t){_code(operation.requantization)};")


def multiplied(at: At, operation: Multiplied) -> list[Call]:
    """Return the call of a product."""
    first, second = (f"((int32_t)INPUT{place} - ({zero}))" for place, zero in enumerate(operation.zeros))
    body = f"const int32_t sum = {first} * {second};\nOUTPUT = (int8_t){_code(operation.requantization)};"
    return _by_code(at, "multiply", body)


def joined(at: At, operation: Joined) -> list[Call]:
    """Return the calls of inputs that are joined, one for each, or the one of their maximum or minimum."""
    codes = [_rescaled(place, each) for place, each in enumerate(operation.rescaled)]
    if operation.word != "concatenate":
        lines = [f"int32_t most = {codes[0]};"]
        sign = ">" if operation.word == "maximum" else "<"
        for code in codes[1:]:
            lines += ["{", f"    const int32_t code = {code};", f"    most = code {sign} most ? code : most;", "}"]
        return _by_code(at, operation.word, "\n".join([*lines, "OUTPUT = (int8_t)most;"]))
    calls, start = [], 0
    strides = _strides(at.own.shape)
    for place, code in enumerate(codes):
        shape = at.shape(place)
        axes = [(length, *each) for length, *each in zip(shape, strides, _strides(shape), strict=True)]
        body = f"OUTPUT = (int8_t)({code.replace(f'INPUT{place}', 'INPUT0')});"
        name = "join" if operation.rescaled[place] is None else "join_rescaled"
        if operation.rescaled[place] is not None or at.input(place) != at.output_from(start):
            calls.append(_loops(name, body, axes, (at.output_from(start), at.input(place))))
        start += shape[operation.axis - 1] * strides[operation.axis - 1]
    return calls


def _rescaled(place: int, each: tuple[int, Requantization] | None) -> str:
    return f"(int32_t)INPUT{place}" if each is None else _code(each[1], f"(int32_t)INPUT{place} - ({each[0]})")


def _code(out: Requantization, value: str = "sum") -> str:
    facts = (int(out.by.values[0]), int(out.by.shifts[0]), out.zero_point, out.lowest, out.highest)
    return f"SCALE_code({value}, {', '.join(map(str, facts))})"


def _by_code(at: At, name: str, body: str) -> list[Call]:
    """Return the call of an operation on inputs whose axes of length 1 are repeated."""
    made = at.own.shape
    steps = [_strides(made)]
    for nth in range(len(at.own.inputs)):
        shape = at.shape(nth)
        shape = (1,) * (len(made) - len(shape)) + shape
        steps.append(tuple(0 if length == 1 else step for length, step in zip(shape, _strides(shape), strict=True)))
    axes = list(zip(made, *steps, strict=True))
    return [_loops(name, body, axes, (at.output, *(at.input(nth) for nth in range(len(at.own.inputs)))))]


def moves(at: At, operation: Moves) -> list[Call]:
    """Return the calls that copy codes to other places."""
    move, shape, made = operation.operation, at.shape(), at.own.shape
    own, given = _strides(made), _strides(shape)
    if isinstance(move, Reshape):
        return [_loops("copy", "OUTPUT = INPUT0;", [(at.size, 1, 1)], (at.output, at.input()))]
    if isinstance(move, Permute):
        axes = [(made[place], own[place], given[axis - 1]) for place, axis in enumerate(move.axes)]
        return [_loops("copy", "OUTPUT = INPUT0;", axes, (at.output, at.input()))]
    if isinstance(move, Select):
        parts = [
            range(length)[part] if isinstance(part, slice) else range(part, part + 1)
            for part, length in zip(move.parts, shape, strict=True)
        ]
        start = sum(each.start * step for each, step in zip(parts, given, strict=True))
        lengths = [len(each) for each in parts]
        axes = [
            (len(each), out, each.step * step) for each, out, step in zip(parts, _strides(tuple(lengths)), given, strict=True)
        ]
        return [_loops("copy", "OUTPUT = INPUT0;", axes, (at.output, at.input_from(start)))]
    if isinstance(move, Pad):
        start = sum(before * step for (before, _), step in zip(move.padding, own, strict=True))
        axes = list(zip(shape, own, given, strict=True))
        fill = _loops("fill", f"OUTPUT = (int8_t)({int(move.value)});", [(at.size, 1)], (at.output,))
        return [fill, _loops("copy", "OUTPUT = INPUT0;", axes, (at.output_from(start), at.input()))]
    assert isinstance(move, Upsample)
    return [_loops("copy", "OUTPUT = INPUT0;", _upsampled(move, shape, made), (at.output, at.input()))]


def _upsampled(move: Upsample, shape: tuple[int, ...], made: tuple[int, ...]) -> list[Axis]:
    """Return an axis for the places of each spatial axis, and one for their repetitions."""
    own, given, axes = _strides(made), _strides(shape), list[tuple[int, ...]]()
    scale = (1, *move.scale) if move.channels == "first" else (*move.scale, 1)
    for length, times, out, step in zip(shape, scale, own, given, strict=True):
        axes += [(length, out * times, step), (times, out, 0)]
    return axes


def lookup(at: At, operation: Lookup) -> list[Call]:
    """Return the call of a table for each code, or for each code of a channel."""
    parameters = ("const int8_t *x", "int8_t *y", "const int8_t *table")
    arguments = (at.input(), at.output, at.table("table"))
    if operation.table.ndim == 1:
        body = "for (size_t i = 0; i < count; i++)\n    y[i] = table[(int32_t)x[i] + 128];"
        return [Call(Kernel("lookup", parameters, body), arguments, {"count": at.size})]
    shape, axis = at.own.shape, operation.axis
    sizes = {"outer": prod(shape[: axis - 1]), "channels": shape[axis - 1], "inner": prod(shape[axis:])}
    return [Call(Kernel("lookup_channels", parameters, _BY_CHANNEL), arguments, sizes)]


def shares(at: At, operation: Shares) -> list[Call]:
    """Return the call of a softmax."""
    shape, axis = at.own.shape, operation.axis
    sizes = {"outer": prod(shape[: axis - 1]), "count": shape[axis - 1], "inner": prod(shape[axis:])}
    kernel = Kernel("softmax", ("const int8_t *x", "int8_t *y", "const int32_t *power"), _SOFTMAX)
    return [Call(kernel, (at.input(), at.output, at.table("power")), sizes)]


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _loops(name: str, body: str, axes: Sequence[Axis], arrays: tuple[str, ...]) -> Call:
    """Return the call of nested loops over axes; those that follow each other in all arrays are one."""
    axes = merged(axes)
    lines, sizes = list[str](), dict[str, int]()
    for number, (length, *steps) in enumerate(axes):
        lines.append(f"{'    ' * number}for (size_t i{number} = 0; i{number} < n{number}; i{number}++)")
        sizes |= {f"n{number}": length} | {f"s{number}_{array}": step for array, step in enumerate(steps)}
    for array in range(len(arrays)):
        place = " + ".join(f"i{number} * s{number}_{array}" for number in range(len(axes)))
        body = body.replace("OUTPUT" if not array else f"INPUT{array - 1}", f"{'y' if not array else f'x{array}'}[{place}]")
    lines[-1] += " {"
    indent = "    " * len(axes)
    lines += [f"{indent}{line}" for line in body.split("\n")]
    lines.append(f"{'    ' * (len(axes) - 1)}}}")
    parameters = ("int8_t *y", *(f"const int8_t *x{nth + 1}" for nth in range(len(arrays) - 1)))
    return Call(Kernel(name, parameters, "\n".join(lines)), arrays, sizes)


def merged(axes: Sequence[Axis]) -> list[Axis]:
    """Return fewer axes: those of length 1 are left out, and those that follow each other in all arrays are one.

    >>> merged([(2, 12, 12), (3, 4, 4), (4, 1, 1)]), merged([(1, 9, 9), (3, 2, 1), (2, 1, 0)])
    ([(24, 1, 1)], [(3, 2, 1), (2, 1, 0)])
    """
    made: list[Axis] = []
    for length, *steps in axes:
        if length == 1:
            continue
        if made and all(outer == length * step for outer, step in zip(made[-1][1:], steps, strict=True)):
            made[-1] = (made[-1][0] * length, *steps)
        else:
            made.append((length, *steps))
    return made or [(1, *[1] * (len(axes[0]) - 1))] if axes else [(1, 1, 1)]
