"""A program of Core ML: its constants, in the model itself or in `weights/weight.bin` next to it, by the names of their outputs.

    Program         2 functions {1: name, 2: Function}
    Function        3 blocks {1: kind, 2: Block}
    Block           3 operations
    Operation       1 type, 2 inputs {1: word, 2: {1: {1: name, 2: value}}}, 3 outputs {1: name, 2: type}, 4 blocks,
                    5 attributes {1: word, 2: value}
    Value           2 type {1: {1: type of numbers, 3: {1: {1: length of an axis}}}}, 3 {1: numbers}, 5 {1: file, 2: offset}
    numbers         1 float32, 2 int32, 3 bool, 5 int64, 6 float64: {1: list}; 7 {1: bytes} of all other types

    in the file     u32 0xDEADBEEF, u32 type, u64 bytes of the numbers, u64 their offset, u64 bits that are unused at their end

Source: `MIL.proto` and `StorageFormat.hpp` of coremltools.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.limits import is_possible
from steelyard.codecs.pieces import PIECE, count_of, joined
from steelyard.codecs.protobuf import BYTES, VARINT, unpacked
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import UNKNOWN, itemsize, numpy_dtype
from steelyard.errors import FormatError, SteelyardError, printable, quoted
from steelyard.formats.coreml.codes import Value, bits_at

if TYPE_CHECKING:
    from steelyard.codecs.budget import Budget
    from steelyard.codecs.protobuf import Field
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

_TYPES = {1: "bool", 10: "float16", 11: "float32", 12: "float64", 13: "bfloat16", 40: "float8_e4m3fn", 41: "float8_e5m2"}
_TYPES |= {21: "int8", 22: "int16", 23: "int32", 24: "int64", 31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64"}
_SMALL = {25: 4, 35: 4, 36: 2, 37: 1, 38: 6, 39: 3}
"""The bits of types of less than a byte, which are given as bytes."""
_SIGNED = 25
_FIXED, _VARINTS, _RAW = {1: "float32", 6: "float64"}, (2, 3, 5), 7
_SENTINEL, _RECORD, _MODEL = 0xDEADBEEF, 64, "@model_path/"
_COST = 1000


class _Files:
    """The files with numbers, each opened once, and what may be spent on all."""

    __slots__ = ("budget", "held", "source")

    def __init__(self, source: Source, budget: Budget) -> None:
        self.source = source
        self.budget = budget
        self.held: dict[str, Source] = {}

    def file(self, name: str) -> Source:
        """Return a file by its path in the model's folder. Raises as `Source.beside` does."""
        if name not in self.held:
            if not name.startswith(_MODEL):
                raise FormatError(self.source.name, f"has numbers in {quoted(name)}, which is not in the folder of the model")
            self.held[name] = self.source.beside(name.removeprefix(_MODEL))
        return self.held[name]


def program_weights(source: Source, program: Field, budget: Budget) -> Iterator[Weight]:
    """Yield the constants of all functions, those of several with the names of theirs. Raises `FormatError` for damage."""
    functions = [field for field in program.message() if field.number == 2]
    files = _Files(source, budget)
    seen: set[str] = set()
    for field in functions:
        parts = {part.number: part for part in field.message() if part.number in (1, 2)}
        prefix = f"{parts[1].text()}." if len(functions) > 1 and 1 in parts else ""
        for block in [part for part in parts[2].message() if part.number == 3] if 2 in parts else []:
            for weight in [found for part in block.message() if part.number == 2 for found in _block(files, part, 0)]:
                name = f"{prefix}{weight.name}"
                if name in seen:
                    raise FormatError(source.name, f"has two constants of the name {printable(name)}; the model is ambiguous")
                seen.add(name)
                yield weight.replace(name=name)


