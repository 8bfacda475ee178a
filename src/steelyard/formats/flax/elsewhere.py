"""Arrays that a MessagePack only names, since they are in folders of zarr beside it: T5X, and Orbax before it had OCDBT.

    T5X     {"version": 3, "optimizer": {"target": tree, "state": tree}}, and for an array what TensorStore opens:
            {"driver": "zarr", "kvstore": {"driver": "file", "path": "target.encoder.kernel/"}, "metadata": {...}, ...};
            with the drivers of clouds the path may be beside "kvstore"
    Orbax   the tree that was saved, and for an array the text "PLACEHOLDER://params.Dense_0.kernel"

The file is `checkpoint`. Small arrays are in it. A chunk that is not stored is missing: both store those of zeros too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.errors import FileMissingError, FormatError, quoted

if TYPE_CHECKING:
    from steelyard.codecs.msgpack import Decoded
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

FILE = "checkpoint"
"""The name of the file in its folder."""
STATE = "state"
"""The part of a checkpoint of T5X that the optimizer needs."""
_NEWER = "manifest.ocdbt"
"""The file of a folder of Orbax that has no such file."""
_MARK = "PLACEHOLDER://"
_SPEC = {"driver", "kvstore"}
_COST = 1500
"""bytes of memory that an array takes"""


def index_in(folder: Source) -> Source | None:
    """Return the file in a folder that names its arrays; None for any other folder."""
    names = folder.names()
    if FILE not in names or _NEWER in names:
        return None
    try:
        found = folder.beside(FILE)
    except FileMissingError:
        return None
    return None if found.is_folder else found


def is_elsewhere(leaf: Decoded) -> bool:
    """Whether a value only names an array."""
    return leaf.keys() >= _SPEC if isinstance(leaf, dict) else isinstance(leaf, str) and leaf.startswith(_MARK)


def weight_elsewhere(name: str, leaf: Decoded, source: Source) -> Weight:
    """Return the array that a value names. Raises `FormatError` for a place that is not a folder beside the file."""
    from steelyard.codecs.zarr import Files, array

    path = _path(leaf).rstrip("/")
    if not path or path == ".":
        raise FormatError(source.name, f"describes {quoted(name)} without the folder that it is in")
    Budget(source).spend(_COST)
    return array(Files(source), source, f"{path}/", name, fills=False)


def _path(leaf: Decoded) -> str:
    if isinstance(leaf, str):
        return leaf.removeprefix(_MARK)
    spec = leaf if isinstance(leaf, dict) else {}
    inner = spec.get("kvstore")
    path = inner.get("path") if isinstance(inner, dict) else None
    path = path or spec.get("path")
    return path if spec.get("driver") == "zarr" and isinstance(path, str) else ""


def state_of(tree: dict[str, Decoded]) -> dict[str, Decoded] | None:
    """Return the state of a training that T5X saved; None for any other tree."""
    held = tree.get("optimizer")
    return held if tree.keys() == {"version", "optimizer"} and isinstance(held, dict) and "target" in held else None
