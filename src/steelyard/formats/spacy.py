"""spaCy: the folder of a pipeline. Each component with a net has a folder with a `model` of Thinc; vectors are in `vocab`.

    config.cfg, meta.json    the pipeline, with the names of its components in order
    tagger/model             the net of the component "tagger"
    vocab/vectors            the word vectors, as a `.npy` file

The name of its folder precedes the names of a component's weights: "tagger/3:softmax.W".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import check_json
from steelyard.codecs.plain import from_json
from steelyard.codecs.sets import prefixed
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, SteelyardError

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

SUFFIXES = ()

_CONFIG, _META = "config.cfg", "meta.json"
_NET, _VOCABULARY, _VECTORS = "model", "vocab", "vectors"
_FACTS = ("lang", "name", "version", "spacy_version", "pipeline")


def sniff(source: Source) -> bool:
    """Recognise a folder with the two files that describe a pipeline."""
    return source.is_folder and {_CONFIG, _META} <= set(source.names())


def read(source: Source, scope: Scope) -> Weights:
    """List the weights of each component in the order of the pipeline, then the word vectors."""
    facts = _facts(source)
    listed = [*_vectors(source, scope)]
    for name in _components(source, facts.get("pipeline")):
        listed += _component(source, name, scope)
    if not listed:
        raise FormatError(source.name, "is a pipeline of spaCy without nets and word vectors, such as a blank one")
    return Weights(listed, meta={"format": "spaCy", **{key: facts[key] for key in _FACTS if key in facts}})


def _facts(source: Source) -> dict[str, object]:
    file = source.beside(_META)
    if file.size > limits.HUB_CONFIG:
        raise FormatError(file.name, f"has {file.size:,} bytes, more than the {limits.HUB_CONFIG:,} that are allowed")
    text = file.read(0, file.size)
    check_json(text, file)
    facts = from_json(text)
    return dict(facts) if isinstance(facts, dict) else {}


def _components(source: Source, pipeline: object) -> Iterator[str]:
    """Yield the components that the pipeline names, then other folders, which are those of components that are turned off."""
    there = sorted(source.names())
    named = [name for name in pipeline if isinstance(name, str)] if isinstance(pipeline, list) else []
    yield from (name for name in dict.fromkeys([*named, *there]) if name in there and name != _VOCABULARY)


def _component(source: Source, name: str, scope: Scope) -> Iterator[Weight]:
    from steelyard.formats import part_in

    folder = _inside(source, name)
    if folder is not None and _NET in folder.names():
        for weight in part_in(folder.beside(_NET), scope).values():
            yield prefixed(name, weight)


def _vectors(source: Source, scope: Scope) -> Iterator[Weight]:
    from steelyard.formats import part_in

    folder = _inside(source, _VOCABULARY)
    if folder is not None and _VECTORS in folder.names():
        for weight in part_in(folder.beside(_VECTORS), scope).values():
            is_table = len(weight.shape) == 2
            role, axes = (Role.EMBEDDING, "vocab out") if is_table else (Role.OTHER, "")
            yield weight.replace(name=f"{_VOCABULARY}/{_VECTORS}", layer=_VOCABULARY, role=role, axes=axes)


def _inside(source: Source, name: str) -> Source | None:
    """Return a folder in the folder of the pipeline; None for a file, and for what is missing."""
    try:
        inside = source.beside(name)
    except SteelyardError:
        return None
    return inside if inside.is_folder else None
