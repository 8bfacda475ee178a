"""Writes TensorFlow.js: a model or a manifest, and shards of 4 MiB by the published names.

The layers of a model that was read are written again, with all of its weights in their places; those that are not given keep
their bytes. Float16 numbers are stored as TensorFlow.js quantises floats to them, since it knows no float16 of its own.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.metadata import dump_facts
from steelyard.codecs.original import copied, known_original
from steelyard.core.casting import converted
from steelyard.core.readers import raw_chunks
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.errors import FormatError, SteelyardError, printable, quoted
from steelyard.formats.tfjs.manifest import CODES, HALF, Entry, ManifestReader
from steelyard.formats.tfjs.models import FACTS, FRAMEWORK, MANIFEST, SHARD, content_of, manifest_of
from steelyard.storage.atomic import creating, replacing
from steelyard.storage.atomic_set import replace_set

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights

PLAIN = ("float32", "int32", "bool", "complex64")
"""The types that TensorFlow.js reads as they are."""
_BLOCK = 1 << 20

Chunks = Callable[[], Iterator[bytes | memoryview]]


class _Entry(NamedTuple):
    """A weight in the manifest, the number of its bytes, and the function that yields them."""

    facts: dict[str, Any]
    size: int
    chunks: Chunks


def write_model(weights: Weights, path: Path, shard_size: int) -> None:
    """Write the shards, then the file that names them, and remove the shards of the file that it replaces."""
    model, entries = _planned(weights, path)
    names: list[str] = []
    total = sum(entry.size for entry in entries)
    shards = ceil(total / shard_size)
    if shards > limits.SHARDS:
        raise FormatError(str(path), f"would have {shards:,} shards, more than {limits.SHARDS:,}; take larger ones")

    def plan() -> tuple[list[str], set[str]]:
        return _free_names(path.parent, shards), _named_by(path) or set()

    def fill(folder: Path, free: Sequence[str]) -> None:
        names.extend(free)
        _fill(folder, free, shard_size, (chunk for entry in entries for chunk in entry.chunks()))

    def finish() -> None:
        manifest = [{"paths": names, "weights": [entry.facts for entry in entries]}]
        content = manifest if model is None else {**model, "weightsManifest": manifest}
        with replacing(path) as file:
            file.write(json.dumps(content).encode())

    replace_set(path, plan, fill, finish, lambda: _named_in(path.parent))


def _planned(weights: Weights, path: Path) -> tuple[dict[str, Any] | None, list[_Entry]]:
    """Return what the model has beside its manifest, None where a manifest alone is written, and the weights of the latter."""
    if path.name.lower().endswith(MANIFEST):
        return None, [_entry(weight, path) for weight in weights.values()]
    original = known_original(weights, FRAMEWORK)
    if original is None:
        model = {"generatedBy": "Steelyard", "weightsManifest": [], "userDefinedMetadata": {FACTS: dump_facts(weights)}}
        return model, [_entry(weight, path) for weight in weights.values()]
    content = content_of(original.source)
    reader = ManifestReader(original.source, manifest_of(original.source, content))
    if reader.incomplete:
        raise FormatError(original.source.name, f"{reader.incomplete[0]}, so it cannot be written again")
    before = {weight.name: weight for weight in reader.weights}
    for weight in weights.values():
        _require(weight, before.get(weight.name), path)
    entries = [
        _again(stored, before[stored.name], weights.get(stored.name), path, is_like=original.is_like) for stored in reader.stored
    ]
    return (content if isinstance(content, dict) else None), entries


def _require(weight: Weight, old: Weight | None, path: Path) -> None:
    if old is None:
        raise FormatError(str(path), f"the layers of the original model have no weight called {quoted(weight.name)}")
    if old.shape != weight.shape:
        shapes = f"is {list(old.shape)} in the original model, but {list(weight.shape)} here"
        raise FormatError(str(path), f"{printable(weight.name)} {shapes}")


def _again(stored: Entry, old: Weight, weight: Weight | None, path: Path, *, is_like: bool) -> _Entry:
    """Return a weight of the original model, as it is stored if its numbers are the same."""
    in_its_type = weight is None or (weight.dtype, weight.encoding if is_like else "") == (old.dtype, old.encoding)
    if weight is None or (in_its_type and _is_same(old, weight)):
        return _copy(stored, path)
    if in_its_type and old.encoding in CODES:
        return _coded(weight, old.encoding, stored.facts, path)
    if in_its_type and old.encoding == HALF:
        return _entry(weight.replace(dtype=HALF, read=_halved(weight)), path)
    return _entry(weight, path)


def _copy(stored: Entry, path: Path) -> _Entry:
    if stored.part is None:
        raise FormatError(str(path), f"the original model ends before {printable(stored.name)}, so it cannot be written again")
    source, begin, end = stored.part
    return _Entry(stored.facts, end - begin, lambda: copied(source, begin, end))


def _is_same(old: Weight, new: Weight) -> bool:
    return all(one.tobytes() == other.tobytes() for one, other in zip(old.blocks(), new.blocks(), strict=True))


def _halved(weight: Weight) -> Callable[[int, int], Any]:
    return lambda start, stop: converted(weight.name, weight.read(start, stop), numpy_dtype(HALF), start, weight.shape)


def _entry(weight: Weight, path: Path) -> _Entry:
    """Return a weight in its own type. Raises `FormatError` for a type that TensorFlow.js does not have."""
    if weight.dtype not in (*PLAIN, HALF):
        held = f"TensorFlow.js holds {', '.join((*PLAIN, HALF))}"
        raise FormatError(str(path), f"{printable(weight.name)} is {weight.dtype}; {held}; convert it first, or leave it out")
    facts: dict[str, Any] = {"name": weight.name, "shape": list(weight.shape), "dtype": weight.dtype}
    if weight.dtype == HALF:
        facts |= {"dtype": "float32", "quantization": {"dtype": HALF, "original_dtype": "float32"}}
    return _Entry(facts, weight.size * itemsize(weight.dtype), lambda: raw_chunks(weight))


def _coded(weight: Weight, codes: str, facts: dict[str, Any], path: Path) -> _Entry:
    """Return a weight quantised as TensorFlow.js's own converter does: affine, with an exact zero if it is in the range."""
    import numpy as np

    ends = np.array([(block.min(), block.max()) for block in weight.blocks()] or [(0, 0)], np.float64)
    least, most = float(ends.min()), float(ends.max())
    if not np.isfinite(ends).all():
        what = f"holds NaN or Inf, which no {codes} stands for; write it with dtype float32"
        raise FormatError(str(path), f"{printable(weight.name)} {what}")
    scale, low, high = _range(least, most, int(np.iinfo(codes).max))
    single = least == most

    def chunks() -> Iterator[bytes]:
        for block in weight.blocks(_BLOCK):
            real = np.zeros(block.shape) if single else np.round((block.astype(np.float64).clip(low, high) - low) / scale)
            yield real.astype(numpy_dtype(codes).newbyteorder("<")).tobytes()

    quantization = {"dtype": codes, "min": low, "scale": scale, "original_dtype": weight.dtype}
    return _Entry({**facts, "quantization": quantization}, weight.size * itemsize(codes), chunks)


