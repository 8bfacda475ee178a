"""Zarr: a folder of groups and arrays, version 2 or 3. Names are the paths of the arrays, and a single array has no name.

A folder has `.zarray` or `.zgroup` in version 2, and `zarr.json` in version 3, and groups have their members in folders. No
library is needed; Blosc's chunks need `lz4` or `zstandard` if these packed them. A run of a weight reads only its chunks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.plain import from_json
from steelyard.codecs.zarr import Files, array
from steelyard.core.roles import infer_roles
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

SUFFIXES = (".zarr",)

_ARRAY, _GROUP, _EITHER = ".zarray", ".zgroup", "zarr.json"
_COST = 1500
"""bytes of memory that an array or a group takes"""


def sniff(source: Source) -> bool:
    """Recognise a folder that says that it is a group or an array."""
    return source.is_folder and not {_ARRAY, _GROUP, _EITHER}.isdisjoint(source.names())


def read(source: Source, scope: Scope) -> Weights:
    """List the arrays of all groups, the members of each by name, since a folder has no order."""
    listed = infer_roles(_Hierarchy(source).arrays((), source))
    return Weights(listed, meta={"format": "zarr"})


class _Hierarchy:
    """The groups in a folder, and those in them."""

    __slots__ = ("_budget", "_files", "_root")

    def __init__(self, root: Source) -> None:
        self._root = root
        self._files = Files(root)
        self._budget = Budget(root)

    def arrays(self, path: tuple[str, ...], folder: Source) -> Iterator[Weight]:
        """Yield the arrays in a folder: itself, or those of its members if it is a group."""
        if len(path) > limits.RECURSION:
            raise FormatError(self._root.name, f"has more than {limits.RECURSION} groups in each other")
        names = folder.names()
        self._budget.spend(_COST + sum(map(len, names)) + sum(map(len, path)))
        if _ARRAY in names or (_EITHER in names and not _is_group(folder.beside(_EITHER))):
            name = "/".join(path)
            yield array(self._files, self._root, f"{name}/" if name else "", name, fills=True)
        elif _GROUP in names or _EITHER in names:
            for name in sorted(names):
                member = folder.beside(name)
                if member.is_folder:
                    yield from self.arrays((*path, name), member)


def _is_group(source: Source) -> bool:
    if source.size > limits.JSON:
        raise FormatError(source.name, f"has {source.size:,} bytes, too many for what describes an array")
    found = from_json(source.read(0, source.size), source)
    if not isinstance(found, dict):
        raise FormatError(source.name, f"is not JSON that describes an array or a group, but {quoted(found, 40)}")
    return found.get("node_type") == "group"