def _block(files: _Files, block: Field, depth: int) -> Iterator[Weight]:
    """Yield the constants of a block, and of the blocks of its operations; what is decoded stands for its parts."""
    from steelyard.formats.coreml.decoding import DECODERS, decoded

    if depth > limits.RECURSION:
        raise block.error(f"is nested more than {limits.RECURSION} levels deep")
    listed: dict[str, tuple[Weight, Value]] = {}
    used: set[str] = set()
    for field in block.message():
        if field.number != 3 or field.wire != BYTES:
            continue
        files.budget.spend(_COST, field.begin)
        kind, output, values, names, blocks = _operation(files, field)
        if kind == "const" and "val" in values:
            value = values["val"]
            listed[output] = (_weight(output, value), value)
        elif kind in DECODERS:
            known = {**{word: listed[name][1] for word, name in names.items() if name in listed}, **values}
            used.update(name for name in names.values() if name in listed)
            value = decoded(files.source, kind, output, known, files.budget)
            listed[output] = (_weight(output, value, kind.removeprefix("constexpr_")), value)
        for inner in blocks:
            yield from _block(files, inner, depth + 1)
    yield from (weight for name, (weight, _) in listed.items() if name not in used and weight.shape)


def _weight(name: str, value: Value, encoding: str = "") -> Weight:
    return Weight(name=name, shape=value.shape, dtype=value.dtype, read=value.read, layer="", encoding=encoding)


def _operation(files: _Files, field: Field) -> tuple[str, str, dict[str, Value], dict[str, str], list[Field]]:
    """Return the type of an operation, its output, its values and the names of its inputs by their words, and its blocks."""
    kind = output = ""
    pairs: list[Field] = []
    blocks: list[Field] = []
    for inner in field.message():
        if inner.number == 1:
            kind = inner.text()
        elif inner.number == 3 and not output:
            output = next((part.text() for part in inner.message() if part.number == 1), "")
        elif inner.number == 4:
            blocks.append(inner)
        elif inner.number in (2, 5):
            pairs.append(inner)
    values: dict[str, Value] = {}
    names: dict[str, str] = {}
    if kind == "const" or kind.startswith("constexpr_"):
        for pair in pairs:
            files.budget.spend(PIECE)
            parts = {part.number: part for part in pair.message() if part.number in (1, 2)}
            if 1 in parts and 2 in parts:
                _take(files, parts[1].text(), parts[2], pair.number == 2, values, names)
    return kind, output, values, names, blocks


def _take(files: _Files, word: str, field: Field, is_input: bool, values: dict[str, Value], names: dict[str, str]) -> None:
    """Add a value, or the name of an operation that gives it."""
    if not is_input:
        if word != "name":
            values[word] = _value(files, field)
        return
    for argument in field.message():
        for part in argument.message() if argument.number == 1 else ():
            if part.number == 1:
                names[word] = part.text()
            elif part.number == 2:
                values[word] = _value(files, part)


