"""A model in several files: a JSON index that maps each tensor to its file, or a folder of the Hub.

The shards are files of any format, and are listed in the order of their names. A folder must hold one model; if there are
several, the error lists their files to choose from.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.metadata import dump_facts, with_facts, written_once
from steelyard.codecs.shard_index import shard_index
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import FileMissingError, FormatError, printable
from steelyard.storage.atomic import replacing
from steelyard.storage.atomic_set import replace_set

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".index.json",)

SHARD_SIZE = 5_000_000_000
"""The default size of a shard in bytes, as in the Hub's own tools."""

_NUMBERED = re.compile(r"(.+)-(\d+)-of-(\d+)(\.\w+)")
_SINGLE = re.compile(
    r".*\.safetensors|((diffusion_)?pytorch|adapter)_model.*\.bin|(model|task)\.weights\.h5"
)  # a preset of KerasHub
_INDEXES = (".safetensors.index.json", ".bin.index.json")
_KEPT = ("merge", "quantized", "quantization_config")
"""What an index keeps of the metadata: the recipe of a merge, and what was asked of a quantiser."""
_NAMES = "tensor_names"
"""The key of the metadata with the names of those that have facts of their own there, as torchao's shards have them."""
_LIBRARIES = ("pt", "mlx", "tf", "flax", "np")
"""The words for the library that wrote a safetensors file."""
_ADAPTER = "adapter_model."
"""How the name of an adapter's file begins, which may be beside its base."""
_KERAS, _GGUF = ".weights.json", ".gguf"


def sniff(source: Source) -> bool:
    """Recognise a JSON object with a "weight_map", or a folder with one model under the Hub's file names."""
    if source.is_folder:
        return len(_candidates(source)) == 1
    if source.name.lower().endswith(_KERAS):
        return False
    head = source.head(1 << 16).lstrip()
    return head.startswith(b"{") and (source.name.lower().endswith(SUFFIXES) or b'"weight_map"' in head)


def read(source: Source, scope: Scope) -> Weights:
    """List the weights of each shard in turn, only those that the index maps to it."""
    return _folder(source, scope) if source.is_folder else _indexed(source, scope)


def _folder(source: Source, scope: Scope) -> Weights:
    """Read the one model of a folder."""
    from steelyard.formats import weights_in

    (shards,) = _candidates(source).values()
    numbered = _NUMBERED.fullmatch(shards[0])
    if numbered and numbered[4] == _GGUF:
        return weights_in(source.beside(shards[0]), scope)  # which finds the others
    if numbered and len(shards) != int(numbered[3]):
        raise FormatError(source.name, f"the folder has {len(shards)} of {int(numbered[3])} shards (partial download?)")
    if len(shards) == 1:
        return weights_in(source.beside(shards[0]), scope)
    parts = {shard: _shard(source, shard, scope) for shard in shards}
    return Weights(_each_once(source, parts), meta={**_facts_of_tensors(parts.values()), "shards": shards})


def _candidates(source: Source) -> dict[str, list[str]]:
    """Return the models of a folder: the name of each, and its files, or only its index.

    The index of a model, if it has one, decides which shards belong to it; other shards of the same name are leftovers. An
    adapter beside its one base is none of them: a warning names what is left out.
    """
    names = sorted(name for name in source.names() if source.path is None or os.path.isfile(os.path.join(source.path, name)))
    models = {name: [name] for name in names if name.endswith(_INDEXES)}
    covered = {shard for name in models for shard in set(_map(source.beside(name))[0].values())}
    indexed = {os.path.splitext(name.removesuffix(SUFFIXES[0])) for name in models}
    for name in names:
        numbered = _NUMBERED.fullmatch(name)
        is_part = numbered is not None and numbered[4] == _GGUF
        if (is_part or _SINGLE.fullmatch(name)) and name not in covered and not _is_left_over(name, indexed):
            model = f"{numbered[1]}-1-of-{numbered[3]}{numbered[4]}" if numbered else name
            models.setdefault(model, []).append(name)
    bases = {name: files for name, files in models.items() if not name.startswith(_ADAPTER)}
    return bases if len(bases) == 1 else models


