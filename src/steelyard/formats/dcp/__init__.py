"""PyTorch distributed checkpoints (DCP): a folder of `.metadata` and `.distcp` files, as many processes write them together.

`.metadata` is written last: without it, the save was not finished. The weights are listed as those of one file of torch with
the same state dict; a weight that several processes saved in chunks is one, and a run of it reads only the chunks it touches.
Megatron's torch_dist is such a folder with a common.pt beside, which has what is not divided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.pickle.arrays import refused
from steelyard.codecs.pickle.model_weights import is_setting, listed
from steelyard.codecs.pickle.values import Persistent
from steelyard.codecs.pickle.walk import TensorWalk
from steelyard.codecs.torch.archive import nested_reader, unpack
from steelyard.codecs.torch.tensors import TensorDecoder
from steelyard.errors import FileMissingError, FormatError, UnsafeFileError, printable, quoted
from steelyard.formats import INCOMPLETE
from steelyard.formats.dcp.items import Files, pickled
from steelyard.formats.dcp.metadata import MARK, Tensor, checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.codecs.pickle.arrays import PickledTensor
    from steelyard.codecs.pickle.values import Key, Pickled
    from steelyard.core.protocols import Scope
    from steelyard.core.weights import Weights
    from steelyard.formats.dcp.metadata import Info
    from steelyard.storage.source import Source

    Tree = dict[Key, Pickled]

SUFFIXES = (".dcp", ".metadata")
_METADATA, _PART, _COMMON = ".metadata", ".distcp", "common.pt"
_OPTIMIZER = "optimizer."
"""How the names of the states of an optimizer begin where a checkpoint has no paths, as Megatron's have none."""


def sniff(source: Source) -> bool:
    """Recognise a folder with a `.metadata` of torch or with `.distcp` files, or that `.metadata`."""
    if not source.is_folder:
        return source.name.endswith(_METADATA) and MARK in source.head(1 << 10)
    names = source.names()
    if any(name.endswith(_PART) for name in names) or _shards(names):
        return True
    return _METADATA in names and sniff(source.beside(_METADATA))


def read(source: Source, scope: Scope) -> Weights:
    """List the weights in the order of the state dict; scope "all" has the states of optimizers too."""
    names = source.names() if source.is_folder else [_METADATA]
    if shards := _shards(names):
        from steelyard.formats.dcp.hub import read_shards

        return read_shards(source, shards)
    if _METADATA not in names:
        raise FormatError(source.name, f"is a distributed checkpoint without {_METADATA}, which is written last: {_cut(names)}")
    metadata = source.beside(_METADATA) if source.is_folder else source
    found = checkpoint(metadata)
    files = Files(metadata, found.files)
    tensors = {name: pickled(metadata, files, name, item) for name, item in found.items.items() if isinstance(item, Tensor)}
    root: Tree = {}
    for name, item in found.items.items():
        path = found.paths.get(name, (name,))
        if isinstance(item, Tensor):
            if scope == "all" or name in found.paths or not _is_state(name):
                _put(root, path, Persistent(name), name)
        elif item is not None and (scope == "all" or len(path) == 1 or not is_setting(path[0])):
            value = _value(metadata, files, name, item, tensors)
            if value is not None:
                _put(root, path, value, name)
    _add_common(metadata, root)
    weights = _listed(metadata, root, tensors, "all" if found.facts else scope, files)
    if not found.facts:
        return weights
    from steelyard.codecs.metadata import with_facts

    return weights.with_weights(with_facts(weights.values(), found.facts, metadata))


def write(weights: Weights, path: Path, processes: int = 1) -> None:
    """Write a folder that `torch.distributed.checkpoint.load` reads, as so many processes would write it.

    `path` is the folder, which replaces an older distributed checkpoint and nothing else, or the `.metadata` in it.
    """
    from steelyard.formats.dcp.writing import write_folder

    write_folder(weights, path, processes)


def _shards(names: list[str]) -> list[str]:
    """Return the files of processes in a folder of torch's writer for the Hub, before they are joined."""
    if not any(name.startswith("shard-") for name in names):
        return []
    from steelyard.formats.dcp.hub import shards_in

    return shards_in(names)


def _cut(names: list[str]) -> str:
    begun = f"{_METADATA}.tmp" in names
    return f"the save was not finished{', and .metadata.tmp is what it left' if begun else ', or the file was not copied'}"


def _is_state(name: str) -> bool:
    """Whether a name without a path is that of a state of an optimizer; Megatron may chain several."""
    first, _, rest = name.partition(".")
    return name.startswith(_OPTIMIZER) or (first.startswith("chained_") and rest.startswith(_OPTIMIZER))


def _put(root: Tree, path: tuple[str, ...], value: Pickled, name: str) -> None:
    """Put a value where its keys lead; one that has no place there is at its name."""
    here = root
    for key in path[:-1]:
        inner = here.setdefault(key, {})
        if type(inner) is not dict:
            root[name] = value
            return
        here = inner
    if path[-1] in here:
        root[name] = value
    else:
        here[path[-1]] = value


def _value(metadata: Source, files: Files, name: str, info: Info, tensors: dict[str, PickledTensor]) -> Pickled:
    """Return a value that is no tensor; one that cannot be decoded is listed as a refused tensor, a missing one is not."""
    if files.lacks(info):
        return None
    try:
        return files.value(info)
    except UnsafeFileError:
        raise
    except FormatError as error:
        tensors[name] = refused(metadata, f"{quoted(name)} cannot be decoded: {error}", encoding="bytes")
        return Persistent(name)


def _add_common(metadata: Source, root: Tree) -> None:
    """Add what Megatron keeps in a file of torch of its own, without replacing anything."""
    try:
        common = metadata.beside(_COMMON)
    except FileMissingError:
        return
    held = unpack(common)
    for key, value in held.items() if isinstance(held, dict) else ():
        mine = root.setdefault(key, value)
        if mine is not value and isinstance(mine, dict) and isinstance(value, dict):
            root[key] = {**value, **mine}


def _listed(metadata: Source, root: Tree, tensors: dict[str, PickledTensor], scope: Scope, files: Files) -> Weights:
    """List the tree as one file of torch with the same state dict is listed."""

    def nowhere(key: str | int, _word: str, _count: int) -> Source:
        raise FormatError(metadata.name, f"refers to a storage {printable(key, 60)}, which it does not have")

    decoder = TensorDecoder(metadata, nowhere, nested=nested_reader())

    def decode(value: Pickled) -> PickledTensor | None:
        if type(value) is Persistent and value.home is None:
            return tensors.get(value.key) if type(value.key) is str else None
        return decoder.decode(value)

    walk = TensorWalk(metadata, decode).through(root)
    weights = listed(metadata, root, walk, scope, {"format": "PyTorch distributed checkpoint"})
    if files.missing:
        weights.meta[INCOMPLETE] = [
            f"lacks the file {quoted(name)}, which has {count:,} of its items or parts of them"
            for name, count in files.missing.items()
        ]
    return weights
