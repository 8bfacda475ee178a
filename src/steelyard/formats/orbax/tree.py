"""The `_METADATA` of a checkpoint of Orbax: the keys that lead to each leaf of the tree, and what the leaf is.

    {"tree_metadata": {"('params', 'w')": {"key_metadata": [{"key": "params", "key_type": 2}, ...],
                                           "value_metadata": {"value_type": "jax.Array", "skip_deserialize": false}}, ...},
     "use_ocdbt": true, "use_zarr3": false, "store_array_data_equal_to_fill_value": true,
     "custom_metadata": null or {"steelyard": facts}}

An array is stored under its keys, joined by "."; empty containers and texts are no arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.plain import from_json
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from steelyard.codecs.plain import Plain
    from steelyard.storage.source import Source

FACTS = "steelyard"
"""The key of the facts in `custom_metadata`."""
_SKIPPED = {"None", "string", "str", "Dict", "List", "Tuple", "NamedTuple", "empty"}
_NUMBERS = {"scalar", "int", "float", "bool"}
_ENDS = ("/.zarray", "/zarr.json")


class Leaf(NamedTuple):
    """An array: the keys that lead to it, under what it is stored, and whether it was a bare number."""

    path: tuple[str, ...]
    stored: str
    is_setting: bool


class Tree(NamedTuple):
    """The arrays of a tree, whether a chunk that is not stored has the fill value, and the facts that Steelyard saved with it."""

    leaves: list[Leaf]
    fills: bool
    facts: str | None = None


def tree_of(source: Source) -> Tree:
    """Decode a `_METADATA`. Raises `FormatError` for anything else."""
    if source.size > limits.JSON:
        raise FormatError(source.name, f"has {source.size:,} bytes, too many for the names of arrays")
    found = from_json(source.read(0, source.size), source)
    entries = found.get("tree_metadata") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(entries, dict):
        raise FormatError(source.name, "is not JSON with the names of the arrays of a checkpoint of Orbax")
    fills = found.get("store_array_data_equal_to_fill_value") is not True
    leaves = [*_leaves(source, entries.values())]
    custom = found.get("custom_metadata")
    facts = custom.get(FACTS) if isinstance(custom, dict) else None
    return Tree(leaves, fills, facts) if isinstance(facts, str) else Tree(_unboxed(leaves), fills)


def _leaves(source: Source, entries: Iterable[Plain]) -> Iterator[Leaf]:
    seen: set[str] = set()
    for entry in entries:
        facts = entry if isinstance(entry, dict) else {}
        value = facts.get("value_metadata")
        about = value if isinstance(value, dict) else {}
        kind = about.get("value_type")
        if kind in _SKIPPED or about.get("skip_deserialize") is True:
            continue
        path = _path(source, facts.get("key_metadata"))
        stored = ".".join(path)
        if stored in seen:
            raise FormatError(source.name, f"has two arrays under the keys {printable(stored, 200)}; it is ambiguous")
        seen.add(stored)
        yield Leaf(path, stored, kind in _NUMBERS)


def _unboxed(leaves: list[Leaf]) -> list[Leaf]:
    """Leave out the last key, "value", of the variables of Flax NNX, if all arrays have it: the live tree has no such name."""
    if any(len(leaf.path) < 2 or leaf.path[-1] != "value" for leaf in leaves):
        return leaves
    return [leaf._replace(path=leaf.path[:-1]) for leaf in leaves]


def _path(source: Source, keys: Plain) -> tuple[str, ...]:
    listed = [key.get("key") if isinstance(key, dict) else None for key in keys] if isinstance(keys, list) else []
    path = tuple(str(key) for key in listed if isinstance(key, (str, int)) and not isinstance(key, bool))
    if not path or len(path) != len(listed):
        raise FormatError(source.name, f"has an array without the keys that lead to it: {printable(keys, 200)}")
    return path


def without_tree(stored: Iterable[str]) -> Tree:
    """Return the arrays that the keys of a store show; only the names that they are stored under are known."""
    names = dict.fromkeys(key.removesuffix(end) for key in stored for end in _ENDS if key.endswith(end))
    return Tree([Leaf((name,), name, is_setting=False) for name in names], fills=False)
