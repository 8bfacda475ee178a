"""Keras 3's weights in shards: a `.weights.json` that maps the group of each layer to HDF5 files in the same folder.

Together the files have the groups and the variables of one `.weights.h5`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from steelyard.codecs.keras import layout as keras_layout
from steelyard.codecs.keras.complete import missing_variables
from steelyard.codecs.keras.writing import LAYOUT
from steelyard.codecs.shard_index import shard_index
from steelyard.core.net_facts import with_derive
from steelyard.core.weights import Weights
from steelyard.errors import FileMissingError, FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.reading import Hdf5File
    from steelyard.core.effective import Pieces
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

SUFFIXES = (".weights.json",)


class _JoinedFiles:
    """The shards of a model as if they were one file: the datasets of all, and the attributes of each group."""

    __slots__ = ("_files", "_holders", "source", "tensors")

    def __init__(self, source: Source, files: dict[str, Hdf5File]) -> None:
        self.source = source
        self._files = files
        self._holders: dict[str, list[Hdf5File]] = {}  # so that not every file is searched for each of many groups
        self.tensors: dict[str, Weight] = {}
        for name, file in files.items():
            if twice := self.tensors.keys() & file.tensors.keys():
                raise FormatError(source.name, f"{printable(min(twice))} is in {printable(name)} and in an earlier shard")
            self.tensors |= file.tensors
            for group in {path[:at] for path in file.tensors for at, mark in enumerate(path) if mark == "/"}:
                self._holders.setdefault(group, []).append(file)

    def has_group(self, path: str) -> bool:
        """Whether a shard has a dataset below a group."""
        return path in self._holders

    def attribute(self, path: str, name: str) -> str | list[str] | None:
        """Return the text or the list of texts in an attribute of a group, from the first shard that has it."""
        values = (file.attribute(path, name) for file in self._near(path))
        return next((value for value in values if value is not None), None)

    def _near(self, path: str) -> Iterable[Hdf5File]:
        """Return the files that have a dataset below a group; if none has, below the closest one above it."""
        while path and path not in self._holders:
            path = path.rpartition("/")[0]
        return self._holders.get(path, self._files.values())


def sniff(source: Source) -> bool:
    """Recognise a JSON object with a "weight_map" by its suffix too."""
    return source.name.lower().endswith(SUFFIXES) and b'"weight_map"' in source.head(1 << 16)


def read(source: Source, scope: Scope) -> Weights:
    """List the weights of the model as those of one `.weights.h5`. Raises `FormatError` for a missing shard or group."""
    groups, metadata = shard_index(source)
    files = _JoinedFiles(source, {name: _shard(source, name) for name in sorted({n for names in groups.values() for n in names})})
    for group in groups:
        if not files.has_group(group.strip("/")):
            raise FormatError(source.name, f"no shard has the group {printable(group)}, which the index names")
    meta: dict[str, object] = {"metadata": metadata, "shards": sorted({name for names in groups.values() for name in names})}
    if incomplete := missing_variables(files.tensors, None):
        meta["incomplete"] = incomplete
    if scope == "all":
        layers = {path: path.rpartition("/")[0] for path in files.tensors}
        return Weights((w.replace(name=path, layer=layers[path]) for path, w in files.tensors.items()), meta=meta)
    weights, layout = keras_layout.model_weights(files)
    return with_derive(Weights(weights, meta={**meta, LAYOUT: layout}), _derive)


def _derive(pieces: Pieces) -> Iterable[Weight]:
    from steelyard.codecs.keras.effective import derive

    return derive(pieces, None)


def _shard(source: Source, name: str) -> Hdf5File:
    from steelyard.codecs.hdf5.reading import open_hdf5

    try:
        return open_hdf5(source.beside(name))
    except FileMissingError:
        raise FormatError(source.name, f"the shard {printable(name)} is missing (partial download?)") from None
