"""Writing a checkpoint that Orbax restores, with any sharding: each array as zarr 2, in a folder of its own, not compressed.

    _METADATA                 the tree: the keys that lead to each array, and Steelyard's facts
    _CHECKPOINT_METADATA      when the save began and ended
    array_metadatas/process_0 the shape of each array and of its chunks
    params.w/.zarray          what describes an array; params.w/1.0 is the second of its chunks along the first axis

The name of a weight is cut at each "/" into keys, as those of Flax are made of keys; any other name is one key.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from steelyard.codecs.metadata import dump_facts
from steelyard.core.divided import chunks
from steelyard.core.readers import chunks_of
from steelyard.errors import FormatError, SteelyardError, printable, quoted
from steelyard.formats.orbax.tree import FACTS, tree_of
from steelyard.storage.atomic import creating, sync_folder
from steelyard.storage.atomic_folder import replacing_folder
from steelyard.storage.source import checked_name, open_path

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights

    Keys = tuple[str, ...]

TREE, TIMES = "_METADATA", "_CHECKPOINT_METADATA"
_OWN = {TREE, TIMES, "_sharding", "array_metadatas", "commit_success.txt", "descriptor", "manifest.ocdbt", "d"}
"""What a folder of Orbax has beside its arrays."""
_WORDS = ("bfloat16", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
"""The types that NumPy lacks and TensorStore knows, by their names."""
_CODES = {
    "bool": "|b1",
    "int8": "|i1",
    "uint8": "|u1",
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "complex64": "<c8",
    "complex128": "<c16",
}
"""The types of NumPy, as zarr 2 writes them."""
_LONGEST = 255  # bytes of the name of a file
_HANDLER = "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler"


def write_folder(weights: Weights, path: Path, processes: int) -> None:
    """Write a folder with each array in as many chunks, at most, along its first axis; it replaces another of Orbax only."""
    keys = {name: keys_of(name) for name in weights}
    _require_types(weights, path)
    _require_names(keys, path)
    require_replaceable(path)
    begun = time.time_ns()
    with replacing_folder(path) as folder:
        for name, weight in weights.items():
            _write_array(folder / ".".join(keys[name]), weight, processes)
        (folder / "array_metadatas").mkdir()
        _write_json(folder / "array_metadatas" / "process_0", {"array_metadatas": list(_shapes(weights, keys, processes))})
        _write_json(folder / TREE, _tree(weights, keys))
        times = {"init_timestamp_nsecs": begun, "commit_timestamp_nsecs": time.time_ns()}
        _write_json(folder / TIMES, {"item_handlers": _HANDLER, "metrics": {}, "performance_metrics": {}, **times})


def keys_of(name: str) -> Keys:
    """Return the keys that lead to an array of this name.

    >>> keys_of("params/Dense_0/kernel"), keys_of("fc1.weight"), keys_of("/a//b")
    (('params', 'Dense_0', 'kernel'), ('fc1.weight',), ('/a//b',))
    """
    keys = tuple(name.split("/"))
    return keys if all(keys) else (name,)


def _require_types(weights: Weights, path: Path) -> None:
    for weight in weights.values():
        if weight.dtype not in _WORDS and weight.dtype not in _CODES:
            raise FormatError(str(path), f"{printable(weight.name)} is {weight.dtype}, which Orbax cannot hold; convert it first")


def _require_names(keys: dict[str, Keys], path: Path) -> None:
    """Raise `FormatError` for names that cannot be those of folders, or that would share one."""
    taken: dict[str, str] = {}
    for name, several in keys.items():
        stored = ".".join(several)
        if not _names_a_folder(path, stored):
            raise FormatError(
                str(path), f"{quoted(name)} cannot be the name of an array of Orbax, which is that of a folder; rename it"
            )
        if stored in taken:
            raise FormatError(
                str(path), f"{quoted(name)} and {quoted(taken[stored])} would be in one folder, {quoted(stored)}; rename one"
            )
        taken[stored] = name


def _names_a_folder(path: Path, stored: str) -> bool:
    """Whether the folder of an array can have this name, by which it is also found when the checkpoint is read."""
    try:
        short = len(os.fsencode(checked_name(str(path), stored))) <= _LONGEST
    except SteelyardError:
        return False
    return short and "/" not in stored and stored != "." and stored not in _OWN


def require_replaceable(path: Path) -> None:
    """Raise `FormatError` for anything that is there but a checkpoint of Orbax alone: all that a folder has goes with it."""
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise FormatError(str(path), "is not a folder, which a checkpoint of Orbax is; choose another name")
    names = os.listdir(path)
    others = sorted(set(names) - _OWN - _stored_in(path))
    if others or (names and TREE not in names):
        what = f"such as {quoted(others[0])}" if others else f"and no {TREE}"
        raise FormatError(str(path), f"is a folder with other files, {what}, which would be lost; choose a new folder")


def _stored_in(path: Path) -> set[str]:
    """Return the names of the arrays that the tree of a folder has."""
    try:
        return {leaf.stored for leaf in tree_of(open_path(path / TREE)).leaves}
    except (SteelyardError, OSError):
        return set()


def _write_array(folder: Path, weight: Weight, processes: int) -> None:
    folder.mkdir()
    chunk = _chunk(weight, processes)
    described = {
        "chunks": chunk,
        "compressor": None,
        "dimension_separator": ".",
        "dtype": _CODES.get(weight.dtype, weight.dtype),
        "fill_value": None,
        "filters": None,
        "order": "C",
        "shape": weight.shape,
        "zarr_format": 2,
    }
    _write_json(folder / ".zarray", described)
    for nth, part in enumerate(chunks(weight, processes) if weight.size else ()):
        with creating(folder / (".".join([str(nth), *("0" for _ in chunk[1:])]) if chunk else "0")) as file:
            file.writelines(chunks_of([part.weight]))
            file.write(bytes((chunk[0] - part.weight.shape[0]) * (weight.nbytes // weight.shape[0])) if chunk else b"")
    sync_folder(str(folder))


def _chunk(weight: Weight, processes: int) -> tuple[int, ...]:
    """Return the shape of each chunk; what the last one has beyond the array are zeros."""
    if not weight.shape:
        return ()
    return tuple(max(length, 1) for length in (-(-weight.shape[0] // processes), *weight.shape[1:]))


def _shapes(weights: Weights, keys: dict[str, Keys], processes: int) -> Iterator[dict[str, Any]]:
    for name, weight in weights.items():
        chunk = _chunk(weight, processes)
        facts = {"param_name": ".".join(keys[name]), "write_shape": chunk, "chunk_shape": chunk, "ext_metadata": None}
        yield {"array_metadata": facts}


def _tree(weights: Weights, keys: dict[str, Keys]) -> dict[str, Any]:
    """Return what `_METADATA` has; `2` is the type of a key of a dict, and arrays are restored as those of NumPy or of JAX."""
    leaves = {
        str(keys[name]): {
            "key_metadata": [{"key": key, "key_type": 2} for key in keys[name]],
            "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False, "write_shape": weight.shape},
        }
        for name, weight in weights.items()
    }
    settings = {"use_ocdbt": False, "use_zarr3": False, "store_array_data_equal_to_fill_value": True}
    return {"tree_metadata": leaves, **settings, "custom_metadata": {FACTS: dump_facts(weights)}}


def _write_json(path: Path, content: object) -> None:
    with creating(path) as file:
        file.write(json.dumps(content).encode())
