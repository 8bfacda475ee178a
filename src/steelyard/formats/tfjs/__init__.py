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

from steelyard.codecs import limits
from steelyard.codecs.budget import check_json
from steelyard.codecs.plain import from_json
from steelyard.core.roles import infer_roles
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.dtypes import is_floating
from steelyard.errors import FileMissingError, FormatError, SteelyardError
from steelyard.formats.tfjs.manifest import TEXT, ManifestReader

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

SUFFIXES = ("model.json", "weights_manifest.json")

_MODEL, _MANIFEST = SUFFIXES
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
    names = sorted(folder.names())
    manifests = [name for name in names if name.lower().endswith(_MANIFEST)]
    for name in [_MODEL] if _MODEL in names else manifests if len(manifests) == 1 else []:
        try:
            file = folder.beside(name)
            if not file.is_folder and sniff(file):
                return file
        except SteelyardError:
            continue
    return None


def read(source: Source, scope: Scope) -> Weights:
    """List weights in the order of the manifest; the integers and texts of a graph model only with scope "all"."""
    file = _inside(source) if source.is_folder else source
    if file is None:
        raise FormatError(source.name, "has no model.json of TensorFlow.js any more")
    content = _json(file)
    manifest = content.get("weightsManifest") if isinstance(content, dict) else content
    if manifest is None:
        manifest = _beside(file)
    reader = ManifestReader(file, manifest)
    topology = content.get("modelTopology") if isinstance(content, dict) else None
    meta: dict[str, object] = {key: content[key] for key in _FACTS if isinstance(content, dict) and key in content}
    if reader.incomplete:
        meta["incomplete"] = reader.incomplete
    if reader.notes:
        meta["notes"] = reader.notes
    if isinstance(topology, dict) and isinstance(topology.get("node"), list):
        return Weights(_of_graph(reader.weights, topology, scope), meta=meta)
    kept = [weight for weight in reader.weights if scope == "all" or weight.encoding != TEXT]
    config = topology.get("model_config", topology) if isinstance(topology, dict) else None
    if isinstance(config, dict):
        return _of_layers(kept, config, file, meta)
    return Weights(_named(infer_roles(kept)), meta=meta)


def _json(source: Source) -> Plain:
    if source.size > limits.JSON:
        raise FormatError(source.name, f"has {source.size:,} bytes, more than the {limits.JSON:,} that are allowed")
    text = source.read(0, source.size)
    check_json(text, source)
    content = from_json(text)
    if content is None:
        raise FormatError(source.name, "is not JSON (partial download?)")
    return content


def _beside(source: Source) -> Plain:
    """Return the manifest next to a model that has none."""
    try:
        return _json(source.beside(_MANIFEST))
    except FileMissingError:
        raise FormatError(source.name, f"has the layers of a model, and no weights; {_MANIFEST} is not next to it") from None


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
