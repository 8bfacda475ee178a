"""The module of a forward pass in Python: the tables, `run` with its calls, and the functions that it calls."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.calls import calls
from steelyard.device.forward.calls.call import Buffer, Curve, Pairs, Table
from steelyard.device.forward.calls.texts import own_functions, used
from steelyard.device.forward.math import python as own
from steelyard.device.forward.math import sources
from steelyard.device.forward.micropython import curves, kernels, layers
from steelyard.device.forward.spelling import FACTS, pointer
from steelyard.device.symbols import in_comment
from steelyard.device.writers import micropython

if TYPE_CHECKING:
    from steelyard.device.exported import Export
    from steelyard.device.forward.calls.call import Argument, Call
    from steelyard.device.forward.forward import Forward

TEXTS = {**kernels.TEXTS, **layers.TEXTS, **curves.TEXTS}
_INFINITY = "own_infinity"


def source(export: Export, forward: Forward, numbers: str) -> Iterator[str]:
    """Yield the module."""
    writing = _Writing(forward)
    lines = [*writing.run()]
    functions = [*writing.functions()]
    yield from micropython.module(export, numbers)
    yield f'\nfrom math import frexp, ldexp, sqrt\n\n{_INFINITY} = float("inf")\n{writing.constants.definition()}\n\n\n'
    yield from lines
    for text in functions:
        yield f"\n\n{text}"


class _Writing:
    """A forward pass that is written: the curves, functions and constants that its calls need."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._curves: dict[str, str] = {}
        self._functions: set[str] = set()
        self.constants = own.Constants("own_c")

    def run(self) -> Iterator[str]:
        """Yield the function `run`."""
        forward = self._forward
        program = forward.program
        inputs = [pointer(forward, "input", each) for each in range(len(program.input_names))]
        outputs = [pointer(forward, "output", each) for each in range(len(program.outputs))]
        yield f"def run({', '.join(inputs)}):\n"
        yield '    """Return the outputs of one example, row by row: arrays of float32."""\n'
        for number, word in enumerate(inputs):
            code = "i" if number in forward.integers else "f"
            yield f'    {word} = memoryview(array("{code}", {word}))\n'
        shapes = [forward.shape(place) for place in program.outputs]
        sizes = zip((*outputs, "scratch"), (*map(prod, shapes), max(forward.memory.size, 1)), strict=True)
        yield from (f'    {word} = memoryview(array("f", bytes({4 * size})))\n' for word, size in sizes)
        for step, listed in calls(forward):
            yield f"    # {in_comment(step.name)}\n"
            yield from (f"    {self._called(call)}\n" for call in listed)
        made = [f'array("f", {word})' for word in outputs]
        yield f"    return {', '.join(made)}\n"

    def functions(self) -> Iterator[str]:
        """Yield the functions that `run` calls; they are complete when `run` is."""
        bodies = list(self._curves.values())
        wanted = self._functions | {word for body in bodies for word in re.findall(r"\w+", body)}
        texts = [*bodies, *(TEXTS[name] for name in used(TEXTS, wanted))]
        yield from (text for text in sources(own_functions(texts), own.TEXTS, "own", self.constants.literal) if text)
        yield from texts

    def _called(self, call: Call) -> str:
        self._functions.add(call.name)
        return f"{call.name}({', '.join(map(self._argument, call.arguments))})"

    def _argument(self, given: Argument) -> str:
        if isinstance(given, Buffer):
            word = "scratch" if given.place.memory == "scratch" else self._pointer(given)
            return f"{word}[{given.start}:{given.start + given.size}]"
        if isinstance(given, Table):
            return self._table(given)
        if isinstance(given, Curve):
            return self._curve(given)
        return self._pairs(given) if isinstance(given, Pairs) else self._plain(given)

    def _pointer(self, given: Buffer) -> str:
        return pointer(self._forward, given.place.memory, given.place.number)

    def _table(self, given: Table) -> str:
        if given.offset:
            return f"memoryview({given.symbol})[{given.offset}:]"
        return given.symbol or "()"

    def _pairs(self, given: Pairs) -> str:
        inputs = ", ".join(f"({self._argument(x)}, {axes!r})" for x, axes in given.inputs)
        return f"({inputs}), {curves.PAIRS[given.word]}"

    def _plain(self, given: object) -> str:
        return self._literal(given) if isinstance(given, float) else repr(given)

    def _literal(self, value: float) -> str:
        if math.isinf(value):
            return _INFINITY if value > 0 else f"-{_INFINITY}"
        return self.constants.literal(value)

    def _curve(self, given: Curve) -> str:
        """Return the name of the function of an activation, which is added where it is new."""
        values: Mapping[str, float] = {**FACTS, **given.settings}
        body = re.sub(r"\[([A-Za-z_]\w*)\]", lambda found: self._literal(values[found[1]]), curves.CURVES[given.word])
        if body not in self._curves:
            same = sum(text.startswith(f"def {given.word}_") for text in self._curves.values())
            self._curves[body] = f"def {given.word}_{same + 1}(x):\n    return {body}\n"
        return self._curves[body].partition("def ")[2].partition("(")[0]