def _is_left_over(name: str, indexed: set[tuple[str, str]]) -> bool:
    """Whether a file has the name of a shard of one of the models that have an index, given by stem and suffix."""
    numbered = _NUMBERED.fullmatch(name)
    return numbered is not None and any(
        numbered[4] == suffix and re.fullmatch(rf"{re.escape(stem)}(-[0-9a-f]{{8}})?", numbered[1]) for stem, suffix in indexed
    )


def _each_once(source: Source, parts: Mapping[str, Weights]) -> Iterable[Weight]:
    owners: dict[str, str] = {}
    for shard, weights in parts.items():
        for name in weights:
            if name in owners:
                raise FormatError(source.name, f"{printable(name)} is in {printable(owners[name])} and in {printable(shard)}")
            owners[name] = shard
    return [weight for weights in parts.values() for weight in weights.values()]


def _indexed(source: Source, scope: Scope) -> Weights:
    tensors, metadata = _map(source)
    shards: dict[str, list[str]] = {}
    for name, shard in tensors.items():
        shards.setdefault(shard, []).append(name)
    facts = metadata.pop("steelyard", None)
    weights = []
    parts = {shard: _shard(source, shard, scope) for shard in sorted(shards)}
    for shard, held in parts.items():
        wanted = set(shards[shard])
        listed = {weight.name: _mapped(weight.name, wanted) for weight in held.values()}
        if absent := wanted.difference(listed.values()):
            raise FormatError(source.name, f"{printable(min(absent))} is not in {printable(shard)}, to which the index maps it")
        weights += [weight for weight in held.values() if listed[weight.name] is not None]
    if isinstance(facts, str):
        weights = with_facts(weights, facts)
    kept = {key: metadata[key] for key in _KEPT if key in metadata}
    return Weights(weights, meta={**_facts_of_tensors(parts.values()), **kept, "metadata": metadata, "shards": sorted(shards)})


def _mapped(name: str, wanted: Collection[str]) -> str | None:
    """Return the tensor of an index that a weight is, or that it is a part of, as the codes and scales of a quantised one are."""
    while name not in wanted:
        name = name.rpartition(".")[0]
        if not name:
            return None
    return name


def _facts_of_tensors(parts: Iterable[Weights]) -> dict[str, object]:
    """Return what the metadata of each shard says of its tensors, and their names, as one file has them."""
    said = {name: text for part in parts for name, text in _of_shards(part).items() if name not in ("format", _NAMES)}
    return {**said, _NAMES: json.dumps([*said])} if said else {}


def missing_shards(source: Source) -> dict[str, list[str]]:
    """Return the missing shards of an index, or of a folder with one, each with the names of its tensors.

    In a folder without an index, missing shards are known by the numbers in the names, and their tensors are not. Empty
    for anything but a model in shards.
    """
    if source.is_folder:
        names = sorted(source.names())
        indexes = [name for name in names if name.endswith(_INDEXES)]
        if len(indexes) == 1:
            return missing_shards(source.beside(indexes[0]))
        return {} if indexes else {name: [] for name in _missing_numbers(names)}
    if not sniff(source) and not source.name.lower().endswith(_KERAS):
        return {}
    missing: dict[str, list[str]] = {}
    for name, shards in shard_index(source)[0].items():
        for shard in shards:
            try:
                source.beside(shard)
            except FileMissingError:
                missing.setdefault(shard, []).append(name)
    return missing


def _missing_numbers(names: Iterable[str]) -> list[str]:
    """Return the names that a numbered set of shards lacks."""
    sets: dict[tuple[str, str, str], set[int]] = {}
    for name in names:
        if numbered := _NUMBERED.fullmatch(name):
            stem, number, count, suffix = numbered.groups()
            sets.setdefault((stem, count, suffix), set()).add(int(number))
    return [
        f"{stem}-{number:0{len(count)}}-of-{count}{suffix}"
        for (stem, count, suffix), present in sorted(sets.items())
        if int(count) <= limits.SHARDS
        for number in range(1, int(count) + 1)
        if number not in present
    ]


def _shard(source: Source, name: str, scope: Scope) -> Weights:
    from steelyard.formats import part_in

    try:
        shard = source.beside(name)
    except FileMissingError:
        raise FormatError(source.name, f"the shard {printable(name)} is missing (partial download?)") from None
    if shard.is_folder or name.lower().endswith(".json"):
        raise FormatError(source.name, f"{printable(name)} is not a shard but a folder or another index")
    return part_in(shard, scope)


