"""HDF5: Keras models and weights of all versions, and any other file of datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.keras import graph as keras_graph
from steelyard.codecs.keras import layout as keras
from steelyard.codecs.keras import legacy as keras_legacy
from steelyard.codecs.keras import writing as keras_writing
from steelyard.codecs.metadata import dump_facts, with_facts
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.reading import Tree
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".h5", ".hdf5")

MAGIC = b"\x89HDF\r\n\x1a\n"
FACTS = "steelyard"
"""The attribute of the file that keeps what its weights mean."""
_WEIGHTS = ".weights.h5"


def sniff(source: Source) -> bool:
    """The signature of HDF5, at the start or behind a user block."""
    at = 0
    while at + 8 <= source.size and at <= limits.HDF5_USER_BLOCK:
        if source.read(at, 8) == MAGIC:
            return True
        at = at * 2 or 512
    return False


def read(source: Source, scope: Scope) -> Weights:
    """List a model of Keras by its own names and in its order, all else by path in the order of writing.

    With scope "all" every dataset is listed by its full path, as HDF5 spells it.
    """
    from steelyard.codecs.hdf5.reading import by_path, open_tree  # h5py is an extra, and imported for these files only

    tree = open_tree(source)
    meta = _meta(tree)
    if scope == "all":
        return Weights(by_path(tree), meta=meta)
    if keras_legacy.is_layout(tree):
        legacy = keras_legacy.model_weights(tree)
        return Weights(legacy, meta=meta, graph=keras_graph.graph_maker(keras_legacy.model_config(tree), legacy))
    if keras.is_layout(tree):
        found, layout = keras.model_weights(tree)
        return Weights(found, meta={**meta, keras_writing.LAYOUT: layout})
    facts = tree.attribute("", FACTS)
    return Weights(with_facts(tree.tensors.values(), facts if isinstance(facts, str) else None), meta=meta)


def _meta(tree: Tree) -> dict[str, Any]:
    """Return what Keras says of a whole model: its versions, its class and its name."""
    found = {key: tree.attribute("", key) or tree.attribute("model_weights", key) for key in ("keras_version", "backend")}
    meta: dict[str, Any] = {key: value for key, value in found.items() if isinstance(value, str)}
    config = keras_legacy.model_config(tree)
    inner = config.get("config") if config else None
    if config and isinstance(config.get("class_name"), str):
        meta["class_name"] = config["class_name"]
    if isinstance(inner, dict) and isinstance(inner.get("name"), str):
        meta["name"] = inner["name"]
    return meta


def write(weights: Weights, path: Path) -> None:
    """A file of datasets called as the weights are; as `.weights.h5`, one that Keras loads into the model.

    That needs the layout of the model, which the weights of a live Keras model and of a `.weights.h5` or `.keras`
    file have. The optimizer is no part of it: a compiled model that loads the file warns that it keeps its own.
    """
    from steelyard.codecs.hdf5.writing import write_datasets

    if path.name.lower().endswith(_WEIGHTS):
        layout = keras_writing.fitting(weights, path)
        write_datasets(path, keras_writing.datasets(layout, weights), keras_writing.names(layout))
        return
    owned = [weight for weight in weights.values() if weight.tied is None or weight.tied not in weights]
    for weight in owned:
        if not all(word not in ("", ".", "..") for word in weight.name.split("/")) or "\0" in weight.name:
            raise FormatError(str(path), f"{printable(weight.name)!r} is no path of HDF5; rename it first")
    write_datasets(path, ((weight.name, weight) for weight in owned), {"": {FACTS: dump_facts(weights)}})
