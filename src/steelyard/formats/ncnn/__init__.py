"""ncnn: the weights of the layers in a `.param` or `.param.bin` file, whose numbers are in the `.bin` of the same name.

    run    u32 flag, where the layer asks for one; numbers; zeros to a multiple of 4 bytes
    flag   0 or 0x0002C056 float32; 0x01306B47 float16; 0x000D4B38 int8; another: 256 float32, then a byte for each number

Names are those of the layer, or in a `.param.bin` its place, and of ncnn's own members, as `conv1.weight_data`. Source:
`modelbin.cpp` of ncnn.
"""

from __future__ import annotations

import os
import re
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_possible
from steelyard.codecs.lone_file import lone_file
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import FileMissingError, FormatError, SteelyardError, printable, quoted
from steelyard.formats.ncnn.binary import MAGIC as BINARY_MAGIC
from steelyard.formats.ncnn.binary import binary_layers
from steelyard.formats.ncnn.layers import MAGIC, Layer, Run, layers, runs

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

SUFFIXES = (".param", ".param.bin")

_HEAD = re.compile(rb"7767517\s+\d+\s+\d+\s")
_COST = 1000
_FLAGS = {0: "float32", 0x0002C056: "float32", 0x01306B47: "float16", 0x000D4B38: "int8"}
_SIZES = {"float32": 4, "float16": 2, "int8": 1}
_BOOK = "256 values"
"""the encoding of numbers that are places in a table"""
_TABLE = 1024


def sniff(source: Source) -> bool:
    """Recognise the layers of a net, a .bin with such a file next to it, or a folder with one pair of them."""
    if source.is_folder:
        return _inside(source) is not None
    if _is_text(source) or _is_binary(source):
        return True
    return source.name.lower().endswith(".bin") and source.is_file and _pair(source) is not None


def _is_text(source: Source) -> bool:
    return source.head(len(MAGIC)) == MAGIC and _HEAD.match(source.head(64)) is not None


def _is_binary(source: Source) -> bool:
    return source.size > 12 and source.head(4) == BINARY_MAGIC and not any(source.head(8)[7:])


def _are_layers(source: Source) -> bool:
    return not source.is_folder and (_is_text(source) or _is_binary(source))


def _stem(source: Source) -> str:
    """Return the name of a net, without the folder and the suffix of one of its files."""
    name = os.path.basename(source.name.replace("\\", "/"))
    return name.removesuffix(".bin").removesuffix(".param") if name.endswith(".bin") else name.rpartition(".")[0]


def _pair(source: Source) -> Source | None:
    """Return the layers next to a .bin, if they are of ncnn; those with names before those without."""
    for suffix in SUFFIXES:
        try:
            other = source.beside(_stem(source) + suffix)
        except SteelyardError:
            continue
        if _are_layers(other):
            return other
    return None


def _inside(folder: Source) -> Source | None:
    """Return the layers in a folder that has one pair of files."""
    names = set(folder.names())
    stems = {name: name.removesuffix(".bin").removesuffix(".param") for name in names if name.endswith(SUFFIXES)}
    pairs = {stem: name for name, stem in sorted(stems.items(), reverse=True) if f"{stem}.bin" in names}  # .param comes last
    return lone_file(folder, [*pairs.values()], _are_layers)


def read(source: Source, scope: Scope) -> Weights:
    """List the weights in the order of the layers. Raises `FormatError` if their numbers do not fill the `.bin`."""
    file = _inside(source) if source.is_folder else source if _are_layers(source) else _pair(source)
    if file is None:
        raise FormatError(source.name, "has no net of ncnn any more")
    try:
        numbers = file.beside(f"{_stem(file)}.bin")
    except FileMissingError:
        what = f"has the layers of ncnn, whose numbers are in {quoted(f'{_stem(file)}.bin')}, which is missing"
        raise FormatError(file.name, what) from None
    found = _Numbers(numbers, Budget(numbers))
    listed, unknown = list[Weight](), list[str]()
    for layer in layers(file) if _is_text(file) else binary_layers(file):
        wanted = runs(layer)
        if wanted is None:
            unknown.append(layer.kind)
        listed += [found.take(layer, run) for run in wanted or ()]
    if found.at != numbers.size:
        raise FormatError(numbers.name, _mismatch(found.at, numbers.size, unknown))
    names = [weight.name for weight in listed]
    if len(set(names)) < len(names):
        raise FormatError(file.name, "has two layers of one name; the net is ambiguous")
    return Weights(listed)


def _mismatch(used: int, size: int, unknown: list[str]) -> str:
    seen = sorted(set(unknown))[:3]
    hint = f"; perhaps {', '.join(map(quoted, seen))}, or another layer that is not known here, loads weights" if unknown else ""
    return f"has {size:,} bytes, but the layers of its .param take {used:,}{hint or ' (partial download?)'}"


class _Numbers:
    """The runs of a `.bin`, one after another."""

    __slots__ = ("at", "budget", "source")

    def __init__(self, source: Source, budget: Budget) -> None:
        self.source = source
        self.budget = budget
        self.at = 0

    def take(self, layer: Layer, run: Run) -> Weight:
        """Return the weight of the next run; raises `FormatError` where the file ends before it."""
        name = f"{layer.name}.{run.word}"
        self.budget.spend(_COST + len(name), self.at)
        if not is_possible(run.shape):
            what = f"{printable(name)} has the impossible shape {list(run.shape)}"
            raise FormatError(self.source.name, what, self.at)
        count = prod(run.shape)
        dtype, encoding = self._kind(run)
        start = self.at
        length = (_TABLE if encoding else 0) + -(-count * (1 if encoding else _SIZES[dtype]) // 4) * 4
        self.at += length
        if self.at > self.source.size:
            what = f"{printable(name)} ends at byte {self.at:,}, and the file has {self.source.size:,} (partial download?)"
            raise FormatError(self.source.name, what, start)
        read = _from_table(self.source, start) if encoding else self.source.numbers(start, dtype)
        return Weight(
            name=name,
            shape=run.shape,
            dtype=dtype,
            encoding=encoding,
            read=read,
            layer=layer.name,
            role=run.role,
            axes=run.axes if len(run.axes.split()) == len(run.shape) else "",
        )

    def _kind(self, run: Run) -> tuple[str, str]:
        """Return the type of the numbers of a run, and their encoding, after its flag."""
        if not run.has_flag:
            return "float32", ""
        data = self.source.read(self.at, 4)
        self.at += 4
        dtype = _FLAGS.get(int.from_bytes(data, "little"), "")
        return (dtype, "") if dtype else ("float32", _BOOK if any(data) else "")


def _from_table(source: Source, start: int) -> Reader:
    """Return a reader of numbers that are places in a table of 256 float32 before them."""

    def read(first: int, last: int) -> Array:
        import numpy as np

        table = np.frombuffer(source.read(start, _TABLE), "<f4")
        found: Array = table[np.frombuffer(source.read(start + _TABLE + first, last - first), np.uint8)]
        return found

    return read