def _range(least: float, most: float, codes: int) -> tuple[float, float, float]:
    """Return the scale, and the range of numbers, which is moved so that 0, if it is in it, has a code of its own."""
    if least == most:
        return 1.0, least, most
    scale = (most - least) / codes
    if not least <= 0 <= most:
        return scale, least, most
    low = -round(-least / scale) * scale
    return scale, low, codes * scale + low


def _fill(folder: Path, names: Sequence[str], size: int, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a run of bytes into files of `size` bytes each, but for the last."""
    pieces = _cut(chunks, size)
    for name in names:
        with creating(folder / name) as file:
            for piece, is_last in pieces:
                file.write(piece)
                if is_last:
                    break


def _cut(chunks: Iterable[bytes | memoryview], size: int) -> Iterator[tuple[memoryview, bool]]:
    """Yield pieces of a run of bytes, and whether a file of `size` bytes ends with them."""
    left = size
    for chunk in chunks:
        view = memoryview(chunk).cast("B") if len(chunk) else memoryview(b"")
        while view:
            piece, view = view[:left], view[left:]
            left -= len(piece)
            yield piece, not left
            left = left or size


def _free_names(folder: Path, shards: int) -> list[str]:
    """Return the published names of the shards of a group of which the folder has none."""
    taken = {match[1] for name in os.listdir(folder) if (match := re.match(r"group(\d+)-shard", name))}
    group = next(number for number in count(1) if str(number) not in taken)
    return [f"group{group}-shard{place}of{shards}.bin" for place in range(1, shards + 1)]


def _named_by(path: Path) -> set[str] | None:
    """Return the shards in the same folder that a model or a manifest names; None if it cannot be read."""
    from steelyard.storage.source import open_path

    try:
        source = open_path(path)
        manifest = manifest_of(source, content_of(source))
    except (SteelyardError, OSError):
        return None
    groups = manifest if isinstance(manifest, list) else []
    paths = [group.get("paths") for group in groups if isinstance(group, dict)]
    return {name for each in paths if isinstance(each, list) for name in each if isinstance(name, str) and SHARD.fullmatch(name)}


def _named_in(folder: Path) -> set[str] | None:
    """Return the shards that the models of a folder name; None if one of these cannot be read."""
    found: set[str] = set()
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.lower().endswith((MANIFEST, "model.json")):
                named = _named_by(folder / name)
                if named is None:
                    return None
                found |= named
    return found
