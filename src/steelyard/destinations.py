"""Where weights are written: the format and the path of the file, the index or the folder that a path stands for."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from steelyard.errors import FormatError, ShapeError, printable, quoted

if TYPE_CHECKING:
    from steelyard.core.weights import Weights

INDEX = ".index.json"
DCP, METADATA = ".dcp", ".metadata"
"""The suffix of the folder of a distributed checkpoint of PyTorch, and the file that a folder of any other name has."""
ORBAX = ".orbax"
"""The suffix of the folder of a checkpoint of Orbax."""
FOLDER_FILE = "model.safetensors"
"""The file of the weights in a folder that is a model."""


def is_folder(path: str) -> bool:
    """Whether the weights go into a folder that is a model of the Hub, as model.safetensors."""
    return not _is_checkpoint(path) and (path.endswith(("/", os.sep)) or os.path.isdir(path))


def is_distributed(path: str) -> bool:
    """Whether this is the path of a distributed checkpoint: a folder that ends in .dcp, or the .metadata of any folder."""
    name = _name(path)
    return name == METADATA or name.lower().endswith(DCP)


def _is_checkpoint(path: str) -> bool:
    """Whether this is the path of a folder of PyTorch or of Orbax whose arrays are in parts, for several processes."""
    return is_distributed(path) or _name(path).lower().endswith(ORBAX)


def _name(path: str) -> str:
    return os.path.basename(path.rstrip(f"/{os.sep}"))


def destination(
    listed: Weights, path: str, used: Collection[str], shard_size: int | None, processes: int | None = None
) -> tuple[Any, str]:
    """Return the format that writes these weights, and the path of the file, index or folder; raises as `write` does."""
    from pathlib import Path

    from steelyard.formats import SUFFIXES, check_names, writer_of
    from steelyard.storage.atomic import require_local

    require_local(path)
    _require_numbers(path, shard_size, processes)
    if is_folder(path):
        _require_no_checkpoint(path)
        path = os.path.join(path, FOLDER_FILE)
    own_shards = path.lower().removesuffix(INDEX).endswith(SUFFIXES["tfjs"])
    if own_shards and path.endswith(INDEX):
        raise FormatError(path, "has shards of its own, which need no index; write model.json with a size of shards")
    target = path if shard_size is None or own_shards or path.endswith(INDEX) else f"{path}{INDEX}"
    # the old files of a set stay until the new ones are named
    is_set = own_shards or target.endswith(INDEX) or _is_checkpoint(target)
    if len(used) > 1 and os.path.realpath(target) in used and not is_set:
        raise FormatError(target, "is one of the files that are read, and the others need it; write into another file")
    writer = _of_its_own(listed, target) or writer_of(Path(target))
    check_names(listed, target)
    return writer, target


def _of_its_own(listed: Weights, target: str) -> Any:
    """Return the writer of CTranslate2 for a model of it, whose suffix is one of PyTorch too; None for any other."""
    from steelyard.codecs.original import known_original

    if not target.lower().endswith(".bin") or known_original(listed, "CTranslate2") is None:
        return None
    from steelyard.formats.ctranslate2 import writing

    return writing


def _require_numbers(path: str, shard_size: int | None, processes: int | None) -> None:
    """Raise `ShapeError` for a size of shards or a number of processes below 1, or where this path takes no such number."""
    if shard_size is not None and shard_size < 1:
        raise ShapeError(f"shard_size is {shard_size}; it must be at least 1 byte")
    if processes is not None and processes < 1:
        raise ShapeError(f"processes is {processes}; it must be at least 1")
    if processes is not None and not _is_checkpoint(path):
        what = "is no distributed checkpoint, whose parts are for processes; end its name in .dcp or .orbax"
        raise ShapeError(f"{quoted(path)} {what}")
    if shard_size is not None and _is_checkpoint(path):
        raise ShapeError("a distributed checkpoint has a file for each process; pass a number of processes in place of a size")


def _require_no_checkpoint(folder: str) -> None:
    """Raise `FormatError` for the folder of a distributed checkpoint, which would be read in place of a file that is added."""
    from steelyard.formats import format_name

    marker = os.path.join(folder, METADATA)
    if os.path.isfile(marker) and format_name(folder) == "dcp":
        raise FormatError(folder, f"holds a distributed checkpoint; write to {printable(marker)} to replace it, or elsewhere")
