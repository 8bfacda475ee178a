"""HDF5: models and weights of all versions of Keras, and any other HDF5 file.

The signature is at byte 0, or after a user block of 512, 1,024, 2,048 ... bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.codecs.hdf5.superblock import find_superblock
from steelyard.codecs.keras import graph as keras_graph
from steelyard.codecs.keras import layout as keras_layout
from steelyard.codecs.keras import legacy as keras_legacy
from steelyard.codecs.keras import writing as keras_writing
from steelyard.codecs.keras.complete import missing_variables
from steelyard.codecs.metadata import dump_facts, with_facts, written_once
from steelyard.core.net_facts import with_derive, with_found
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, quoted

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.reading import Hdf5File
    from steelyard.core.effective import Pieces
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

SUFFIXES = (".h5", ".hdf5")

FACTS = "steelyard"
"""The attribute of the file with the roles, axes and layers of its weights."""
_WEIGHTS = ".weights.h5"
_MATLAB = b"MATLAB 7.3 MAT-file"


LEVELS = 256
"""groups in each other that are written: the paths of a file of a thousand take more memory than its reader may spend"""


def sniff(source: Source) -> bool:
    """Recognise the signature of HDF5. Files of MATLAB, which are HDF5 too, have a format of their own."""
    return find_superblock(source) is not None and source.head(len(_MATLAB)) != _MATLAB


def read(source: Source, scope: Scope) -> Weights:
    """List the weights of a Keras model by its names and in its order, other datasets by their paths as they were written.

    Scope "all" lists every dataset by its full path, as HDF5 spells it.
    """
    from steelyard.codecs.hdf5.reading import open_hdf5

    hdf5 = open_hdf5(source)
    return with_found(_listed(hdf5, scope), source, "hdf5", hdf5)


def _listed(hdf5: Hdf5File, scope: Scope) -> Weights:
    from steelyard.codecs.hdf5.reading import by_path

    source = hdf5.source
    meta: dict[str, object] = {**_meta(hdf5)}
    if incomplete := _incomplete(hdf5):
        meta["incomplete"] = incomplete
    if scope == "all":
        return Weights(by_path(hdf5), meta=meta)
    if keras_legacy.is_layout(hdf5):
        legacy = keras_legacy.model_weights(hdf5)
        return Weights(legacy, meta=meta, graph=keras_graph.graph_maker(keras_legacy.model_config(hdf5), legacy, source))
    if keras_layout.is_layout(hdf5):
        weights, layout = keras_layout.model_weights(hdf5)
        return with_derive(Weights(weights, meta={**meta, keras_writing.LAYOUT: layout}), _derive)
    facts = hdf5.attribute("", FACTS)
    return Weights(with_facts(hdf5.tensors.values(), facts if isinstance(facts, str) else None, source), meta=meta)


def _derive(pieces: Pieces) -> Iterator[Weight]:
    from steelyard.codecs.keras.effective import derive

    return derive(pieces, None)


def _incomplete(hdf5: Hdf5File) -> list[str]:
    """Name the variables that a file of Keras should have, by its own lists or numbers, and lacks."""
    if keras_legacy.is_layout(hdf5):
        return keras_legacy.missing_weights(hdf5)
    return missing_variables(hdf5.tensors, None) if keras_layout.is_layout(hdf5) else []


def _meta(hdf5: Hdf5File) -> dict[str, object]:
    """Return the versions, the class and the name of a Keras model, and the texts in the other attributes of the root."""
    versions = {key: hdf5.attribute("", key) or hdf5.attribute("model_weights", key) for key in ("keras_version", "backend")}
    meta = {key: value for key, value in versions.items() if isinstance(value, str)}
    config = keras_legacy.model_config(hdf5) or {}
    inner = config.get("config")
    name, class_name = inner.get("name") if isinstance(inner, dict) else None, config.get("class_name")
    own = {"class_name": class_name, "name": name}
    meta |= {key: value for key, value in own.items() if isinstance(value, str)}
    others = {key: value for key, value in hdf5.root_texts().items() if key not in versions and key != FACTS}
    return {**meta, "attributes": others} if others else {**meta}


def write(weights: Weights, path: Path) -> None:
    """Write datasets under the names of the weights; to a path in `.weights.h5`, a file that Keras loads into the model.

    The latter needs the layout of the model, which the weights of a live Keras model and of a `.weights.h5` or `.keras`
    file have. It does not include the optimizer: a compiled model that loads the file warns that it keeps its own.
    """
    from steelyard.codecs.hdf5.writing import write_datasets

    if path.name.lower().endswith(_WEIGHTS):
        layout = keras_writing.fitting(weights, path)
        write_datasets(path, keras_writing.datasets(layout, weights), keras_writing.names(layout))
        return
    owned = written_once(weights)
    for weight in owned:
        if not all(word not in ("", ".", "..") for word in weight.name.split("/")) or "\0" in weight.name:
            raise FormatError(str(path), f"{quoted(weight.name)} is not a valid path of HDF5; rename it first")
        if weight.name.count("/") >= LEVELS:
            what = f"would need more than {LEVELS} groups in each other, which readers refuse; rename it first"
            raise FormatError(str(path), f"{quoted(weight.name)} {what}")
    write_datasets(path, ((weight.name, weight) for weight in owned), {"": {FACTS: dump_facts(weights)}})