def _value(files: _Files, field: Field) -> Value:
    """Return a value; the reader of one that cannot be read raises the reason."""
    kind, shape = 0, tuple[int, ...]()
    held: dict[int, Field] = {}
    for part in field.message():
        if part.number == 2:
            kind, shape = _typed(part)
        elif part.number in (3, 5):
            held[part.number] = part
    dtype = _TYPES.get(kind) or ({True: "int8", False: "uint8"}[kind == _SIGNED] if kind in _SMALL else UNKNOWN)
    bits = _SMALL.get(kind, 0)
    try:
        if dtype == UNKNOWN or not is_possible(shape):
            raise field.error(f"is of the type {kind} and the shape {printable(list(shape))}, not one of numbers")
        wanted = (prod(shape), dtype, bits)
        read = _stored(files, held[5], wanted) if 5 in held else _immediate(files, held.get(3, field), wanted)
    except SteelyardError as error:
        return Value(() if dtype == UNKNOWN else shape, dtype, bits, Refused(error), 0)
    return Value(shape, dtype, bits, read, field.length + (prod(shape) * (bits or 8 * itemsize(dtype)) // 8 if 5 in held else 0))


def _typed(field: Field) -> tuple[int, tuple[int, ...]]:
    kind, dims = 0, list[int]()
    for tensor in field.message():
        for part in tensor.message() if tensor.number == 1 else ():
            if part.number == 1 and part.wire == VARINT:
                kind = part.value
            elif part.number == 3:
                sizes = [length.unsigned() for axis in part.message() if axis.number == 1 for length in axis.message()]
                dims.append(sizes[0] if sizes else 0)
    return kind, tuple(dims)


def _immediate(files: _Files, field: Field, wanted: tuple[int, str, int]) -> Reader:
    """Return a reader of numbers in the model itself."""
    count, dtype, bits = wanted
    for tensor in [part for part in field.message() if part.number == 1]:
        for values in tensor.message():
            runs = [part for part in values.message() if part.number == 1]
            pieces = [(part.offset, part.length) for part in runs if part.wire != VARINT]
            files.budget.spend(PIECE * len(runs))
            if values.number in _FIXED and _FIXED[values.number] == dtype and count_of(pieces, dtype) == count:
                return joined(files.source, pieces, dtype)
            if values.number == _RAW and bits and len(pieces) == 1:
                return _small(files.source, pieces[0], wanted)
            if values.number == _RAW and count_of(pieces, dtype) == count:
                return joined(files.source, pieces, dtype)
            if values.number in _VARINTS and dtype in ("int32", "int64", "bool"):
                return _integers(files.source, runs, count, dtype)
    if not count:
        return joined(files.source, [], dtype)
    raise field.error(f"does not have {count:,} numbers of {dtype}")


def _integers(source: Source, runs: list[Field], count: int, dtype: str) -> Reader:
    if count > sum(max(run.length, 1) for run in runs):
        raise FormatError(source.name, f"has a list of fewer numbers than {count:,}")

    def read(start: int, stop: int) -> Array:
        import numpy as np

        try:
            parts = [
                [run.value] if run.wire == VARINT else unpacked(source.read(run.offset, run.length), run.length) for run in runs
            ]
        except ValueError as error:
            raise FormatError(source.name, f"a list of numbers is damaged: {error}") from None
        found = np.concatenate([np.asarray(part, np.uint64) for part in parts])
        if len(found) != count:
            raise FormatError(source.name, f"has a list of {len(found):,} numbers for a shape of {count:,}")
        return found.astype(np.int64).astype(numpy_dtype(dtype))[start:stop]

    return read


def _small(source: Source, place: tuple[int, int], wanted: tuple[int, str, int]) -> Reader:
    """Return a reader of numbers of less than a byte, as bytes."""
    count, dtype, bits = wanted
    if place[1] < -(-count * bits // 8):
        raise FormatError(source.name, f"has {place[1]:,} bytes for {count:,} numbers of {bits} bits", place[0])
    read = bits_at(source, place, bits, highest_first=False)
    if dtype == "uint8":
        return read

    def signed(start: int, stop: int) -> Array:
        import numpy as np

        return ((read(start, stop) ^ np.uint8(8)).astype(np.int8) - np.int8(8)).astype(np.int8)

    return signed


def _stored(files: _Files, field: Field, wanted: tuple[int, str, int]) -> Reader:
    """Return a reader of numbers in a file next to the model."""
    count, dtype, bits = wanted
    parts: Mapping[int, Field] = {part.number: part for part in field.message()}
    file = files.file(parts[1].text() if 1 in parts else "")
    at = parts[2].unsigned() if 2 in parts else 0
    record = file.read(at, _RECORD)
    mark, size, start = (int.from_bytes(record[a:b], "little") for a, b in ((0, 4), (8, 16), (16, 24)))
    needed = -(-count * (bits or 8 * itemsize(dtype)) // 8)
    if mark != _SENTINEL or size != needed or start + size > file.size:
        what = f"has a record of {size:,} bytes at byte {start:,} where {needed:,} are needed, in a file of {file.size:,}"
        raise FormatError(file.name, f"is damaged: {what}" if mark == _SENTINEL else "is damaged: no record of numbers", at)
    return _small(file, (start, size), wanted) if bits else file.numbers(start, dtype)
