"""GGUF: typed metadata, a table of tensors, then their blocks. Names are llama.cpp's; shapes become row-major.

Quantised tensors read as float32, decoded block by block, and `encoding` is the name of the quantisation. Long arrays in
the metadata, such as a vocabulary, are skipped; their type and length stand for them.

    header         "GGUF" | u32 version | u64 number of tensors | u64 number of metadata pairs
    metadata pair  string key | u32 type | value
    string         u64 length | UTF-8
    array value    u32 type of the elements | u64 length | elements
    tensor info    string name | u32 number of axes | u64 lengths, the innermost axis first | u32 type | u64 offset
    data           padded to the alignment; offsets count from its first byte

Version 1 has u32 in place of u64, except for offsets. A file from a big-endian machine is big-endian throughout.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.codecs.limits import is_possible
from steelyard.codecs.metadata import dump_facts, with_facts
from steelyard.core.readers import raw_chunks
from steelyard.core.roles import layer_of
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, printable
from steelyard.formats.gguf.quantisation import QUANTS, quantised
from steelyard.formats.gguf.splits import whole
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Reader
    from steelyard.storage.source import Source

    Scalar = bool | int | float
    Value = Scalar | str | list[Scalar]

SUFFIXES = (".gguf",)

MAGIC = b"GGUF"
ALIGNMENT = 32
FACTS = "steelyard.facts"
"""The metadata key for the roles, axes and layers of the weights."""

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
"""Arrays of at most this many numbers are listed in the metadata in full."""
_TEXT_LIMIT, _TENSOR_LIMIT, _PAGE = 1 << 20, 1_000_000, 1 << 17

_BLOCK = re.compile(r"(?:(?:enc|dec|v|a)\.)?blk\.\d+\..*|output(_norm)?\..*|(?:enc|dec)\.output_norm\..*")
_EMBEDDING = re.compile(r"(token_embd|position_embd|token_types|per_layer_token_embd)\.weight")


def sniff(source: Source) -> bool:
    """Recognise the magic number."""
    return source.head(4) == MAGIC


def read(source: Source, scope: Scope) -> Weights:
    """List the tensors in the order of the file's table. Raises `FormatError` for a file that has only a vocabulary.

    Any part of a split model opens all parts, if they are in the same folder; else `meta["incomplete"]` names the others.
    """
    return whole(source, _part)


def _part(source: Source, outer: Mapping[str, Value]) -> Weights:
    """List the tensors of one file; `outer` has the metadata of a split model, which are in its first file."""
    cursor = _Cursor(source)
    tensors, pairs = cursor.counts()
    metadata = _metadata(cursor, pairs)
    alignment = _alignment(cursor, metadata)
    infos = _infos(cursor, tensors)
    if not infos and any(key.startswith("tokenizer.") for key in metadata):
        raise FormatError(source.name, "holds a vocabulary only, and no weights")
    begin = -(-cursor.offset // alignment) * alignment
    known = isinstance((outer or metadata).get("general.architecture"), str)
    facts = metadata.pop(FACTS, None)
    weights = list(_weights(cursor, infos, begin, alignment, known=known))
    if isinstance(facts, str):
        weights = with_facts(weights, facts)
    return Weights(weights, meta={"version": cursor.version, "metadata": metadata})


class _Cursor:
    """Reads the values of the header one after another, in pages, in the file's version and byte order."""

    __slots__ = ("_base", "_page", "offset", "order", "source", "version")

    def __init__(self, source: Source) -> None:
        self.source = source
        self._base = self.offset = 0
        self._page = b""
        self.order = "<"
        self.take(4)
        version = self.unsigned("I")
        if version and not version & 0xFFFF:
            self.order = ">"  # in a big-endian file the low half of a small version comes last
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in (1, 2, 3):
            raise self.error(f"is GGUF of version {version:,}; versions 1 to 3 are supported")
        self.version = version

    def counts(self) -> tuple[int, int]:
        """Return the numbers of tensors and of metadata pairs, both checked against the size of the file."""
        tensors, pairs = self.length(), self.length()
        left = self.source.size - self.offset
        if tensors > min(left // 16, _TENSOR_LIMIT) or pairs > left // 9:
            raise self.error(f"claims {tensors:,} tensors and {pairs:,} metadata pairs in {left:,} bytes")
        return tensors, pairs

    def take(self, length: int) -> bytes:
        """Return the next bytes, and advance."""
        start = self.offset - self._base
        if start < 0 or start + length > len(self._page):
            wanted = max(length, min(_PAGE, self.source.size - self.offset))
            self._page, self._base, start = self.source.read(self.offset, wanted), self.offset, 0
        self.offset += length
        return self._page[start : start + length]

    def skip(self, length: int) -> None:
        if length > self.source.size - self.offset:
            raise self.error(f"claims {length:,} bytes of metadata, more than the file has (partial download?)")
        self.offset += length

    def scalar(self, code: str) -> Scalar:
        """Return the next number of a type, as `struct` spells it."""
        value: Scalar = struct.unpack(self.order + code, self.take(struct.calcsize(self.order + code)))[0]
        return value

    def unsigned(self, code: str) -> int:
        """Return the next whole number."""
        return int(self.scalar(code))

    def length(self) -> int:
        """Return a count, which takes four bytes in version 1."""
        return self.unsigned("I" if self.version == 1 else "Q")

    def text(self) -> str:
        """Return a string; bytes that are not UTF-8 become escapes."""
        length = self.length()
        if length > min(_TEXT_LIMIT, self.source.size - self.offset):
            raise self.error(f"claims a text of {length:,} bytes")
        return self.take(length).decode("utf-8", "backslashreplace")

    def error(self, what: str) -> FormatError:
        return FormatError(self.source.name, what, self.offset)


def _metadata(cursor: _Cursor, pairs: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for _ in range(pairs):
        key = cursor.text()
        if key in metadata:
            raise cursor.error(f"duplicate metadata key {printable(key)!r}; the file is ambiguous")
        kind = cursor.unsigned("I")
        metadata[key] = _value(cursor, kind)
        if key == "general.alignment" and kind != _U32:
            raise cursor.error(f"has an alignment of the type {_TYPES.get(kind, 'array')}, not uint32")
    return metadata


def _alignment(cursor: _Cursor, metadata: Mapping[str, Value]) -> int:
    """Return the multiple at which the data begins, as does each tensor in it."""
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise cursor.error(f"has the alignment {printable(alignment)}, which is not a power of two")
    return alignment


def _value(cursor: _Cursor, kind: int) -> Value:
    if kind == _STRING:
        return cursor.text()
    if kind == _ARRAY:
        return _array(cursor)
    if kind not in _SCALARS:
        raise cursor.error(f"has a metadata value of the unknown type {kind:,}")
    return cursor.scalar(_SCALARS[kind])


def _array(cursor: _Cursor) -> Value:
    """Return a short array of numbers as a list; for any other array its type and length: "string[128256]"."""
    kind, count = cursor.unsigned("I"), cursor.length()
    if kind == _STRING:
        _skip_texts(cursor, count)
    elif kind not in _SCALARS:
        raise cursor.error(f"invalid element type {kind:,} of a metadata array")
    elif count <= _SHORT:
        return [cursor.scalar(_SCALARS[kind]) for _ in range(count)]
    else:
        cursor.skip(count * struct.calcsize("<" + _SCALARS[kind]))
    return f"{_TYPES[kind]}[{count}]"


def _skip_texts(cursor: _Cursor, count: int) -> None:
    """Skip the texts of an array page by page, without decoding them: a vocabulary has 100,000 and more."""
    width = 4 if cursor.version == 1 else 8
    if count > (cursor.source.size - cursor.offset) // width:
        raise cursor.error(f"claims {count:,} texts in {cursor.source.size - cursor.offset:,} bytes")
    length_at = struct.Struct(cursor.order + ("I" if cursor.version == 1 else "Q")).unpack_from
    at, left, end = cursor.offset, count, cursor.source.size
    while left:
        page = cursor.source.read(at, min(_PAGE * 8, max(end - at, width)))
        place, last = 0, len(page) - width
        for done in range(left):  # noqa: B007 - this loop takes nearly all the time of listing a vocabulary
            if place > last:
                break
            (length,) = length_at(page, place)
            place += width + length
        else:
            done = left
        left, at = left - done, at + place
        if at > end:
            raise cursor.error("has a text that reaches past the end of the file (partial download?)")
    cursor.offset = at


class _Info:
    """An entry of the tensor table: the row-major shape, the number of the type, and the offset in the data."""

    __slots__ = ("kind", "offset", "shape")

    def __init__(self, shape: tuple[int, ...], kind: int, offset: int) -> None:
        self.shape = shape
        self.kind = kind
        self.offset = offset

    @property
    def nbytes(self) -> int:
        if self.kind in PLAIN:
            return prod(self.shape) * itemsize(PLAIN[self.kind])
        size, width, _ = QUANTS[_QUANTISED[self.kind]] if self.kind in _QUANTISED else (1, 0, None)
        return prod(self.shape) // size * width

    @property
    def dtype(self) -> str:
        return "float32" if self.kind in _QUANTISED else PLAIN.get(self.kind, "object")

    @property
    def encoding(self) -> str:
        return _QUANTISED.get(self.kind) or _WORDS.get(self.kind) or f"type {self.kind}"


def _infos(cursor: _Cursor, tensors: int) -> dict[str, _Info]:
    infos: dict[str, _Info] = {}
    for _ in range(tensors):
        name, count = cursor.text(), cursor.unsigned("I")
        if count > 4:
            raise cursor.error(f"{printable(name)} has {count:,} axes; GGUF allows four")
        shape = tuple(cursor.length() for _ in range(count))[::-1]
        if name in infos:
            raise cursor.error(f"duplicate tensor name {printable(name)!r}; the file is ambiguous")
        infos[name] = _Info(shape, cursor.unsigned("I"), cursor.unsigned("Q"))
    return infos


def _weights(cursor: _Cursor, infos: Mapping[str, _Info], begin: int, alignment: int, *, known: bool) -> Iterator[Weight]:
    overlaps = _overlaps(infos)
    for name, info in infos.items():
        try:
            if name in overlaps:
                shown = f"{printable(name)} overlaps {printable(overlaps[name])}"
                raise FormatError(cursor.source.name, shown, begin + info.offset)
            read = _reader(cursor, printable(name), info, begin + info.offset, alignment)
        except FormatError as error:
            read = Refused(error)
        role, axes = _meaning(name, len(info.shape)) if known else (Role.OTHER, "")
        yield Weight(
            name=name,
            shape=info.shape,
            dtype=info.dtype,
            encoding=info.encoding,
            read=read,
            role=role,
            axes=axes,
            layer=layer_of(name),
        )


def _overlaps(infos: Mapping[str, _Info]) -> dict[str, str]:
    """Return each tensor that begins before an earlier one ends, with the name of the earlier one."""
    overlaps, end, before = {}, 0, ""
    for name, info in sorted(infos.items(), key=lambda item: item[1].offset):
        if info.nbytes and info.offset < end:
            overlaps[name] = before
        if info.offset + info.nbytes > end:
            end, before = info.offset + info.nbytes, name
    return overlaps


def _reader(cursor: _Cursor, shown: str, info: _Info, offset: int, alignment: int) -> Reader:
    """Return the reader of a tensor whose data begins at `offset`. Raises `FormatError` for one that cannot be read."""
    source, kind, shape = cursor.source, info.kind, info.shape
    if kind not in PLAIN and kind not in _QUANTISED:
        raise FormatError(source.name, f"{shown} is of the unknown type {kind:,}")
    if not is_possible(shape):
        raise FormatError(source.name, f"{shown} has the impossible shape {printable(list(shape))}")
    if offset % alignment:
        raise FormatError(source.name, f"{shown} does not begin at a multiple of {alignment:,} bytes", offset)
    end = offset + info.nbytes
    if end > source.size:
        raise FormatError(source.name, f"{shown} ends at byte {end:,} of {source.size:,} (partial download?)", offset)
    if kind in PLAIN:
        return source.numbers(offset, PLAIN[kind], cursor.order)
    size = QUANTS[_QUANTISED[kind]][0]
    if not shape or shape[-1] % size:
        raise FormatError(source.name, f"{shown} has the shape {list(shape)}, whose rows are not whole blocks of {size}")
    if cursor.order == ">":
        raise FormatError(source.name, f"{shown} is quantised and big-endian, which is not supported")
    return quantised(source, offset, _QUANTISED[kind])


def _meaning(name: str, ndim: int) -> tuple[Role, str]:
    """Return role and axes by llama.cpp's names; weights with other names stay "other"."""
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
    """Write version 3, little-endian, each tensor in its own type. Scalars and texts of a GGUF's metadata are kept."""
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


def _head(weights: list[Weight], metadata: Mapping[str, str | Scalar]) -> bytes:
    """Return header, metadata and tensor table."""
    kinds = {dtype: kind for kind, dtype in PLAIN.items()}
    parts = [MAGIC, struct.pack("<IQQ", 3, len(weights), len(metadata))]
    parts += [_packed(key) + _typed(value) for key, value in metadata.items()]
    end = 0
    for weight in weights:
        dims = weight.shape[::-1]
        parts.append(_packed(weight.name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kinds[weight.dtype], end))
        end += -(-weight.nbytes // ALIGNMENT) * ALIGNMENT
    return b"".join(parts)


def _kept(metadata: object) -> dict[str, str | Scalar]:
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


def _typed(value: str | Scalar) -> bytes:
    """Encode a metadata value after its type: whole numbers in 32 bits where they fit, as llama.cpp expects them."""
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _packed(value)
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    return struct.pack("<II", 4, value) if 0 <= value < 1 << 32 else struct.pack("<Iq", 11, value)
