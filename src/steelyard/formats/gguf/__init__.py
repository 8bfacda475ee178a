"""GGUF: typed metadata, a table of tensors, then their blocks; names are llama.cpp's, shapes are turned to row-major.

Quantised tensors are given as float32, decoded block by block, and `stored` is the quantisation's name. Long arrays of
the metadata (a vocabulary) are stepped over and summed up.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.codecs.limits import is_possible
from steelyard.codecs.metadata import dump_facts, with_facts
from steelyard.core.readers import raw_chunks, refusing
from steelyard.core.roles import layer_of
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, printable
from steelyard.formats.gguf.quantisation import QUANTS, quantised
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Reader
    from steelyard.storage.source import Source

SUFFIXES = (".gguf",)

MAGIC = b"GGUF"
ALIGNMENT = 32
FACTS = "steelyard.facts"
"""The key under which Steelyard keeps what the weights mean."""

PLAIN = {0: "float32", 1: "float16", 24: "int8", 25: "int16", 26: "int32", 27: "int64", 28: "float64", 30: "bfloat16"}
_WORDS = {0: "F32", 1: "F16", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16"}
_QUANTISED = {2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K"}
_QUANTISED |= {14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S"}
_QUANTISED |= {22: "IQ2_S", 23: "IQ4_XS", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0"}

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY, _U32 = 8, 9, 4
_TYPES = {0: "uint8", 1: "int8", 2: "uint16", 3: "int16", 4: "uint32", 5: "int32", 6: "float32", 7: "bool", 8: "string"}
_TYPES |= {10: "uint64", 11: "int64", 12: "float64"}
_SHORT = 16
"""Elements of an array of numbers up to which it is listed in the metadata as it is."""
_TEXT_LIMIT, _TENSOR_LIMIT, _PAGE = 1 << 20, 1_000_000, 1 << 17

_BLOCK = re.compile(r"(?:(?:enc|dec|v|a)\.)?blk\.\d+\..*|output(_norm)?\..*|(?:enc|dec)\.output_norm\..*")
_EMBEDDING = re.compile(r"(token_embd|position_embd|token_types|per_layer_token_embd)\.weight")


def sniff(source: Source) -> bool:
    """The magic."""
    return source.head(4) == MAGIC


def read(source: Source, scope: Scope) -> Weights:
    """In the order of the file's table. Raises `FormatError` for a file that has a vocabulary and no tensors."""
    cursor = _Cursor(source)
    tensors, pairs = cursor.counts()
    metadata = _metadata(cursor, pairs)
    infos = _infos(cursor, tensors)
    if not infos and any(key.startswith("tokenizer.") for key in metadata):
        raise FormatError(source.name, "holds a vocabulary only, and no weights")
    alignment = metadata.get("general.alignment", ALIGNMENT)
    begin = -(-cursor.place // alignment) * alignment
    known = isinstance(metadata.get("general.architecture"), str)
    facts = metadata.pop(FACTS, None)
    weights = list(_weights(cursor, infos, begin, alignment, known=known))
    if isinstance(facts, str):
        weights = with_facts(weights, facts)
    return Weights(weights, meta={"version": cursor.version, "metadata": metadata})


class _Cursor:
    """A place in the header that moves on as values are read, in pages; it knows the version and the byte order."""

    __slots__ = ("_base", "_page", "order", "place", "source", "version")

    def __init__(self, source: Source) -> None:
        self.source = source
        self._base = self.place = 0
        self._page = b""
        self.order = "<"
        self.take(4)
        version = self.number("I")
        if version and not version & 0xFFFF:
            self.order = ">"  # the file was written on a big-endian machine, and so were its numbers
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in (1, 2, 3):
            raise self.error(f"is GGUF of version {version:,}; versions 1 to 3 are known")
        self.version = version

    def counts(self) -> tuple[int, int]:
        """Return how many tensors and metadata pairs there are; neither can be more than the bytes allow."""
        tensors, pairs = self.length(), self.length()
        left = self.source.size - self.place
        if tensors > min(left // 16, _TENSOR_LIMIT) or pairs > left // 9:
            raise self.error(f"claims {tensors:,} tensors and {pairs:,} metadata pairs in {left:,} bytes")
        return tensors, pairs

    def take(self, length: int) -> bytes:
        """Return the next bytes, and move on."""
        start = self.place - self._base
        if start < 0 or start + length > len(self._page):
            wanted = max(length, min(_PAGE, self.source.size - self.place))
            self._page, self._base, start = self.source.read(self.place, wanted), self.place, 0
        self.place += length
        return self._page[start : start + length]

    def skip(self, length: int) -> None:
        if length > self.source.size - self.place:
            raise self.error(f"claims {length:,} bytes of metadata, more than the file has (partial download?)")
        self.place += length

    def number(self, code: str) -> Any:
        return struct.unpack(self.order + code, self.take(struct.calcsize(self.order + code)))[0]

    def length(self) -> int:
        """Return a count, which took four bytes in version 1."""
        found: int = self.number("I" if self.version == 1 else "Q")
        return found

    def text(self) -> str:
        """Return a string; what is no UTF-8 is kept as escapes."""
        length = self.length()
        if length > min(_TEXT_LIMIT, self.source.size - self.place):
            raise self.error(f"claims a text of {length:,} bytes")
        return self.take(length).decode("utf-8", "backslashreplace")

    def error(self, what: str) -> FormatError:
        return FormatError(self.source.name, what, self.place)


def _metadata(cursor: _Cursor, pairs: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(pairs):
        key = cursor.text()
        if key in found:
            raise cursor.error(f"the metadata have {printable(key)!r} twice; which is meant cannot be told")
        kind = cursor.number("I")
        found[key] = _value(cursor, kind)
        if key == "general.alignment" and (kind != _U32 or found[key] < 1 or found[key] & (found[key] - 1)):
            raise cursor.error(f"has the alignment {printable(found[key])}, which is no power of two")
    return found


def _value(cursor: _Cursor, kind: int) -> Any:
    if kind == _STRING:
        return cursor.text()
    if kind == _ARRAY:
        return _array(cursor)
    if kind not in _SCALARS:
        raise cursor.error(f"has a metadata value of the unknown type {kind:,}")
    return cursor.number(_SCALARS[kind])


def _array(cursor: _Cursor) -> Any:
    """Return a short array of numbers as a list, and of any other what it is: "string[128256]"."""
    kind, count = cursor.number("I"), cursor.length()
    if kind == _STRING:
        _skip_texts(cursor, count)
    elif kind not in _SCALARS:
        raise cursor.error(f"has a metadata array of the type {kind:,}, which no array may have")
    elif count <= _SHORT:
        return [cursor.number(_SCALARS[kind]) for _ in range(count)]
    else:
        cursor.skip(count * struct.calcsize("<" + _SCALARS[kind]))
    return f"{_TYPES[kind]}[{count}]"


def _skip_texts(cursor: _Cursor, count: int) -> None:
    """Step over texts, of which a vocabulary has many: page by page, without making any."""
    width = 4 if cursor.version == 1 else 8
    if count > (cursor.source.size - cursor.place) // width:
        raise cursor.error(f"claims {count:,} texts in {cursor.source.size - cursor.place:,} bytes")
    length_at = struct.Struct(cursor.order + ("I" if cursor.version == 1 else "Q")).unpack_from
    at, left, end = cursor.place, count, cursor.source.size
    while left:
        page = cursor.source.read(at, min(_PAGE * 8, max(end - at, width)))
        place, last = 0, len(page) - width
        for done in range(left):  # noqa: B007 - what a vocabulary of 128,000 words costs, it costs here
            if place > last:
                break
            (length,) = length_at(page, place)
            place += width + length
        else:
            done = left
        left, at = left - done, at + place
        if at > end:
            raise cursor.error("has a text that reaches past the end of the file (partial download?)")
    cursor.place = at


def _infos(cursor: _Cursor, tensors: int) -> dict[str, tuple[tuple[int, ...], int, int]]:
    """Return the shape, row-major, the type and the offset of each tensor by its name."""
    found: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _ in range(tensors):
        name, count = cursor.text(), cursor.number("I")
        if count > 4:
            raise cursor.error(f"{printable(name)} has {count:,} axes; GGUF allows four")
        shape = tuple(cursor.length() for _ in range(count))[::-1]
        if name in found:
            raise cursor.error(f"two tensors are called {printable(name)!r}; which is meant cannot be told")
        found[name] = shape, cursor.number("I"), cursor.number("Q")
    return found


def _weights(
    cursor: _Cursor, infos: dict[str, tuple[tuple[int, ...], int, int]], begin: int, alignment: int, *, known: bool
) -> Iterator[Weight]:
    ends = _overlapping(cursor, infos, begin)
    for name, (shape, kind, offset) in infos.items():
        try:
            if name in ends:
                raise FormatError(cursor.source.name, f"{printable(name)} lies over {printable(ends[name])}", begin + offset)
            dtype, read = _numbers(cursor, name, shape, kind, begin + offset, alignment)
        except FormatError as error:
            dtype, read = "float32" if kind in _QUANTISED else PLAIN.get(kind, "object"), refusing(error)
        role, axes = _meaning(name, len(shape)) if known else (Role.OTHER, "")
        stored = _QUANTISED.get(kind) or _WORDS.get(kind) or f"type {kind}"
        yield Weight(name=name, shape=shape, dtype=dtype, encoding=stored, read=read, role=role, axes=axes, layer=layer_of(name))


def _overlapping(cursor: _Cursor, infos: dict[str, tuple[tuple[int, ...], int, int]], begin: int) -> dict[str, str]:
    """Return the tensors that begin before another one, which lies before them, ends."""
    found, end, before = {}, 0, ""
    for name, (shape, kind, offset) in sorted(infos.items(), key=lambda item: item[1][2]):
        length = _bytes(shape, kind)
        if length and offset < end:
            found[name] = before
        if offset + length > end:
            end, before = offset + length, name
    return found


def _bytes(shape: tuple[int, ...], kind: int) -> int:
    if kind in PLAIN:
        return prod(shape) * itemsize(PLAIN[kind])
    size, width, _ = QUANTS[_QUANTISED[kind]] if kind in _QUANTISED else (1, 0, None)
    return prod(shape) // size * width


def _numbers(cursor: _Cursor, name: str, shape: tuple[int, ...], kind: int, offset: int, alignment: int) -> tuple[str, Reader]:
    """Return the type and the reader of a tensor whose blocks lie at `offset`, all of it in the file."""
    source, shown = cursor.source, printable(name)
    if kind not in PLAIN and kind not in _QUANTISED:
        raise FormatError(source.name, f"{shown} is of type {kind:,}, which is not known")
    if not is_possible(shape):
        raise FormatError(source.name, f"{shown} has the shape {printable(list(shape))}, which makes no sense")
    if offset % alignment:
        raise FormatError(source.name, f"{shown} does not begin at a multiple of {alignment:,} bytes", offset)
    end = offset + _bytes(shape, kind)
    if end > source.size:
        raise FormatError(source.name, f"{shown} ends at byte {end:,} of {source.size:,} (partial download?)", offset)
    if kind in PLAIN:
        return PLAIN[kind], source.numbers(offset, PLAIN[kind], cursor.order)
    size = QUANTS[_QUANTISED[kind]][0]
    if not shape or shape[-1] % size:
        raise FormatError(source.name, f"{shown} has the shape {list(shape)}, whose rows are no whole blocks of {size}")
    if cursor.order == ">":
        raise FormatError(source.name, f"{shown} is quantised and big-endian, which cannot be read")
    return "float32", quantised(source, offset, _QUANTISED[kind])


def _meaning(name: str, ndim: int) -> tuple[Role, str]:
    """Return role and axes by llama.cpp's names; what is not one of them stays "other"."""
    if _EMBEDDING.fullmatch(name) and ndim == 2:
        return Role.EMBEDDING, "vocab out"
    layer, _, leaf = name.rpartition(".")
    if not _BLOCK.fullmatch(name) or leaf not in ("weight", "bias"):
        return Role.OTHER, ""
    if layer.endswith("norm") or "_norm_" in layer:
        return (Role.SCALE if leaf == "weight" else Role.OFFSET), "channel" if ndim == 1 else ""
    if leaf == "bias":
        return Role.BIAS, "out" if ndim == 1 else ""
    return (Role.KERNEL, {2: "out in", 3: "expert out in"}.get(ndim, "")) if ndim > 1 else (Role.OTHER, "")


def write(weights: Weights, path: Path) -> None:
    """Version 3, little-endian, each tensor in its own type; scalars and texts of a GGUF's metadata are kept."""
    owned = [weight for weight in weights.values() if weight.tied is None or weight.tied not in weights]
    for weight in owned:
        if weight.dtype not in PLAIN.values() or len(weight.shape) > 4:
            raise FormatError(
                str(path),
                f"{printable(weight.name)} is {weight.dtype} with {len(weight.shape)} axes; GGUF holds up to four axes of "
                f"{', '.join(PLAIN.values())}; convert it first",
            )
    head = _head(owned, {**_kept(weights.meta.get("metadata")), FACTS: dump_facts(weights)})
    with replacing(path) as file:
        file.write(head + bytes(-len(head) % ALIGNMENT))
        for weight in owned:
            for chunk in raw_chunks(weight):
                file.write(chunk)
            file.write(bytes(-weight.nbytes % ALIGNMENT))


def _head(weights: list[Weight], metadata: dict[str, Any]) -> bytes:
    """Return everything that stands before the tensors."""
    kinds = {dtype: kind for kind, dtype in PLAIN.items()}
    parts = [MAGIC, struct.pack("<IQQ", 3, len(weights), len(metadata))]
    parts += [_packed(key) + _typed(value) for key, value in metadata.items()]
    end = 0
    for weight in weights:
        dims = weight.shape[::-1]
        parts.append(_packed(weight.name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kinds[weight.dtype], end))
        end += -(-weight.nbytes // ALIGNMENT) * ALIGNMENT
    return b"".join(parts)


def _kept(metadata: Any) -> dict[str, Any]:
    known = metadata if isinstance(metadata, dict) else {}
    skipped = ("general.alignment", "general.file_type", FACTS)
    return {
        key: value
        for key, value in known.items()
        if isinstance(value, (str, int, float)) and key not in skipped and not re.fullmatch(r"\w+\[\d+\]", str(value))
    }


def _packed(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(data)) + data


def _typed(value: Any) -> bytes:
    """Write a metadata value with its type: whole numbers in 32 bits where they fit, as llama.cpp expects them."""
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _packed(value)
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    return struct.pack("<II", 4, value) if 0 <= value < 1 << 32 else struct.pack("<Iq", 11, value)
