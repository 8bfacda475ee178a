"""Writes GGUF of version 3, with the key-values of the file that the weights were read from, or are written like.

Key-values are copied as bytes, in their order, also the long arrays of a tokenizer. Like another model, each tensor is in the
type that it has there: blocks whose numbers are the same are copied, others are encoded again.
"""

from __future__ import annotations

import re
import struct
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.metadata import dump_facts, written_once
from steelyard.codecs.original import copied, known_original
from steelyard.core.readers import raw_chunks
from steelyard.errors import FormatError, printable
from steelyard.formats.gguf import FACTS, FRAMEWORK, read
from steelyard.formats.gguf.header import ALIGNMENT, PLAIN, QUANTISED, STRING, WORDS, HeaderCursor, alignment_of, read_metadata
from steelyard.formats.gguf.quantisation import QUANTS, Blocks
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.formats.gguf.header import Scalar, Value
    from steelyard.storage.source import Source

FLOAT32 = 3.4028234663852886e38
"""The largest number of four bytes."""
_VERSION = "general.quantization_version"
"""The metadata key for the version of the blocks of quantisations, which is 2 since 2023."""
_FILE_TYPE, _ALIGNMENT = "general.file_type", "general.alignment"
_FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}
"""llama.cpp's numbers for files in which most tensors are of a type."""
_BLOCK = 1 << 20
"""numbers that are encoded at a time: whole blocks of every quantisation"""


class _Tensor(NamedTuple):
    """A tensor as it is written: its type by number and by name, its shape in numbers, and the function that yields its bytes."""

    name: str
    kind: int
    word: str
    shape: tuple[int, ...]
    nbytes: int
    chunks: Callable[[], Iterator[bytes | memoryview]]


class _Base(NamedTuple):
    """The file whose key-values are kept: their values, and where they are; with `weights` also the types of its tensors."""

    source: Source
    metadata: Mapping[str, Value]
    extents: Mapping[str, tuple[int, int]]
    alignment: int
    weights: Weights | None


def write_file(weights: Weights, path: Path) -> None:
    """Write the key-values, the table of tensors, and each tensor at a multiple of the alignment."""
    base = _base(weights)
    tensors = [_tensor(weight, base, path) for weight in written_once(weights)]
    like = base is not None and base.weights is not None
    alignment = base.alignment if base is not None and like else ALIGNMENT
    head = _head(tensors, _pairs(weights, base, tensors), alignment)
    with replacing(path) as file:
        file.write(head + bytes(-len(head) % alignment))
        for tensor in tensors:
            for chunk in tensor.chunks():
                file.write(chunk)
            file.write(bytes(-tensor.nbytes % alignment))


def _base(weights: Weights) -> _Base | None:
    """Return the file that the weights were read from, or are written like; None without one whose bytes can be copied."""
    original = known_original(weights, FRAMEWORK)
    if original is None:
        return None
    cursor = HeaderCursor(original.source)
    if cursor.version == 1 or cursor.order == ">":
        if original.is_like:
            why = f"is GGUF of version {cursor.version}{', big-endian' * (cursor.order == '>')}, of which no key-values are kept"
            raise FormatError(original.source.name, f"{why}; write it with llama.cpp's converter first")
        return None
    _, pairs = cursor.counts()
    metadata = read_metadata(cursor, pairs)
    found = _read_like(original.source) if original.is_like else None
    return _Base(original.source, metadata, cursor.extents, alignment_of(cursor, metadata), found)


def _read_like(source: Source) -> Weights:
    found = read(source, "model")
    if missing := found.meta.get("incomplete"):
        raise FormatError(source.name, f"{missing[0]}; without them it cannot be written again")
    return found


