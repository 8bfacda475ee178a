"""The manifest of TensorFlow.js: groups of weights, and the files that hold the numbers of each group."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_possible
from steelyard.core.roles import layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import UNKNOWN, itemsize
from steelyard.errors import FileMissingError, FormatError, printable, quoted
from steelyard.storage.source import Source

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.core.weight import Array, Reader

TEXT = "string"
"""The type of an array of texts: the length of each, uint32, before its bytes."""

_TYPES = ("float32", "float16", "int32", "uint8", "uint16", "bool", "complex64")
_QUANTISED = ("float32", "int32")
CODES = ("uint8", "uint16")
HALF = "float16"
_TEXT_COST = 2048
"""bytes of memory that stand for the time to read the length of a text"""


class Entry(NamedTuple):
    """A weight as it is stored: its name, what the manifest says of it, and where its bytes are; None if they are cut off."""

    name: str
    facts: dict[str, Plain]
    part: tuple[Source, int, int] | None


class ManifestReader:
    """The weights of a manifest; what its files lack is in `incomplete`, what they have beyond it in `notes`.

    `stored` has all that the files hold, in order. Raises `FormatError` for anything but a manifest, and for a name that two
    weights have.
    """

    __slots__ = ("_source", "incomplete", "notes", "stored", "weights")

    def __init__(self, source: Source, manifest: Plain) -> None:
        self._source = source
        self.incomplete: list[str] = []
        self.notes: list[str] = []
        self.stored: list[Entry] = []
        self.weights: list[Weight] = []
        if not isinstance(manifest, list) or not manifest:
            raise FormatError(source.name, "has no groups of weights in its manifest")
        for group in manifest:
            self.weights += self._group(group if isinstance(group, dict) else {})
        names: set[str] = set()
        for weight in self.weights:
            if weight.name in names:
                raise FormatError(source.name, f"duplicate name {printable(weight.name)}; the manifest is ambiguous")
            names.add(weight.name)

    def _group(self, group: Mapping[str, Plain]) -> Iterator[Weight]:
        entries, paths = group.get("weights"), group.get("paths")
        if not isinstance(entries, list) or not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise FormatError(self._source.name, "has a group without a list of weights or of paths")
        numbers, missing = self._joined([str(path) for path in paths])
        at: int | None = 0
        for entry in entries:
            begin, facts = at, entry if isinstance(entry, dict) else {}
            weight, at = self._weight(facts, numbers, at, missing)
            is_whole = begin is not None and at is not None and at <= numbers.size
            self.stored.append(Entry(weight.name, facts, (numbers, begin or 0, at or 0) if is_whole else None))
            yield weight
        if at is not None and at < numbers.size and not missing:
            self.notes.append(f"{numbers.size - at:,} bytes follow the last weight of a group, and were not read")

    def _joined(self, paths: Sequence[str]) -> tuple[Source, str]:
        """Return the files of a group as one, up to the first that is missing, and the name of that."""
        parts: list[Source] = []
        known: dict[str, Source] = {}
        if len(paths) > limits.SHARDS:
            raise FormatError(self._source.name, f"names {len(paths):,} files, more than the {limits.SHARDS:,} that are allowed")
        for path in paths:
            try:
                known[path] = known.get(path) or self._source.beside(path)
                parts.append(known[path])
            except FileMissingError:
                self.incomplete.append(f"lacks the file {quoted(path)} of its numbers")
                return joined(self._source, parts), path
        return joined(self._source, parts), ""

    def _weight(self, entry: Mapping[str, Plain], numbers: Source, at: int | None, missing: str) -> tuple[Weight, int | None]:
        """Return a weight, and where the next one begins; None where that is not known."""
        name, dtype, lengths = entry.get("name"), entry.get("dtype"), entry.get("shape")
        shape = tuple(length for length in lengths if type(length) is int) if isinstance(lengths, list) else ()
        if not isinstance(name, str) or not isinstance(lengths, list) or len(shape) < len(lengths) or not is_possible(shape):
            raise FormatError(self._source.name, f"a weight lacks a name or a possible shape: {printable(entry, 200)}")
        made = Weight(name=name, shape=shape, dtype=UNKNOWN, read=_refused(numbers, ""), layer=layer_of(name))
        if dtype == TEXT:
            read = _refused(numbers, f"{printable(name)} is an array of texts")
            return made.replace(read=read, encoding=TEXT), None if at is None else self._end_of_texts(numbers, at, prod(shape))
        codes, decode = self._decoding(name, dtype, entry.get("quantization"))
        end = None if at is None else at + prod(shape) * itemsize(codes)
        if at is None or end is None or end > numbers.size:
            what = f"the file {quoted(missing)} is missing" if missing else "its files end before that (partial download?)"
            read = _refused(numbers, f"{printable(name)} cannot be read: {what}")
        else:
            read = numbers.numbers(at, codes)
            read = read if decode is None else Decoded(read, *decode)
        encoding = codes if decode is not None else ""
        return made.replace(dtype=str(dtype), read=read, encoding=encoding), end

    def _decoding(self, name: str, dtype: Plain, quantization: Plain) -> tuple[str, tuple[str, float, float] | None]:
        """Return the type of the stored numbers; of quantised ones also the type that they had, the scale and the offset."""
        if not isinstance(dtype, str) or dtype not in _TYPES:
            raise FormatError(self._source.name, f"{printable(name)} is of the type {quoted(dtype, 40)}, which is not known")
        if quantization is None:
            return dtype, None
        facts = quantization if isinstance(quantization, dict) else {}
        codes = facts.get("dtype")
        if codes == HALF and dtype == "float32":
            return codes, (dtype, 1.0, 0.0)
        scale, least = _number(facts.get("scale")), _number(facts.get("min"))
        if not isinstance(codes, str) or codes not in CODES or dtype not in _QUANTISED or scale is None or least is None:
            raise FormatError(self._source.name, f"{printable(name)} is quantised in an unknown way: {printable(facts, 200)}")
        return codes, (dtype, scale, least)

    def _end_of_texts(self, numbers: Source, at: int, count: int) -> int | None:
        """Return where the texts end; None if they reach past the end."""
        budget = Budget(self._source)
        for _ in range(count):
            if at + 4 > numbers.size:
                return None
            budget.spend(_TEXT_COST)
            at += 4 + int.from_bytes(numbers.read(at, 4), "little")
        return at


def _number(value: Plain) -> float | None:
    """Return a finite number; None for anything else."""
    try:
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _refused(numbers: Source, what: str) -> Reader:
    return Refused(FormatError(numbers.name, what))


class Decoded:
    """A reader of quantised numbers: code * scale + least, in float64, as TensorFlow.js computes."""

    __slots__ = ("dtype", "least", "scale", "stored")

    def __init__(self, stored: Reader, dtype: str, scale: float, least: float) -> None:
        self.stored = stored
        self.dtype = dtype
        self.scale = scale
        self.least = least

    def __call__(self, start: int, stop: int) -> Array:
        import numpy as np

        codes = self.stored(start, stop)
        if codes.dtype == np.float16:
            return codes.astype(self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # a file may have any scale
            real = codes.astype(np.float64) * self.scale + self.least
            return (np.round(real) if self.dtype == "int32" else real).astype(self.dtype)


def joined(source: Source, parts: Sequence[Source]) -> Source:
    """Return several files as one run of bytes, within the budget of the file that names them."""
    if len(parts) == 1:
        return parts[0]
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + part.size)

    def fill(offset: int, buffer: memoryview) -> None:
        at, begin, stop = bisect_right(starts, offset) - 1, offset, offset + len(buffer)
        while begin < stop:
            end = min(stop, starts[at + 1])
            parts[at].fill(begin - starts[at], buffer[begin - offset : end - offset])
            begin, at = end, at + 1

    return Source(f"{source.name} (numbers)", starts[-1], fill, source.beside, within=source)
