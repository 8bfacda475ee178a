"""safetensors: a length in 8 bytes, a JSON header, then the numbers, row-major, little-endian."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from json.encoder import encode_basestring_ascii as quote
from math import prod
from operator import itemgetter
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import check_json
from steelyard.codecs.limits import is_possible
from steelyard.codecs.metadata import dump_facts, with_facts, written_once
from steelyard.core.copying import put
from steelyard.core.net_facts import with_found
from steelyard.core.readers import chunks_of
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, cut_off, printable
from steelyard.storage.atomic import replacing
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from steelyard.codecs.plain import Plain
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array
    from steelyard.storage.source import Source

    _Entry = tuple[int, int, str, tuple[int, ...], str]

SUFFIXES = (".safetensors",)


DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
_PACKED = {"F4": ("float4_e2m1fn", 4), "F6_E2M3": ("float6_e2m3fn", 6), "F6_E3M2": ("float6_e3m2fn", 6)}
_BITS = {"U8": 8, "I8": 8, "BOOL": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32}
_BITS |= {"U64": 64, "I64": 64, "F64": 64, "C64": 64} | {word: bits for word, (_, bits) in _PACKED.items()}
_BITS |= {word: 8 for word in DTYPES if word.startswith("F8_")}
_PAIRS = "F4"
"""two numbers in a byte, the first in the low half, as PyTorch's float4_e2m1fn_x2; the shape counts numbers"""
_WHOLE = {int}
_METADATA = "__metadata__"
_WORDS = {dtype: word for word, dtype in DTYPES.items()}


def sniff(source: Source) -> bool:
    """Recognise a plausible header length followed by a brace."""
    head = source.head(64)
    return len(head) > 8 and int.from_bytes(head[:8], "little") <= limits.JSON and head[8:].lstrip().startswith(b"{")


def read(source: Source, scope: Scope) -> Weights:
    """List weights in the order of their bytes, or in the model's order if Steelyard kept that in the metadata.

    The weights of a file that R torch wrote have R torch's names.
    """
    begin, header = _header(source)
    meta = _metadata(source, header.pop(_METADATA, None))
    stored = _tensors(source, begin, header)
    if "__r__" in meta:
        from steelyard.codecs.r.torch import read_v3

        return read_v3(source, stored, meta)
    texts = dict(meta)
    listed = Weights(_with_removed(with_facts(stored, meta.pop("steelyard", None)), meta), meta=meta)
    return with_found(listed, source, "metadata", texts)


def _with_removed(listed: list[Weight], meta: dict[str, str]) -> list[Weight]:
    """Add the tied names that `safetensors.torch.save_model` leaves out: the metadata maps each to the name it kept."""
    named = {weight.name: weight for weight in listed}
    removed = {name: kept for name, kept in meta.items() if kept in named and name not in named}
    for name in removed:
        del meta[name]
    return infer_roles(listed + [_again(named[kept], name) for name, kept in removed.items()]) if removed else listed


def _again(weight: Weight, name: str) -> Weight:
    return weight.replace(name=name, layer=layer_of(name), role=Role.OTHER, axes="", tied=weight.tied or weight.name)