def _map(source: Source) -> tuple[dict[str, str], dict[str, Plain]]:
    """Return the file of each tensor, and the metadata of the index."""
    files, metadata = shard_index(source)
    if any(len(shards) > 1 for shards in files.values()):
        raise FormatError(source.name, "the index maps a tensor to several files")
    return {name: shards[0] for name, shards in files.items()}, metadata


def write(weights: Weights, path: Path, shard_size: int = SHARD_SIZE) -> None:
    """Write shards of at most `shard_size` bytes of weights each (but at least one weight), then the index.

    `path` is the name of the index, which also determines the format of the shards: `model.safetensors.index.json`. An older
    model stays intact until the new index replaces its index. Then its shards are removed if Steelyard wrote them under this
    name, as are shards without an index that a killed process left behind.
    """
    from steelyard.formats import writer_of

    stem, suffix = os.path.splitext(path.name[: -len(SUFFIXES[0])])
    suffix = suffix or ".safetensors"
    parts = list(_split(weights, shard_size))
    writer = writer_of(path.parent / f"{stem}{suffix}")
    index: dict[str, str] = {}

    def plan() -> tuple[list[str], set[str]]:
        return _free_names(path.parent, stem, suffix, len(parts)), _old_shards(path, stem, suffix)

    def fill(folder: Path, names: Sequence[str]) -> None:
        for name, part in zip(names, parts, strict=True):
            writer.write(Weights(part, meta=_of_shards(weights)), folder / name)
            index.update({weight.name: name for weight in part})

    def finish() -> None:
        kept = {key: _text(weights.meta[key]) for key in _KEPT if key in weights.meta}
        metadata = {"total_size": weights.nbytes, **kept, "steelyard": dump_facts(weights)}
        with replacing(path) as file:
            file.write(json.dumps({"metadata": metadata, "weight_map": index}, indent=2).encode())

    replace_set(path, plan, fill, finish, lambda: _named(path.parent))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _of_shards(weights: Weights) -> dict[str, object]:
    """Return the metadata of every shard: what each tensor is, where the library that loads them needs that."""
    names = weights.meta.get(_NAMES)
    try:
        listed = json.loads(names) if isinstance(names, str) else []
    except (ValueError, RecursionError):
        listed = []
    said = {name: weights.meta[name] for name in listed if isinstance(name, str) and name in weights.meta}
    own = weights.meta.get("format")
    return {"format": own if own in _LIBRARIES else "pt", **({**said, _NAMES: names} if said else {})}


def _split(weights: Weights, shard_size: int) -> Iterable[list[Weight]]:
    """Split the weights, tied ones once, into runs of at most `shard_size` bytes."""
    shard: list[Weight] = []
    size = 0
    for weight in written_once(weights):
        if shard and size + weight.nbytes > shard_size:
            yield shard
            shard, size = [], 0
        shard.append(weight)
        size += weight.nbytes
    yield shard


def _free_names(folder: Path, stem: str, suffix: str, count: int) -> list[str]:
    """Return unused file names, so that an older model stays whole while the new one is written."""
    # the names of the new shards must differ from those of the old ones until the index is replaced
    mark = ""
    while True:
        names = [f"{stem}{mark}-{place:05}-of-{count:05}{suffix}" for place in range(1, count + 1)]
        if not any((folder / name).exists() for name in names):
            return names
        mark = f"-{os.urandom(4).hex()}"


def _old_shards(path: Path, stem: str, suffix: str) -> set[str]:
    """Return the shards that a save under the same name wrote before. Files that any other index names are never removed."""
    from steelyard.storage.source import open_path

    try:
        tensors, metadata = _map(open_path(path))
    except (FormatError, FileMissingError):
        return set()
    if "steelyard" not in metadata:
        return set()
    ours = re.compile(rf"{re.escape(stem)}(-[0-9a-f]{{8}})?-\d{{5}}-of-\d{{5}}{re.escape(suffix)}")
    return {name for name in tensors.values() if ours.fullmatch(name)}


def _named(folder: Path) -> set[str] | None:
    """Return the shards that the indexes of a folder name; None if one of these cannot be read."""
    from steelyard.storage.source import open_path

    try:
        indexes = [open_path(folder / name) for name in os.listdir(folder) if name.endswith(SUFFIXES)]
        return {shard for index in indexes for shard in _map(index)[0].values()}
    except (FormatError, OSError):
        return None
