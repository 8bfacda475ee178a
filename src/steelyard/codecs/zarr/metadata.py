"""What describes an array of zarr: `.zarray` of version 2 and `zarr.json` of version 3.

.zarray    {"zarr_format": 2, "shape": [8, 6], "chunks": [4, 3], "dtype": "<f4", "order": "C" or "F", "fill_value": null,
            "compressor": {"id": "zstd", "level": 1}, "filters": null, "dimension_separator": "."}
zarr.json  {"zarr_format": 3, "node_type": "array", "shape": [8, 6], "data_type": "float32", "fill_value": 0.0,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 3]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd", "configuration": {...}}]}

The codec sharding_indexed puts many chunks into one value, with an index of them. Sources: the specifications of zarr; the names
of TensorStore for the types that NumPy lacks.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.limits import is_possible
from steelyard.codecs.pickle.arrays import type_code
from steelyard.codecs.plain import from_json
from steelyard.codecs.zarr.unpacking import UNPACKED
from steelyard.dtypes import ITEMSIZES, UNKNOWN, itemsize
from steelyard.errors import FormatError, ShapeError, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steelyard.codecs.plain import Plain
    from steelyard.storage.source import Source

    Fields = Mapping[str, Plain]

METADATA = (".zarray", "zarr.json")
"""The keys of what describes an array, of version 2 and 3."""
_FLOATS = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}


class Sharding(NamedTuple):
    """How a value holds many chunks: the shape of all together, whether the index is at the start, and has a checksum."""

    shape: tuple[int, ...]
    at_start: bool
    checked: bool


class Array(NamedTuple):
    """An array: the shape of its chunks, the order of their axes and of bytes as they are stored, and how they are unpacked.

    `names` is what a key of a chunk begins with, and what is between the places along two axes. `fill` is the value of a chunk
    that is not stored, None if there is none: version 3 always needs one, but in version 2 the writer chose it.
    """

    shape: tuple[int, ...]
    dtype: str
    chunk: tuple[int, ...]
    axes: tuple[int, ...]
    byteorder: str
    unpacks: tuple[str, ...]
    names: tuple[str, str]
    fill: float | complex | None
    fill_is_chosen: bool
    sharding: Sharding | None


def array_of(source: Source) -> Array:
    """Decode what describes an array. Raises `FormatError` for anything that this reader could misread."""
    if source.size > limits.JSON:
        raise FormatError(source.name, f"has {source.size:,} bytes, too many for what describes an array")
    found = from_json(source.read(0, source.size), source)
    if not isinstance(found, dict):
        raise FormatError(source.name, "is not JSON that describes an array")
    version = found.get("zarr_format")
    if version not in (2, 3) or isinstance(version, bool):
        raise FormatError(source.name, f"is of version {printable(version, 20)} of zarr; 2 and 3 are read")
    try:
        return _version_2(found) if version == 2 else _version_3(found)
    except ShapeError as error:
        raise FormatError(source.name, str(error)) from None


def _version_2(found: Fields) -> Array:
    shape, chunk = _lengths(found, "shape"), _lengths(found, "chunks")
    byteorder, dtype = _type(found.get("dtype"))
    order, separator = found.get("order", "C"), found.get("dimension_separator", ".")
    if order not in ("C", "F"):
        raise ShapeError(f"has the order {quoted(order, 20)}; C and F are known")
    filters = found.get("filters") or []
    if not isinstance(filters, list):
        raise ShapeError("has filters that are not a list")
    codecs = [*filters, *([found["compressor"]] if found.get("compressor") is not None else [])]
    words = [_word(codec, "id") for codec in codecs]
    axes = tuple(range(len(shape)))
    names = "", _separator(separator)
    fill = _fill(found.get("fill_value"), dtype)
    turned = axes if order == "C" else axes[::-1]
    return _checked(Array(shape, dtype, chunk, turned, byteorder, _unpacks(words), names, fill, True, None))


def _version_3(found: Fields) -> Array:
    if found.get("node_type") != "array":
        raise ShapeError(f"describes {quoted(found.get('node_type'), 20)}, not an array")
    shape = _lengths(found, "shape")
    word, grid = found.get("data_type"), found.get("chunk_grid")
    if not isinstance(word, str) or word not in ITEMSIZES or word in (UNKNOWN, "float128"):
        raise ShapeError(f"is of the type {quoted(word, 60)}, which is not read")
    if _word(grid, "name") != "regular":
        raise ShapeError("has chunks of several shapes, which are not read")
    outer = _lengths(_settings(grid), "chunk_shape")
    keys = found.get("chunk_key_encoding")
    kind = _word(keys, "name")
    if kind not in ("default", "v2"):
        raise ShapeError(f"makes the keys of its chunks by {quoted(kind, 20)}, which is not known")
    separator = _separator(_settings(keys).get("separator", "/" if kind == "default" else "."))
    names = ("c" if kind == "default" else ""), separator
    codecs, sharding, chunk = _codecs(found), None, outer
    if codecs and _word(codecs[0], "name") == "sharding_indexed":
        sharding, chunk, codecs = _sharded(codecs, outer)
    axes, byteorder, words = _steps(codecs, len(shape))
    fill = _fill(found.get("fill_value"), word)
    return _checked(Array(shape, word, chunk, axes, byteorder, _unpacks(words), names, fill, False, sharding))


def _sharded(codecs: Sequence[Plain], outer: tuple[int, ...]) -> tuple[Sharding, tuple[int, ...], list[Plain]]:
    """Return the sharding, the shape of its chunks, and their codecs."""
    if len(codecs) > 1:
        raise ShapeError("packs whole shards, which is not read")
    settings = _settings(codecs[0])
    inner, index = _lengths(settings, "chunk_shape"), [_word(codec, "name") for codec in _codecs(settings, "index_codecs")]
    place = settings.get("index_location", "end")
    if index not in (["bytes"], ["bytes", "crc32c"]) or place not in ("start", "end"):
        raise ShapeError("has an index of its shards that is packed or placed in an unknown way")
    if len(inner) != len(outer) or any(not b or a % b for a, b in zip(outer, inner, strict=False)):
        raise ShapeError(f"has shards of {list(outer)} which chunks of {list(inner)} do not fill")
    return Sharding(outer, place == "start", len(index) == 2), inner, _codecs(settings)


def _steps(codecs: Sequence[Plain], rank: int) -> tuple[tuple[int, ...], str, list[str]]:
    """Return the order of the axes, the order of bytes, and the packing of chunks, which the codecs tell in this order."""
    axes, rest = tuple(range(rank)), list(codecs)
    while rest and _word(rest[0], "name") == "transpose":
        order = _lengths(_settings(rest.pop(0)), "order")
        if sorted(order) != list(range(rank)):
            raise ShapeError(f"turns its axes by {list(order)[:20]}, which does not name each of them once")
        axes = tuple(axes[at] for at in order)
    if not rest or _word(rest[0], "name") != "bytes":
        raise ShapeError("has no codec that makes bytes, or one that is not known")
    endian = _settings(rest[0]).get("endian", "little")
    if endian not in ("little", "big"):
        raise ShapeError(f"has the order of bytes {quoted(endian, 20)}")
    return axes, ">" if endian == "big" else "<", [_word(codec, "name") for codec in rest[1:]]


def _checked(found: Array) -> Array:
    lengths = found.sharding.shape if found.sharding else found.chunk
    if len(found.shape) != len(found.chunk) or len(found.shape) != len(lengths) or 0 in found.chunk:
        raise ShapeError(f"has the shape {list(found.shape)} in chunks of {list(found.chunk)}")
    if not is_possible(found.shape) or not is_possible(found.chunk) or not is_possible(lengths):
        raise ShapeError(f"has an impossible shape, {list(found.shape)[:70]} in chunks of {list(found.chunk)[:70]}")
    if prod(lengths) // max(prod(found.chunk), 1) > 1 << 32 or itemsize(found.dtype) < 1:
        raise ShapeError("has too many chunks in a shard")
    return found


def _lengths(fields: Fields, name: str) -> tuple[int, ...]:
    value = fields.get(name)
    lengths = tuple(each for each in value if type(each) is int and each >= 0) if isinstance(value, list) else ()
    if not isinstance(value, list) or len(lengths) != len(value):
        raise ShapeError(f"has no list of lengths as its {name}: {quoted(value, 60)}")
    return lengths


def _type(word: Plain) -> tuple[str, str]:
    """Return byte order and dtype of a type of version 2."""
    if isinstance(word, str) and word in ITEMSIZES and word not in (UNKNOWN, "float128"):
        return "<", word
    found = type_code(word) if isinstance(word, str) and word[:1] in ("<", ">", "|") else None
    if found is None:
        raise ShapeError(f"is of the type {quoted(word, 60)}, which is not read")
    return found


def _separator(separator: Plain) -> str:
    if separator not in (".", "/"):
        raise ShapeError(f"has {quoted(separator, 40)} between the places in the keys of its chunks; . and / are known")
    return str(separator)


def _codecs(fields: Fields, name: str = "codecs") -> list[Plain]:
    listed = fields.get(name)
    if not isinstance(listed, list):
        raise ShapeError(f"has no list of {name}")
    return listed


def _word(value: Plain, key: str) -> str:
    """Return the name of a codec or the like, which may be a text alone."""
    word = value.get(key) if isinstance(value, dict) else value
    if not isinstance(word, str):
        raise ShapeError(f"names no {key} where one is needed: {quoted(value, 60)}")
    return word


def _settings(value: Plain) -> Fields:
    found = value.get("configuration") if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _unpacks(words: Sequence[str]) -> tuple[str, ...]:
    """Return how chunks are unpacked: the codecs from the last to the first."""
    for word in words:
        if word not in UNPACKED:
            raise ShapeError(f"is packed by {quoted(word, 60)}, which is not read; known are {', '.join(UNPACKED)}")
    return tuple(reversed(words))


def _fill(value: Plain, dtype: str) -> float | complex | None:
    """Return the value of what is not stored; None where there is none, or it is no number."""
    if isinstance(value, str):
        value = float(_FLOATS[value]) if value in _FLOATS else None
    if dtype.startswith("complex") and isinstance(value, list) and len(value) == 2:
        parts = [_fill(each, "float64") for each in value]
        real, imaginary = parts
        return None if real is None or imaginary is None else complex(real) + 1j * complex(imaginary)
    return value if isinstance(value, (bool, int, float)) else None
