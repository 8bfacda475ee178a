"""Keras 3's `.keras`: a zip archive of `config.json`, `metadata.json` and an HDF5 file with the weights.

A written file is the model that the weights were read from, with new numbers.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.keras.complete import missing_variables
from steelyard.codecs.keras.graph import graph_maker
from steelyard.codecs.keras.layout import model_weights
from steelyard.codecs.keras.writing import LAYOUT, contents
from steelyard.codecs.original import BLOCK, ORIGINAL, Original, copied, original_of
from steelyard.codecs.plain import from_json
from steelyard.codecs.zip import Member, directory, is_zip, member_source, mentions
from steelyard.core.net_facts import with_derive
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    from typing import BinaryIO

    from steelyard.codecs.plain import Plain
    from steelyard.core.effective import Pieces
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

SUFFIXES = (".keras",)

WEIGHTS = "model.weights.h5"
_FRAMEWORK = "Keras"


def sniff(source: Source) -> bool:
    """Recognise a zip archive with the HDF5 file or the config; a damaged one if its directory names them."""
    if not is_zip(source):
        return False
    is_named = source.name.lower().endswith(SUFFIXES)
    try:
        members = directory(source)
    except FormatError:
        return is_named or mentions(source, WEIGHTS.encode())
    return WEIGHTS in members or ("config.json" in members and is_named)


def read(source: Source, scope: Scope) -> Weights:
    """List weights in the order and by the names of `model.weights`; scope "all" lists all datasets by their paths.

    Without a readable config, the names of outer models are missing from the names of weights; `meta` then has a note.
    """
    from steelyard.codecs.hdf5.reading import by_path, open_hdf5

    members = directory(source)
    if WEIGHTS not in members:
        raise FormatError(source.name, _without(members))
    hdf5 = open_hdf5(member_source(source, members[WEIGHTS]))
    metadata = _json(source, members, "metadata.json")
    meta: dict[str, object] = {**metadata} if isinstance(metadata, dict) else {}
    config = _json(source, members, "config.json")
    if not isinstance(config, dict):
        meta["note"] = "config.json cannot be read: names come from the weights file, without the names of outer models"
        config = None
    if incomplete := missing_variables(hdf5.tensors, config):
        meta["incomplete"] = incomplete
    if scope == "all":
        return Weights(by_path(hdf5), meta=meta)
    weights, layout = model_weights(hdf5, config)
    meta = {**meta, **_about(config), LAYOUT: layout, ORIGINAL: Original(source, _FRAMEWORK)}
    found = Weights(weights, meta=meta, graph=graph_maker(config, weights, source))
    return with_derive(found, lambda pieces: _derive(pieces, config))


def _derive(pieces: Pieces, config: Plain) -> Iterator[Weight]:
    from steelyard.codecs.keras.effective import derive

    return derive(pieces, config)


def _without(members: dict[str, Member]) -> str:
    if "model.weights.npz" in members:
        return (
            "keeps its weights in a pickled model.weights.npz, which is never unpickled; save the model again with h5py installed"
        )
    if "model.weights.json" in members:
        return "keeps its weights in shards, which are not supported; save the model again without max_shard_size"
    return f"holds no {WEIGHTS} (a config alone has no weights)"


def _json(source: Source, members: dict[str, Member], name: str) -> Plain:
    """Return a member decoded as JSON; None where it is missing or invalid."""
    member = members.get(name)
    if member is None or member.size > limits.JSON:
        return None
    content = member_source(source, member)
    return from_json(content.read(0, content.size), source)


def _about(config: dict[str, Plain] | None) -> dict[str, Plain]:
    inner = config.get("config") if config else None
    name = inner.get("name") if isinstance(inner, dict) else None
    return {"class_name": config.get("class_name"), "name": name} if config and isinstance(name, str) else {}


def write(weights: Weights, path: Path) -> None:
    """Write the model that the weights were read from, with these numbers and the same config.

    The rest of the file, for example the state of random seeds, stays unchanged, but the optimizer's state is left out:
    a compiled model warns when it is loaded that it keeps its own. Raises `FormatError` for weights that were not read
    from a `.keras` file, or do not fit the model.
    """
    from tempfile import TemporaryFile

    from steelyard.codecs.hdf5.reading import open_hdf5
    from steelyard.codecs.hdf5.writing import put_datasets

    original = original_of(
        weights,
        _FRAMEWORK,
        path,
        "a .keras file needs the config of a model, which these weights do not have; "
        "read the model with steelyard.weights, and save the result of its from_vector or of a transfer into it",
    )
    members = directory(original)
    _check_encodable(members, path)
    hdf5 = open_hdf5(member_source(original, members[WEIGHTS]))
    held, attributes = contents(hdf5, weights, path)
    with replacing(path) as file, TemporaryFile(dir=path.resolve().parent) as inner:
        put_datasets(inner, path, held, attributes)
        with zipfile.ZipFile(file, "w") as archive:
            for name, member in members.items():
                _add(archive, member, _blocks(inner) if name == WEIGHTS else _kept(original, member))


def _check_encodable(members: Iterable[str], path: Path) -> None:
    """Raise `FormatError` for the name of a member that an archive cannot hold; the file that was read is damaged."""
    for name in members:
        try:
            name.encode()
        except UnicodeEncodeError:
            what = f"the member {printable(name)} of the model's file has a name that is not valid Unicode"
            raise FormatError(os.fspath(path), f"{what} and cannot be written again") from None


def _add(archive: zipfile.ZipFile, member: Member, content: Iterator[bytes]) -> None:
    entry = zipfile.ZipInfo(member.name)
    entry.compress_type = member.method
    with archive.open(entry, "w", force_zip64=True) as target:
        for block in content:
            target.write(block)


def _kept(original: Source, member: Member) -> Iterator[bytes]:
    content = member_source(original, member)
    return copied(content, 0, content.size)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(BLOCK):
        yield block
