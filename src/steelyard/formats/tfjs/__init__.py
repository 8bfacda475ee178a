"""TensorFlow.js: `model.json` of a layers or graph model, or a `weights_manifest.json`, and shards of numbers; also face-api.

    model.json             {"format": "layers-model", "modelTopology": {...}, "weightsManifest": [group, ...]}
    weights_manifest.json  [group, ...]
    group                  {"paths": ["group1-shard1of2.bin", ...], "weights": [{"name": ..., "shape": ..., "dtype": ...}, ...]}

The files of a group are one run of bytes, in which its weights follow each other. Quantised weights are given as
TensorFlow.js decodes them. Source: `read_weights.py` of tensorflowjs, `io_utils.ts` of tfjs-core.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.codecs.lone_file import lone_file
from steelyard.codecs.metadata import parsed, with_facts
from steelyard.codecs.original import ORIGINAL, Original
from steelyard.core.roles import infer_roles
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.dtypes import is_floating
from steelyard.errors import FormatError
from steelyard.formats.tfjs.manifest import HALF, TEXT, Decoded, ManifestReader
from steelyard.formats.tfjs.models import FRAMEWORK, MANIFEST, MODEL, SHARD_SIZE, content_of, facts_of, manifest_of

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.codecs.plain import Plain
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

SUFFIXES = (MODEL, MANIFEST)

_HEAD = 1 << 16
_IS_MANIFEST = re.compile(rb'\s*\[\s*\{\s*"(paths|weights)"\s*:\s*\[')
_IS_MODEL = re.compile(rb'"(weightsManifest|modelTopology)"\s*:')
_FACTS = ("format", "generatedBy", "convertedBy")
_FACE = {"filters": "kh kw in out", "depthwise_filter": "kh kw in mult", "pointwise_filter": "kh kw in out", "weights": "in out"}
"""The last words of the kernels of face-api, which has no layers in a file."""


def sniff(source: Source) -> bool:
    """Recognise a manifest, a model with one, or a folder with either."""
    if source.is_folder:
        return _inside(source) is not None
    head = source.head(64).lstrip()[:1] in (b"[", b"{") and source.head(_HEAD).lstrip()
    if not head:
        return False
    if head[:1] == b"[":
        return _IS_MANIFEST.match(head) is not None
    return head[:1] == b"{" and _IS_MODEL.search(head) is not None


def _inside(folder: Source) -> Source | None:
    """Return the file of a folder that has its one model."""
    names = folder.names()
    return lone_file(folder, [MODEL] if MODEL in names else [name for name in names if name.lower().endswith(MANIFEST)], sniff)


def read(source: Source, scope: Scope) -> Weights:
    """List weights in the order of the manifest; the integers and texts of a graph model only with scope "all"."""
    file = _inside(source) if source.is_folder else source
    if file is None:
        raise FormatError(source.name, "has no model.json of TensorFlow.js any more")
    content = content_of(file)
    reader = ManifestReader(file, manifest_of(file, content))
    topology = content.get("modelTopology") if isinstance(content, dict) else None
    meta: dict[str, object] = {key: content[key] for key in _FACTS if isinstance(content, dict) and key in content}
    if reader.incomplete:
        meta["incomplete"] = reader.incomplete
    if reader.notes:
        meta["notes"] = reader.notes
    if isinstance(topology, (dict, list)):
        meta[ORIGINAL] = Original(file, FRAMEWORK, retyped=0)
    if isinstance(topology, dict) and isinstance(topology.get("node"), list):
        return Weights(_of_graph(reader.weights, topology, scope), meta=meta)
    kept = [weight for weight in reader.weights if scope == "all" or weight.encoding != TEXT]
    config = topology.get("model_config", topology) if isinstance(topology, dict) else None
    if isinstance(config, dict):
        return _of_layers(kept, config, file, meta)
    if isinstance(facts := facts_of(content), str):
        return Weights(with_facts(_halves(kept, parsed(facts)), facts, file), meta=meta)
    return Weights(_named(infer_roles(kept)), meta=meta)


def _halves(weights: Iterable[Weight], facts: Mapping[str, Mapping[str, object]]) -> Iterator[Weight]:
    """Yield the weights; those that were float16 when Steelyard wrote them are so again."""
    for weight in weights:
        read, was = weight.read, facts.get(weight.name, {}).get("dtype")
        if was == weight.encoding == HALF and isinstance(read, Decoded):
            yield weight.replace(dtype=HALF, encoding="", read=read.stored)
        else:
            yield weight


def write(weights: Weights, path: Path, shard_size: int = SHARD_SIZE) -> None:
    """Write a model, or a manifest alone, and shards of `shard_size` bytes.

    The layers of the model that the weights were read from, or are written like, are kept. Raises `FormatError` for weights that
    these do not have, and for a type that TensorFlow.js does not have.
    """
    from steelyard.formats.tfjs.writing import write_model

    write_model(weights, path, shard_size)


def _of_layers(weights: Iterable[Weight], config: Mapping[str, Plain], source: Source, meta: Mapping[str, object]) -> Weights:
    """Return the weights of a layers model, which is one of Keras, with the facts of its layers."""
    from steelyard.codecs.keras.graph import graph_maker
    from steelyard.codecs.keras.legacy import with_layers

    explained = with_layers(weights, dict(config))
    return Weights(explained, meta=meta, graph=graph_maker(config, explained, source))


def _of_graph(weights: Iterable[Weight], topology: Mapping[str, Plain], scope: Scope) -> Iterator[Weight]:
    from steelyard.codecs.tensorflow_roles import layer_in_graph, meanings

    nodes = topology.get("node")
    known = meanings(nodes if isinstance(nodes, list) else [])
    for weight in weights:
        role, axes = known.get(weight.name, (Role.OTHER, ""))
        fits = len(axes.split()) == len(weight.shape)
        if scope == "all" or role is not Role.OTHER or is_floating(weight.dtype):
            yield weight.replace(role=role, axes=axes if fits else "", layer=layer_in_graph(weight.name))


def _named(weights: Iterable[Weight]) -> Iterator[Weight]:
    for weight in weights:
        axes = _FACE.get(weight.name.rpartition("/")[2], "")
        fits = axes and len(axes.split()) == len(weight.shape)
        yield weight.replace(role=Role.KERNEL, axes=axes) if fits else weight