# The layout of a safetensors file:
#   offset  size  field
#   0       8     length n of the header, little-endian
#   8       n     JSON: {"__metadata__": {text: text}, name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...},
#                 padded with spaces to a multiple of 8
#   8 + n         tensors, row-major, little-endian, without gaps; data_offsets count from here
def _header(source: Source) -> tuple[int, dict[str, Plain]]:
    """Return the offset of the numbers, and the header. Duplicate names and anything but JSON are refused."""
    length = int.from_bytes(source.read(0, 8), "little")
    if length > limits.JSON:
        raise FormatError(
            source.name, f"the header claims {length:,} bytes, more than the {limits.JSON:,} that the format allows", 0
        )

    def unique(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
        names = dict(pairs)
        if len(names) < len(pairs):
            raise FormatError(source.name, "duplicate name in the header; the file is ambiguous", 8)
        return names

    try:
        text = source.read(8, length).decode("utf-8")
        check_json(text, source)
        header = json.loads(text, object_pairs_hook=unique)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(source.name, f"the header is not JSON: {error}", 8) from None
    if not isinstance(header, dict):
        raise FormatError(source.name, f"the header is a {type(header).__name__}, not an object of names", 8)
    return 8 + length, header


def _metadata(source: Source, meta: Plain) -> dict[str, str]:
    if meta is None:  # MLX writes null where it has none
        return {}
    texts = {key: value for key, value in meta.items() if isinstance(value, str)} if isinstance(meta, dict) else {}
    if not isinstance(meta, dict) or len(texts) < len(meta):
        raise FormatError(source.name, "__metadata__ is not an object of texts", 8)
    return texts


def _tensors(source: Source, begin: int, header: Mapping[str, Plain]) -> Iterator[Weight]:
    """Yield each tensor; together they must take every byte from the header to the end, without a gap."""
    entries = _entries(header) or [_entry(source, name, entry) for name, entry in header.items()]
    entries.sort(key=itemgetter(0, 1))
    end = 0
    for start, stop, word, shape, name in entries:
        if start != end:
            raise FormatError(
                source.name, f"{printable(name)} begins at byte {start:,} of the data, but the tensor before it ends at {end:,}"
            )
        end = stop
        yield _weight(source, begin + start, name, word, shape)
    if begin + end > source.size:
        raise cut_off(source.name, source.size, begin + end)
    if begin + end != source.size:
        raise FormatError(source.name, f"the tensors end at byte {begin + end:,} of {source.size:,} (trailing data?)")


def _entries(header: Mapping[str, Any]) -> list[_Entry] | None:
    """Return what `_entry` does of every entry, checked together, which takes a third of the time; None if one may be wrong."""
    try:
        rows = [(entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"]) for entry in header.values()]
        words, shapes, starts, stops = zip(*rows, strict=True)
    except (TypeError, KeyError, ValueError):
        return None
    numbers = chain(starts, stops, chain.from_iterable(shapes))
    if {*map(type, words)} != {str} or {*map(type, numbers)} != _WHOLE or min(starts) < 0:
        return None
    kinds = {*zip(words, shapes, strict=True)}
    if not all(word in _BITS and is_possible(shape) for word, shape in kinds):
        return None
    bits = {(word, shape): prod(shape) * _BITS[word] for word, shape in kinds}
    if [bits[kind] for kind in zip(words, shapes, strict=True)] != [
        8 * (stop - start) for start, stop in zip(starts, stops, strict=True)
    ]:
        return None
    return list(zip(starts, stops, words, shapes, header, strict=True))


def _entry(source: Source, name: str, entry: Any) -> _Entry:
    """Check one entry of the header, and return start, stop, type, shape and name of the tensor."""
    try:
        word, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise FormatError(source.name, f"{printable(name)} lacks a dtype, a shape or two data_offsets", 8) from None
    numbers = (*shape, start, stop)
    if type(word) is not str or {*map(type, numbers)} != _WHOLE or min(numbers) < 0 or not is_possible(shape):
        what = f"{printable(name)} has a shape or data_offsets that are not non-negative integers, or are too large"
        raise FormatError(source.name, what, 8)
    if stop < start:
        raise FormatError(source.name, f"{printable(name)} ends at byte {stop:,} before it begins at {start:,}", 8)
    bits = _BITS.get(word)
    if bits is not None and (prod(shape) * bits != (stop - start) * 8):
        raise FormatError(
            source.name, f"{printable(name)} has shape {list(shape)} of {word}, which does not take {stop - start:,} bytes", 8
        )
    return start, stop, word, shape, name


def _weight(source: Source, offset: int, name: str, word: str, shape: tuple[int, ...]) -> Weight:
    """Make a weight; a type that is not supported is listed, and refused when its numbers are read."""
    dtype = DTYPES.get(word)
    if dtype is not None:
        return Weight(name=name, shape=shape, dtype=dtype, read=Stored(source, offset, dtype), encoding=word)
    if word == _PAIRS:
        from steelyard.codecs.subbyte import bytes_of, decoded

        kind = _PACKED[word][0]

        def pairs(start: int, stop: int) -> Array:
            return decoded(source.part(offset, bytes_of(prod(shape), kind)), kind)(start, stop)

        return Weight(name=name, shape=shape, dtype=kind, encoding=word, read=pairs)
    dtype = _PACKED[word][0] if word in _PACKED else "object"
    why = ", whose packing the format does not define" if word in _PACKED else ", which cannot be read"
    refused = Refused(FormatError(source.name, f"{printable(name)} is stored as {printable(word)}{why}"))
    return Weight(name=name, shape=shape, dtype=dtype, encoding=word, read=refused)


def write(weights: Weights, path: Path) -> None:
    """Write wide types first, so that every tensor is aligned; tied weights are written once, their names in the metadata."""
    with replacing(path) as file:
        owned = _in_order(weights)
        file.write(_head(weights, owned, str(path)))
        put(owned, file)


def pieces(weights: Weights) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a file; each piece is valid until the next."""
    owned = _in_order(weights)
    yield _head(weights, owned, "a safetensors file")
    yield from chunks_of(owned)


def _in_order(weights: Weights) -> list[Weight]:
    return sorted(written_once(weights), key=lambda weight: -itemsize(weight.dtype))


def _head(weights: Weights, owned: list[Weight], shown: str) -> bytes:
    """Return what precedes the numbers in a file, which messages call `shown`."""
    # the facts of many weights are long, so no name keeps them
    entries = [json.dumps({_METADATA: {**_texts(weights.meta), "steelyard": dump_facts(weights)}}, separators=(",", ":"))[1:-1]]
    end = 0  # each entry is text at once, since many dicts take a lot of memory
    for weight in owned:
        if weight.dtype not in _WORDS:
            raise FormatError(
                shown, f"{printable(weight.name)} is {weight.dtype}, which safetensors cannot hold; convert it first"
            )
        if weight.name == _METADATA:
            raise FormatError(shown, f"a weight is called {_METADATA}, which safetensors keeps for its metadata; rename it")
        start, end = end, end + weight.nbytes
        shape = ",".join(map(str, weight.shape))
        entries.append(
            f'{quote(weight.name)}:{{"dtype":"{_WORDS[weight.dtype]}","shape":[{shape}],"data_offsets":[{start},{end}]}}'
        )
    text = f"{{{','.join(entries)}}}".encode()
    del entries
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _texts(meta: Mapping[str, object]) -> dict[str, str]:
    """Return metadata as texts of valid Unicode, which the format requires; `meta` may have bytes of a damaged file."""
    texts = {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in meta.items()}
    return {_valid(key): _valid(text) for key, text in texts.items()}


def _valid(text: str) -> str:
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
