"""Keras 3's `.keras`: a zip archive of `config.json`, `metadata.json` and an HDF5 file with the weights.

Writing gives the model that the weights were read from with new numbers.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.keras.graph import graph_maker
from steelyard.codecs.keras.layout import model_weights
from steelyard.codecs.keras.writing import LAYOUT, contents
from steelyard.codecs.zip import Member, directory, is_zip, member_source
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".keras",)

WEIGHTS = "model.weights.h5"
BLOCK = 1 << 20
"""Bytes that are copied at once."""
_ORIGINAL = "model"
"""The key in `meta` under which weights keep the model that they came from."""


class Original:
    """The file that weights were read from, kept in their `meta` so that it can be written with new numbers."""

    __slots__ = ("source",)

    def __init__(self, source: Source) -> None:
        self.source = source

    def __repr__(self) -> str:
        return f"the Keras model in {printable(Path(self.source.name).name)}"


def sniff(source: Source) -> bool:
    """A zip archive whose last bytes, the directory, name the HDF5 file or the config."""
    if not is_zip(source):
        return False
    tail = source.read(max(source.size - 4096, 0), min(source.size, 4096))
    return WEIGHTS.encode() in tail or (b"config.json" in tail and source.name.lower().endswith(SUFFIXES))


def read(source: Source, scope: Scope) -> Weights:
    """In the order and by the names of `model.weights`; with scope "all" every dataset by its path in the HDF5 file.

    A config that makes no sense costs the names that stand in it, no more; `meta` says so.
    """
    from steelyard.codecs.hdf5.reading import by_path, open_tree  # h5py is an extra, and imported for these files only

    members = directory(source)
    if WEIGHTS not in members:
        raise FormatError(source.name, _without(members))
    tree = open_tree(member_source(source, members[WEIGHTS]))
    meta = _json(source, members, "metadata.json")
    meta = meta if isinstance(meta, dict) else {}
    config = _json(source, members, "config.json")
    if not isinstance(config, dict):
        meta["note"] = "config.json cannot be read: names come from the weights file, without those of the models around"
        config = None
    if scope == "all":
        return Weights(by_path(tree), meta=meta)
    found, layout = model_weights(tree, config)
    meta = {**meta, **_about(config), LAYOUT: layout, _ORIGINAL: Original(source)}
    return Weights(found, meta=meta, graph=graph_maker(config, found))


def _without(members: dict[str, Member]) -> str:
    if "model.weights.npz" in members:
        return "keeps its weights as a pickled model.weights.npz, which is never unpickled; save it again with h5py installed"
    if "model.weights.json" in members:
        return "keeps its weights in shards, which are not read; save it again without max_shard_size"
    return f"holds no {WEIGHTS} (a config alone has no weights)"


def _json(source: Source, members: dict[str, Member], name: str) -> Any:
    """Return a member as JSON; None where it is missing or no JSON."""
    member = members.get(name)
    if member is None or member.size > limits.JSON:
        return None
    try:
        content = member_source(source, member)
        return json.loads(content.read(0, content.size))
    except (ValueError, RecursionError):
        return None


def _about(config: dict[str, Any] | None) -> dict[str, Any]:
    inner = config.get("config") if config else None
    name = inner.get("name") if isinstance(inner, dict) else None
    return {"class_name": config.get("class_name"), "name": name} if config and isinstance(name, str) else {}


def write(weights: Weights, path: Path) -> None:
    """The model that the weights were read from, with these numbers: Keras loads it with the same config.

    What else the file holds, as the state of random seeds, stays as it was, but for the optimizer's: a compiled
    model that is loaded warns that it keeps its own. Raises `FormatError` when the weights come from elsewhere,
    or do not fit the model.
    """
    from tempfile import TemporaryFile

    from steelyard.codecs.hdf5.reading import open_tree
    from steelyard.codecs.hdf5.writing import put_datasets

    original = weights.meta.get(_ORIGINAL)
    if not isinstance(original, Original):
        raise FormatError(
            str(path),
            "a .keras file needs the config of a model, which these weights do not have; "
            "read the model with steelyard.weights, and save what its from_vector or a transfer into it gives",
        )
    members = directory(original.source)
    tree = open_tree(member_source(original.source, members[WEIGHTS]))
    held, attributes = contents(tree, weights, path)
    with replacing(path) as file, TemporaryFile(dir=path.resolve().parent) as inner:
        put_datasets(inner, path, held, attributes)
        with zipfile.ZipFile(file, "w") as archive:
            for name, member in members.items():
                _add(archive, member, _blocks(inner) if name == WEIGHTS else _runs(member_source(original.source, member)))


def _add(archive: zipfile.ZipFile, member: Member, content: Iterator[bytes]) -> None:
    entry = zipfile.ZipInfo(member.name)
    entry.compress_type = member.method
    with archive.open(entry, "w", force_zip64=True) as target:
        for block in content:
            target.write(block)


def _runs(content: Source) -> Iterator[bytes]:
    for start in range(0, content.size, BLOCK):
        yield content.read(start, min(BLOCK, content.size - start))


def _blocks(file: Any) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(BLOCK):
        yield block
