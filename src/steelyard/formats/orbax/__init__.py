"""Orbax: a folder with the arrays of a tree of JAX, each as zarr 2 or 3, in OCDBT or in a folder of its own.

The folder of a checkpoint has `_METADATA` with the keys that lead to each array; a step of a manager has a folder for each item,
and a manager has a folder for each step. Neither JAX nor TensorStore is needed. A weight whose chunks several processes saved is
one, and a run of it reads only the chunks that it touches. Names are the keys, joined by "/", as those of the live tree.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from steelyard.codecs.ocdbt import MANIFEST, KeyValues
from steelyard.codecs.zarr import Files, array
from steelyard.core.roles import infer_roles
from steelyard.core.weights import Weights
from steelyard.errors import FileMissingError, FormatError, quoted
from steelyard.formats import NOTES
from steelyard.formats.orbax.tree import Leaf, Tree, tree_of, without_tree
from steelyard.layers.flax.linen import with_linen_facts
from steelyard.layers.flax.nnx import with_nnx_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from steelyard.codecs.zarr import Store
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

SUFFIXES = (".orbax",)
_ITEM = {"_METADATA", MANIFEST}
_MARKS = {*_ITEM, "_CHECKPOINT_METADATA"}
_UNFINISHED = re.compile(r"(.+)\.orbax-checkpoint-tmp(-\d+)?$")
_PROCESS = re.compile(r"ocdbt\.process_\d+")
_STEP = re.compile(r"([\w-]*[_-])?\d+")
_LOOKED = 3
"""Folders of a folder that are looked into to know whether it has steps."""
_STATE = ("opt_state", "step")
"""The parts of the state of a training that are no weights of the model."""


def sniff(source: Source) -> bool:
    """Recognise a folder with the files of Orbax, or one of whose steps has them."""
    if not source.is_folder:
        return False
    names = source.names()
    if _is_marked(names) or _unfinished(source):
        return True
    steps = [name for name in names if _STEP.fullmatch(name) or name == "default" or _UNFINISHED.match(name)]
    return any(_UNFINISHED.match(name) or _is_marked(_names(source, name)) for name in sorted(steps)[:_LOOKED])


def read(source: Source, scope: Scope) -> Weights:
    """List the arrays of the tree, in the order of the file; of a state with an optimizer only what is not the optimizer's.

    Raises `FormatError` for a save that was not finished, and for a manager with several steps.
    """
    if match := _unfinished(source):
        what = f"is what an unfinished save left; open a finished one, such as {quoted(match[1])} if it is next to this"
        raise FormatError(source.name, what)
    names = source.names()
    notes = _unended(source) if "_CHECKPOINT_METADATA" in names else []
    if _ITEM & {*names} or any(_is_array(source, name) for name in names):
        listed = [*_weights(source, names, scope, "")]
    elif any(map(_PROCESS.fullmatch, names)):
        raise FormatError(source.name, f"lacks {MANIFEST}, which is written last: the parts of the processes were not merged")
    else:
        listed, more = _of_parts(source, names, scope)
        notes += more
    meta: dict[str, object] = {"format": "Orbax"}
    return Weights(listed, meta=meta | ({NOTES: notes} if notes else {}))


def write(weights: Weights, path: Path, processes: int = 1) -> None:
    """Write a folder that Orbax restores, each array in so many chunks.

    It replaces an older checkpoint of Orbax and nothing else.
    """
    from steelyard.formats.orbax.writing import write_folder

    write_folder(weights, path, processes)


def _is_marked(names: list[str]) -> bool:
    return not _MARKS.isdisjoint(names) or any(map(_PROCESS.fullmatch, names))


def _unfinished(source: Source) -> re.Match[str] | None:
    return _UNFINISHED.match(source.name.rstrip("/").rpartition("/")[2])


def _names(source: Source, name: str) -> list[str]:
    """Return what a folder in a folder has; nothing of a file."""
    try:
        inner = source.beside(name)
    except FileMissingError:
        return []
    return inner.names() if inner.is_folder else []


def _is_array(source: Source, name: str) -> bool:
    return "." not in name[:1] and not _STEP.fullmatch(name) and not {".zarray", "zarr.json"}.isdisjoint(_names(source, name))


def _of_parts(source: Source, names: list[str], scope: Scope) -> tuple[list[Weight], list[str]]:
    """Return the weights of the only step, or of the items of a step: those of several begin with the name of their item."""
    inner = {name: _names(source, name) for name in sorted(names) if not _UNFINISHED.match(name)}
    items = [name for name, held in inner.items() if not _ITEM.isdisjoint(held)]
    if items and not all(map(_STEP.fullmatch, items)):
        several = len(items) > 1
        return [weight for name in items for weight in _item(source, name, scope, f"{name}/" if several else "")], []
    steps = [name for name, held in inner.items() if _STEP.fullmatch(name) and _is_marked(held)]
    if len(steps) != 1:
        raise FormatError(source.name, _no_step(steps, [name for name in names if _UNFINISHED.match(name)]))
    held = read(source.beside(steps[0]), scope)
    return [*held.values()], [*held.meta.get(NOTES, [])]


def _no_step(steps: list[str], begun: list[str]) -> str:
    if not steps:
        left = f"; the save {quoted(max(begun))} was not finished" if begun else ""
        return f"has no finished checkpoint of arrays{left}"
    last = max(steps, key=lambda name: int(re.sub(r"\D", "", name)[-18:]))
    return f"has {len(steps):,} steps of a training, each one model; choose one, such as the last, {quoted(last)}"


def _item(source: Source, name: str, scope: Scope, before: str) -> Iterator[Weight]:
    folder = source.beside(name)
    return _weights(folder, folder.names(), scope, before)


def _unended(source: Source) -> list[str]:
    """Return a sentence if the file of times has none of the end of the save."""
    from steelyard.codecs.plain import from_json

    file = source.beside("_CHECKPOINT_METADATA")
    times = from_json(file.head(1 << 20), file)
    begun = isinstance(times, dict) and times.get("init_timestamp_nsecs") is not None
    ended = isinstance(times, dict) and times.get("commit_timestamp_nsecs") is not None
    return ["_CHECKPOINT_METADATA has no time of its end: the save may not have been finished"] if begun and not ended else []


def _weights(folder: Source, names: list[str], scope: Scope, before: str) -> Iterator[Weight]:
    """Yield the arrays of an item."""
    is_ocdbt = MANIFEST in names
    keys = KeyValues(folder) if is_ocdbt else None
    store: Store = keys or Files(folder)
    tree = tree_of(folder.beside("_METADATA")) if "_METADATA" in names else None
    if tree is None:
        stored = keys.keys if keys else [f"{name}/.zarray" for name in sorted(names) if _is_array(folder, name)]
        tree = without_tree(stored)
    listed: dict[str, Weight] = {}
    for leaf in _chosen(tree, scope):
        name = _free_name(listed, leaf)
        listed[name] = array(store, folder, f"{leaf.stored}/", name, fills=tree.fills)
    for weight in _explained(folder, tree, listed):
        yield _within(before, weight) if before else weight


def _within(before: str, weight: Weight) -> Weight:
    tied = None if weight.tied is None else before + weight.tied
    return weight.replace(name=before + weight.name, layer=before + weight.layer, tied=tied)


def _explained(folder: Source, tree: Tree, listed: dict[str, Weight]) -> Iterable[Weight]:
    """Return the weights with the facts that were saved with them, else with those that their names prove."""
    if tree.facts is not None:
        from steelyard.codecs.metadata import with_facts

        return with_facts(listed.values(), tree.facts, folder.beside("_METADATA"))
    weights = infer_roles(listed.values())
    is_linen = any(leaf.path[0] == "params" for leaf in tree.leaves)
    return with_linen_facts(weights) if is_linen else with_nnx_facts(weights)


def _chosen(tree: Tree, scope: Scope) -> list[Leaf]:
    """Return the leaves of a scope; what Steelyard saved was chosen then."""
    if tree.facts is not None:
        return tree.leaves
    tops = {leaf.path[0] for leaf in tree.leaves}
    is_state = {"params", "opt_state"} <= tops
    kept = [leaf for leaf in tree.leaves if not leaf.is_setting and not (is_state and leaf.path[0] in _STATE)]
    return tree.leaves if scope == "all" else kept


def _free_name(taken: dict[str, Weight], leaf: Leaf) -> str:
    """Join the keys; where other keys have the same name, the slashes inside them are escaped."""
    name = "/".join(leaf.path)
    if name in taken:
        name = "/".join(key.replace("/", "\\/") for key in leaf.path)
    if name in taken:
        raise FormatError(leaf.stored, f"two arrays have the name {quoted(name)}; the checkpoint is ambiguous")
    return name
