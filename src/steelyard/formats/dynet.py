"""DyNet: a text of the parameters of a collection, each a line of facts and a line of numbers, the first axis innermost.

    #Parameter# /encoder/_0 {2,3} 97 ZERO_GRAD
    +7.45509207e-01 -3.52876633e-01 ...
    #LookupParameter# /_2 {3,5} 241 FULL_GRAD

The facts are a name, a shape, the bytes of the lines that follow, and whether a line of the gradient is the second of them.
A table for look-ups has its rows along the last axis, and is listed with that axis first, as DyNet's own arrays have it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_possible
from steelyard.codecs.pages import Pages
from steelyard.core.readers import ByColumns
from steelyard.core.roles import layer_of
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable, quoted

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array
    from steelyard.storage.source import Source

SUFFIXES = ()

_FACTS = re.compile(rb"#(Lookup)?Parameter# (/\S*) \{(\d{1,18}(?:,\d{1,18})*)\} (\d{1,18}) (ZERO|FULL)_GRAD")
_LINE = 1 << 12
_COST = 1500
"""bytes of memory that a parameter takes"""
_FIXED = 16
"""bytes of a number, "+7.45509207e-01 ", as DyNet writes them since version 2"""


def sniff(source: Source) -> bool:
    """Recognise the first line."""
    return _FACTS.match(source.head(_LINE)) is not None


def read(source: Source, scope: Scope) -> Weights:
    """List the parameters in the order of the file; scope "all" has their gradients too."""
    pages, budget, at = Pages(source, _LINE), Budget(source), 0
    listed: dict[str, Weight] = {}
    while at < source.size:
        budget.spend(_COST, at)
        line = pages.read(at, min(_LINE, source.size - at)).partition(b"\n")[0]
        match = _FACTS.fullmatch(line)
        if match is None:
            raise FormatError(source.name, f"has {printable(line[:60])} where the facts of a parameter are expected", at)
        at += len(line) + 1
        for weight in _weights(source, match, at, scope):
            if weight.name in listed:
                raise FormatError(source.name, f"has two parameters with the name {quoted(weight.name)}; the file is ambiguous")
            listed[weight.name] = weight
        at += int(match[4])
    return Weights(listed.values(), meta={"format": "DyNet"})


def _weights(source: Source, match: re.Match[bytes], at: int, scope: Scope) -> Iterator[Weight]:
    """Yield a parameter, and its gradient if it is asked for."""
    name, shape, length = match[2].decode("utf-8", "backslashreplace"), tuple(map(int, match[3].split(b","))), int(match[4])
    if len(shape) > limits.RANK or not is_possible(shape) or at + length > source.size or 2 * prod(shape) > length:
        what = f"{quoted(name)} of the shape {list(shape)} claims {length:,} bytes, more than the file has or too few"
        raise FormatError(source.name, f"{what} (partial download?)", at)
    parts = ["", ".grad"] if match[5] == b"FULL" else [""]
    size = length // len(parts)
    if length % len(parts) or (len(parts) > 1 and length != len(parts) * (_FIXED * prod(shape) + 1)):
        size = length  # the lines have numbers of any lengths
    is_table, layer = bool(match[1]), layer_of(name)
    for place, part in enumerate(parts if scope == "all" else parts[:1]):
        flat = _numbers(source, name, at, length, (place, size), prod(shape))
        yield Weight(
            name=name + part,
            shape=shape[::-1] if is_table else shape,
            dtype="float32",
            read=flat if is_table or len(shape) < 2 else ByColumns(flat, shape),
            role=Role.EMBEDDING if is_table and not part else Role.OTHER,
            axes="vocab out" if is_table and not part and len(shape) == 2 else "",
            layer=layer,
            encoding="text",
        )


def _numbers(source: Source, name: str, at: int, length: int, place: tuple[int, int], count: int) -> Callable[[int, int], Array]:
    """Return a reader of the numbers of a line, in their order in the file."""
    line, size = place

    def parsed(text: bytes, expected: int) -> Array:
        import numpy as np

        try:
            numbers = np.array([*map(float, text.split())], np.float64)
        except ValueError:
            numbers = np.empty(0)
        if len(numbers) != expected:
            raise FormatError(source.name, f"{quoted(name)} has a line without {count:,} numbers", at)
        with np.errstate(over="ignore"):
            return numbers.astype(np.float32)

    def whole() -> Array:
        lines = source.read(at, length).split(b"\n")
        return parsed(lines[line] if line < len(lines) else b"", count)

    held: list[Array] = []

    def read(start: int, stop: int) -> Array:
        if size == _FIXED * count + 1:
            return parsed(source.read(at + line * size + _FIXED * start, _FIXED * (stop - start)), stop - start)
        if not held:
            held.append(whole())  # a column is asked for at a time, and any number may be as long as it likes
        return held[0][start:stop]

    return read
