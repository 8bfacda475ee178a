"""Kernels: the functions of C that steps call.

The text of a kernel has words that are replaced: `REAL` and `SUM` are the types of numbers and of sums, `0.5R` a literal,
`expR` a function of that type. Its sizes are constants where all of its calls agree, so that a compiler sees one loop of fixed
length, and arguments where they differ, so that the code is there once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.device import literals
from steelyard.device.forward.math import sources
from steelyard.device.forward.math.c import TEXTS
from steelyard.device.forward.math.c import literal as own_literal

if TYPE_CHECKING:
    from steelyard.device.program.arithmetic import Arithmetic

_TYPES = {"float32": "float", "float64": "double"}
_ENDINGS = {"float32": "f", "float64": ""}


class Kernel(NamedTuple):
    """A function without its sizes: its `name`, its `parameters` with their types, its `body`, and the functions it `needs`."""

    name: str
    parameters: tuple[str, ...]
    body: str
    needs: tuple[Function, ...] = ()


class Function(NamedTuple):
    """A function that kernels call as `CALL_name(...)`: of one number `x`, such as an activation, or with a `head` of its own."""

    name: str
    body: str
    head: str = "REAL {name}(REAL x)"


class Call(NamedTuple):
    """A call of a kernel with its `arguments`, in the order of the parameters, and its sizes by name."""

    kernel: Kernel
    arguments: tuple[str, ...]
    sizes: Mapping[str, int]


def linked(body: str, word: str, function: Function | None) -> str:
    """Return a text in which a word calls a function; without one it is the number itself."""
    return body.replace(f"{word}(", f"CALL_{function.name}(" if function else "(")


def literal(value: float, dtype: str) -> str:
    """Return a number as C has it.

    >>> literal(0.1, "float32"), literal(2, "float64")
    ('0.100000001f', '2.0')
    """
    import numpy as np

    return literals.decimals(np.array([value], dtype), _ENDINGS[dtype])[0]


def spelled(text: str, arithmetic: Arithmetic, prefix: str = "") -> str:
    """Return a text of C with the types of an arithmetic, without casts that change nothing; own functions have the prefix."""
    real, wide = _TYPES[arithmetic.numbers], _TYPES[arithmetic.sums]
    text = text.replace("(REAL)-INFINITY", f"-{'INFINITY' if real == 'float' else 'HUGE_VAL'}").replace("TO_SUM", wide)
    if real == wide:
        text = text.replace("(SUM)", "").replace("(REAL)", "")
    text = re.sub(r"\bSUM\b", wide, re.sub(r"\bREAL\b", real, text))
    text = re.sub(r"\b(\d+\.\d+)R\b", rf"\1{_ENDINGS[arithmetic.numbers]}", text)
    text = re.sub(r"\b(\d+\.\d+)S\b", rf"\1{_ENDINGS[arithmetic.sums]}", text)
    if not arithmetic.libm:
        text = text.replace("sqrtS(", f"{prefix}_sqrt{'64' * (wide == 'double')}(")
        text = re.sub(rf"\b({'|'.join(TEXTS)})R\(", rf"{prefix}_\1(", text)
    text = re.sub(r"\b([a-z0-9]+)R\(", rf"\1{_ENDINGS[arithmetic.numbers]}(", text)
    return re.sub(r"\b([a-z0-9]+)S\(", rf"\1{_ENDINGS[arithmetic.sums]}(", text)


class Kernels:
    """The kernels of a net: their definitions, and how each is called."""

    def __init__(self, prefix: str, calls: Sequence[Call], arithmetic: Arithmetic) -> None:
        self._prefix = prefix
        self._arithmetic = arithmetic
        self._names = {} if arithmetic.libm else {f"{prefix}_{name}": name for name in TEXTS}
        self._functions: dict[Function, str] = {}
        self._calls: dict[Kernel, list[Call]] = {}
        for call in calls:
            self._calls.setdefault(call.kernel, []).append(call)
        self._kernels = {kernel: self._named(kernel.name, kernel.body) for kernel in self._calls}

    def _named(self, name: str, body: str) -> str:
        """Return a name that no other body has."""
        number, found = 1, f"{self._prefix}_{name}"
        while self._names.setdefault(found, body) != body:
            number += 1
            found = f"{self._prefix}_{name}_{number}"
        return found

    def definitions(self) -> Iterator[str]:
        """Yield the functions, each after those that it calls."""
        kernels = [*self._definitions()]
        if not self._arithmetic.libm:
            used = set(re.findall(rf"\b{self._prefix}_({'|'.join(TEXTS)})\(", "".join(kernels)))
            yield from (f"\n{text}" for text in sources(used, TEXTS, self._prefix, own_literal))
        yield from kernels

    def _definitions(self) -> Iterator[str]:
        for kernel, name in self._kernels.items():
            for each in kernel.needs:
                yield from self._function(each)
            varied = self._varied(kernel)
            body = self._linked(kernel.body, kernel.needs)
            for size, value in self._calls[kernel][0].sizes.items():
                if size not in varied:
                    body = re.sub(rf"\b{size}\b", str(value), body)
            parameters = [*kernel.parameters, *(f"size_t {size}" for size in varied)]
            yield self._written(f"static void {name}({', '.join(parameters)})", _plain(body))

    def _function(self, function: Function) -> Iterator[str]:
        if function in self._functions:
            return
        self._functions[function] = self._named(function.name, function.body)
        yield self._written(f"static {function.head.format(name=self._functions[function])}", function.body)

    def _linked(self, body: str, needs: Iterable[Function]) -> str:
        for each in needs:
            body = body.replace(f"CALL_{each.name}(", f"{self._functions[each]}(")
        return body

    def _written(self, head: str, body: str) -> str:
        lines = "".join(f"    {line}\n" if line else "\n" for line in body.strip("\n").split("\n"))
        return spelled(f"\n{head}\n{{\n{lines}}}\n", self._arithmetic, self._prefix)

    def _varied(self, kernel: Kernel) -> list[str]:
        """Return the sizes that are not the same in all calls, of those that the body reads."""
        calls, words = self._calls[kernel], set(re.findall(r"\w+", kernel.body))
        return [size for size in calls[0].sizes if size in words and len({call.sizes[size] for call in calls}) > 1]

    def called(self, call: Call) -> str:
        """Return a call."""
        sizes = [str(call.sizes[size]) for size in self._varied(call.kernel)]
        return f"{self._kernels[call.kernel]}({', '.join([*call.arguments, *sizes])});"


def _plain(body: str) -> str:
    """Return a body without factors of 1 and terms of 0, and without loops that run once and use no counter.

    >>> _plain("y[row * 1 + 0 + i] = x[2 * i];")
    'y[row + i] = x[2 * i];'
    >>> _plain("y[head / 1 * 24 + i % 1 * 4] = 0 * n - 0 * m;")
    'y[head * 24 + i % 1 * 4] = 0 * n - 0 * m;'
    """
    body = re.sub(r" [*/] 1(?![\w.])", "", body)
    body = re.sub(r"(?<![\w.])(?<!% )1 \* (?=[\w(])", "", body)
    return re.sub(r" [+-] 0(?![\w.]| [*/%])", "", body)