def _tensor(weight: Weight, base: _Base | None, path: Path) -> _Tensor:
    """Return a weight in the type of the base, or in its own. Raises `FormatError` for a type that GGUF lacks."""
    old = base.weights.get(weight.name) if base is not None and base.weights is not None else None
    if old is not None and isinstance(old.read, Blocks) and (weight.dtype, weight.encoding) == (old.dtype, old.encoding):
        return _in_blocks(weight, old, old.read, path)
    is_quantised = _is_quantised(weight)
    if (weight.dtype not in PLAIN.values() and not is_quantised) or len(weight.shape) > 4:
        raise FormatError(
            str(path),
            f"{printable(weight.name)} is {weight.dtype} with {len(weight.shape)} axes; GGUF holds up to four axes of "
            f"{', '.join(PLAIN.values())}; convert it first",
        )
    kind = _number(QUANTISED, weight.encoding) if is_quantised else _number(PLAIN, weight.dtype)
    word, shape = WORDS.get(kind, weight.encoding), weight.shape
    if is_quantised:
        size, width, _ = QUANTS[weight.encoding]
        shape = (*shape[:-1], shape[-1] // width * size)
    return _Tensor(weight.name, kind, word, shape, weight.nbytes, lambda: raw_chunks(weight))


def _number(kinds: Mapping[int, str], word: str) -> int:
    return next(kind for kind, known in kinds.items() if known == word)


def _is_quantised(weight: Weight) -> bool:
    """Whether a weight is rows of whole blocks of a quantisation, as bytes."""
    width = QUANTS[weight.encoding][1] if weight.encoding in QUANTISED.values() else 0
    return weight.dtype == "uint8" and bool(weight.shape) and width > 0 and weight.shape[-1] % width == 0


def _in_blocks(weight: Weight, old: Weight, blocks: Blocks, path: Path) -> _Tensor:
    """Return a weight in the quantisation of the base: its own blocks if the numbers are the same, else new ones."""
    from steelyard.formats.gguf.encoding import ENCODERS, encoded

    word = old.encoding
    size, width, _ = QUANTS[word]
    nbytes = weight.size // size * width

    def encoding() -> Iterator[bytes]:
        import numpy as np

        for block in weight.blocks(_BLOCK):
            yield encoded(word, block.astype(np.float32).reshape(-1, size), weight.name).tobytes()

    def same() -> Iterator[bytes]:
        return copied(blocks.source, blocks.offset, blocks.offset + nbytes)

    is_same = all(one.tobytes() == other.tobytes() for one, other in zip(old.blocks(), weight.blocks(), strict=True))
    if not is_same and word not in ENCODERS:
        why = f"{printable(weight.name)} is {word} in the model, which is read here, and not encoded"
        raise FormatError(str(path), f"{why}; ask for another type, as with --dtype float16")
    return _Tensor(weight.name, _number(QUANTISED, word), word, weight.shape, nbytes, same if is_same else encoding)


# metadata pair  u64 length of the key | key | u32 type | value
# tensor info    u64 length of the name | name | u32 number of axes | u64 lengths, the innermost first | u32 type | u64 offset
def _head(tensors: list[_Tensor], pairs: list[bytes], alignment: int) -> bytes:
    """Return header, metadata and tensor table."""
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(pairs)), *pairs]
    end = 0
    for tensor in tensors:
        dims = tensor.shape[::-1]
        parts.append(_packed(tensor.name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, tensor.kind, end))
        end += -(-tensor.nbytes // alignment) * alignment
    return b"".join(parts)


def _pairs(weights: Weights, base: _Base | None, tensors: list[_Tensor]) -> list[bytes]:
    """Return the key-values: those of the base, as far as `meta` still has them, then new ones."""
    known = weights.meta.get("metadata")
    metadata = dict(known) if isinstance(known, dict) else {}
    is_like = base is not None and base.weights is not None
    pairs = _copied_pairs(base, metadata, tensors) if base is not None else {}
    for key, value in _kept(metadata).items():
        if key not in pairs:
            pairs[key] = _packed(key) + _typed(value)
    if not is_like:
        if _VERSION not in pairs and any(tensor.kind in QUANTISED for tensor in tensors):
            pairs[_VERSION] = _packed(_VERSION) + _typed(2)
        pairs[FACTS] = _packed(FACTS) + _typed(dump_facts(weights))
    return list(pairs.values())


def _copied_pairs(base: _Base, metadata: Mapping[str, Value], tensors: list[_Tensor]) -> dict[str, bytes]:
    """Return the bytes of the key-values of the base whose values are still the same, by key."""
    pairs: dict[str, bytes] = {}
    for key, (begin, end) in base.extents.items():
        if key in (_FILE_TYPE, _ALIGNMENT, FACTS) and base.weights is None:
            continue
        if key == _FILE_TYPE and (words := _retyped(base, tensors)):
            number = _FILE_TYPES.get(words.pop()) if len(words) == 1 else None
            pairs |= {key: _packed(key) + _typed(number)} if number is not None else {}
        elif key == FACTS or (key in metadata and repr(metadata[key]) == repr(base.metadata[key])):
            pairs[key] = b"".join(copied(base.source, begin, end))
    return pairs


def _retyped(base: _Base, tensors: list[_Tensor]) -> set[str]:
    """Return the types of the tensors that have another one in the base."""
    before = {} if base.weights is None else {weight.name: weight.encoding for weight in base.weights.values()}
    return {tensor.word for tensor in tensors if tensor.word != before.get(tensor.name)}


def _kept(metadata: Mapping[str, object]) -> dict[str, str | Scalar]:
    skipped = (_ALIGNMENT, _FILE_TYPE, FACTS)
    return {
        key: value
        for key, value in metadata.items()
        if isinstance(value, (str, int, float)) and key not in skipped and not re.fullmatch(r"\w+\[\d+\]", str(value))
    }


def _packed(text: str) -> bytes:
    data = text.encode(errors="backslashreplace")
    return struct.pack("<Q", len(data)) + data


def _typed(value: str | Scalar) -> bytes:
    """Encode a metadata value after its type: numbers in 32 bits where they fit, as llama.cpp expects them.

    A whole number that 64 bits do not hold, as a JSON may have one, becomes a text.
    """
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _packed(value)
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, float):
        return struct.pack("<Id", 12, value) if FLOAT32 < abs(value) < inf else struct.pack("<If", 6, value)
    if 0 <= value < 1 << 32:
        return struct.pack("<II", 4, value)
    if -1 << 63 <= value < 1 << 63:
        return struct.pack("<Iq", 11, value)
    return struct.pack("<IQ", 10, value) if 0 <= value < 1 << 64 else _typed(str(value))
