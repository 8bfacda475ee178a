"""The module of a forward pass in Rust: the tables, `run` with its calls, and the functions that it calls."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.calls import calls
from steelyard.device.forward.calls.call import Buffer, Curve, Pairs, Table
from steelyard.device.forward.calls.texts import own_functions, used
from steelyard.device.forward.math import rust as own
from steelyard.device.forward.math import sources
from steelyard.device.forward.rust import curves, kernels, layers
from steelyard.device.forward.spelling import FACTS, pointer, shape_text
from steelyard.device.symbols import in_comment
from steelyard.device.writers import rust

if TYPE_CHECKING:
    from steelyard.device.exported import Export
    from steelyard.device.forward.calls.call import Argument, Axes, Call
    from steelyard.device.forward.forward import Forward

TEXTS = {**kernels.TEXTS, **layers.TEXTS, **curves.TEXTS}
LINTS = "#[allow(dead_code, unused_variables, non_snake_case, clippy::all)]"
_SUMS = {"float32": ("f32", "own_sqrt"), "float64": ("f64", "own_sqrt64")}
_NOTE = """
/// Computes the outputs of one example.{inputs}
///
/// It writes all of each y, has no memory of its own, and what the scratch holds does not matter.
"""


def source(export: Export, forward: Forward, numbers: str) -> Iterator[str]:
    """Yield the module."""
    writing = _Writing(export, forward)
    lines = [*writing.run()]
    yield from rust.module(export, numbers)
    yield from _sizes(export, forward)
    counts = [pointer(forward, "input", each) for each in sorted(forward.integers)]
    yield _NOTE.format(inputs=f" {', '.join(counts)}: rows of a table, counted from 0." if counts else "")
    yield from lines
    yield from writing.functions()


def _sizes(export: Export, forward: Forward) -> Iterator[str]:
    for name, shape in shapes(export, forward).items():
        yield f"\n/// {shape_text(shape)}\n{LINTS}\npub const {name}: usize = {prod(shape)};\n"
    yield f"\n{LINTS}\npub const {export.options.name.upper()}_SCRATCH: usize = {max(forward.memory.size, 1)};\n"


def shapes(export: Export, forward: Forward) -> dict[str, tuple[int, ...]]:
    """Return the names of the constants with the sizes of all inputs and outputs, with their shapes."""
    program = forward.program
    given = {"IN": list(program.input_shapes), "OUT": [forward.shape(place) for place in program.outputs]}
    prefix = export.options.name.upper()
    return {
        f"{prefix}_{word}{number + 1 if len(listed) > 1 else ''}": shape
        for word, listed in given.items()
        for number, shape in enumerate(listed)
    }


class _Writing:
    """A forward pass that is written: the curves and functions that its calls need."""

    def __init__(self, export: Export, forward: Forward) -> None:
        self._export = export
        self._forward = forward
        self._curves: dict[str, str] = {}
        self._functions: set[str] = set()

    @property
    def _kernels(self) -> str:
        return f"{self._export.options.name}_kernels"

    def run(self) -> Iterator[str]:
        """Yield the function `run`."""
        forward, names = self._forward, list(shapes(self._export, self._forward))
        inputs, outputs = range(len(forward.program.input_names)), range(len(forward.program.outputs))
        parts = [
            f"{pointer(forward, 'input', each)}: &[{'i32' if each in forward.integers else 'f32'}; {names[each]}]"
            for each in inputs
        ]
        parts += [f"{pointer(forward, 'output', each)}: &mut [f32; {names[len(inputs) + each]}]" for each in outputs]
        parts.append(f"scratch: &mut [f32; {self._export.options.name.upper()}_SCRATCH]")
        yield f"{LINTS}\npub fn run({', '.join(parts)}) {{\n"
        for word in (*(pointer(forward, "output", each) for each in outputs), "scratch"):
            yield f"    let {word} = core::cell::Cell::from_mut(&mut {word}[..]).as_slice_of_cells();\n"
        for step, listed in calls(forward):
            yield f"    // {in_comment(step.name)}\n"
            yield from (f"    {self._called(call)};\n" for call in listed)
        yield "}\n"

    def functions(self) -> Iterator[str]:
        """Yield the module of the functions that `run` calls; it is complete when `run` is."""
        sums, root = _SUMS[self._forward.arithmetic.sums]
        bodies = list(self._curves.values())
        wanted = self._functions | {word for body in bodies for word in re.findall(r"\w+", body)}
        texts = [*bodies, *(TEXTS[name].replace("own_root", root) for name in used(TEXTS, wanted))]
        yield f"\n{LINTS}\nmod {self._kernels} {{\n"
        yield from _indented(kernels.HEAD)
        yield f"\n    type Sum = {sums};\n"
        for text in [*sources(own_functions(texts), own.TEXTS, "own", own.literal), *texts]:
            yield "\n"
            yield from _indented(text)
        yield "}\n"

    def _called(self, call: Call) -> str:
        self._functions.add(call.name)
        return f"{self._kernels}::{call.name}({', '.join(map(self._argument, call.arguments))})"

    def _argument(self, given: Argument) -> str:
        if isinstance(given, Buffer):
            return self._buffer(given)
        if isinstance(given, Table):
            return self._table(given)
        if isinstance(given, Curve):
            return f"{self._kernels}::{self._curve(given)}"
        return self._pairs(given) if isinstance(given, Pairs) else self._plain(given)

    def _plain(self, given: Axes | tuple[int, ...] | float) -> str:
        if isinstance(given, tuple):
            return f"{'&' * isinstance(given[0], tuple)}{_integers(given)}"
        return literal(given, self._forward.arithmetic.sums) if isinstance(given, float) else str(given).lower()

    def _pairs(self, given: Pairs) -> str:
        inputs = ", ".join(f"(&{self._argument(x)}, &{_integers(axes)})" for x, axes in given.inputs)
        return f"&[{inputs}], {curves.PAIRS[given.word]}"

    def _buffer(self, given: Buffer) -> str:
        place = given.place
        if place.memory == "scratch":
            return f"&scratch[{given.start}..{given.start + given.size}]"
        return f"&{pointer(self._forward, place.memory, place.number)}[{given.start or ''}..{given.start + given.size}]"

    def _table(self, given: Table) -> str:
        if not given.symbol:
            return "&[]"
        options = self._export.options
        wrapped = ".0" if options.align and options.text != "bin" else ""
        return f"&{given.symbol.upper()}{wrapped}[{given.offset or ''}..]"

    def _curve(self, given: Curve) -> str:
        """Return the name of the function of an activation, which is added where it is new."""
        values: Mapping[str, float] = {**FACTS, **given.settings}
        body = re.sub(r"\[(\w+)\]", lambda found: literal(values[found[1]], "float32"), curves.CURVES[given.word])
        if body not in self._curves:
            same = sum(name.startswith(f"pub fn {given.word}_") for name in self._curves.values())
            self._curves[body] = f"pub fn {given.word}_{same + 1}(x: f32) -> f32 {{\n    {body}\n}}\n"
        return self._curves[body].partition("fn ")[2].partition("(")[0]


def literal(value: float, dtype: str) -> str:
    """Return a float literal of Rust; infinity has none, but a name.

    >>> literal(0.1, "float32"), literal(2.0, "float64"), literal(float("inf"), "float32")
    ('0.100000001', '2.0', 'f32::INFINITY')
    """
    import numpy as np

    from steelyard.device import literals

    if math.isinf(value):
        return "f32::INFINITY" if value > 0 else "f32::NEG_INFINITY"
    return literals.decimals(np.array([value], dtype))[0]


def _integers(given: Sequence[object]) -> str:
    parts = (_integers(each) if isinstance(each, tuple) else str(each).lower() for each in given)
    return f"[{', '.join(parts)}]"


def _indented(text: str) -> Iterator[str]:
    yield from (f"    {line}\n" if line else "\n" for line in text.rstrip("\n").split("\n"))
